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
)

const (
	metricsSynopsis = "Read metrics of this mount, for Prometheus."

	metricsDescription = `
Answers with text for Prometheus, not with JSON: look at it with
"vault read -format=raw messaging/metrics", and have Prometheus scrape
/v1/messaging/metrics with a Vault token as its bearer token. The token needs a
policy with read on messaging/metrics and nothing else. Where there are several
Vault servers, scrape the active one alone (by the address that apps use): the
others forward to it.

The names begin with vault_messaging_. Series carry the names of configs and
providers and never a secret: reads by how they were served, mints by outcome and
kind of failure, when each token ends, failures in a row, backing off, and how
long providers take. The counts begin when an account is first read after a start
of the plugin. At most 1000 configs have series of their own, those that fail
first, then by name; configs_left_out says how many have none.
`
)

// metricsFormat is how metrics are written: the text format that every version
// of Prometheus reads.
var metricsFormat = expfmt.NewFormat(expfmt.TypeTextPlain)

// pathMetrics is metrics.
func (b *backend) pathMetrics() *framework.Path {
	return &framework.Path{
		Pattern:         "metrics$",
		HelpSynopsis:    metricsSynopsis,
		HelpDescription: metricsDescription,
		DisplayAttrs:    &framework.DisplayAttributes{OperationPrefix: operationPrefix, OperationSuffix: "metrics"},
		Operations: map[logical.Operation]framework.OperationHandler{
			logical.ReadOperation: b.operation(b.metricsRead, framework.PathOperation{
				Summary:                   metricsSynopsis,
				ForwardPerformanceStandby: true,
				Responses: map[int][]framework.Response{
					http.StatusOK: {{Description: "Metrics in the text format of Prometheus.", MediaType: "text/plain"}},
				},
			}),
		},
	}
}

func (b *backend) metricsRead(context.Context, *logical.Request, *framework.FieldData) (*logical.Response, error) {
	families, err := b.metrics.registry.Gather()
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
		logical.HTTPRawBody:     body.Bytes(), // a text that happens to be base64 would be decoded
	}}, nil
}
