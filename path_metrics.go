// SPDX-License-Identifier: MPL-2.0

package messaging

import (
	"bytes"
	"context"
	"fmt"
	"net/http"

	"github.com/hashicorp/vault/sdk/framework"
	"github.com/hashicorp/vault/sdk/logical"
	"github.com/prometheus/common/expfmt"

	"vault-plugin-secrets-messaging/internal/telemetry"
)

const (
	metricsSynopsis = "Read metrics of this mount, for Prometheus."

	metricsDescription = `
Returns text for Prometheus, not JSON. To look at it, run
"vault read -format=raw messaging/metrics". Prometheus scrapes
/v1/messaging/metrics with a Vault token as its bearer token. The token needs
a policy with read on messaging/metrics and nothing else. In a cluster, scrape
only one target, the address that apps use: the other servers forward the request
to the active server.

All names begin with vault_messaging_. Labels hold the names of configs and
providers, and never a secret. The metrics count reads by how they were served
and mints by outcome and kind of failure. They show when each token ends,
consecutive failures, backoff, and how long providers take. The counts start
when an account is first read after a start of the plugin. At most 1000 configs
have their own series: failing configs first, then by name. configs_left_out
says how many configs have none.
`
)

// metricsFormat is the text format that every version of Prometheus reads.
var metricsFormat = expfmt.NewFormat(expfmt.TypeTextPlain)

// metricsPath is metrics.
type metricsPath struct {
	*responder
	metrics *telemetry.Metrics
}

func (p *metricsPath) path() *framework.Path {
	read := p.onActive(metricsSynopsis, p.read)
	read.Responses = map[int][]framework.Response{
		http.StatusOK: {{Description: "Metrics in the text format of Prometheus.", MediaType: "text/plain"}},
	}
	return &framework.Path{
		Pattern:         "metrics$",
		HelpSynopsis:    metricsSynopsis,
		HelpDescription: metricsDescription,
		DisplayAttrs:    &framework.DisplayAttributes{OperationPrefix: operationPrefix, OperationSuffix: "metrics"},
		Operations:      operations{logical.ReadOperation: read},
	}
}

func (p *metricsPath) read(context.Context, *logical.Request, *framework.FieldData) (*logical.Response, error) {
	families, err := p.metrics.Gather()
	if err != nil {
		return nil, fmt.Errorf("gathering metrics: %w", err)
	}
	var body bytes.Buffer
	encoder := expfmt.NewEncoder(&body, metricsFormat)
	for _, family := range families {
		if err := encoder.Encode(family); err != nil {
			return nil, fmt.Errorf("writing metrics: %w", err)
		}
	}
	return &logical.Response{Data: map[string]any{
		logical.HTTPStatusCode:  http.StatusOK,
		logical.HTTPContentType: string(metricsFormat),
		logical.HTTPRawBody:     body.Bytes(), // Vault would decode a string that happens to be base64
	}}, nil
}
