// SPDX-License-Identifier: MPL-2.0

package messaging

import (
	"context"
	"errors"
	"strconv"
	"strings"
	"time"

	"github.com/hashicorp/vault/sdk/framework"
	"github.com/hashicorp/vault/sdk/logical"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"vault-plugin-secrets-messaging/internal/tokencache"
)

// The operations that Vault's event system is told of. The type of an event is
// its operation with "messaging/" before it, as Vault's own engines have it.
const (
	eventConfigWrite  = "config-write"  // a config was created, updated or patched
	eventConfigDelete = "config-delete" // a config was deleted
	eventMint         = "creds-mint"    // a token was minted
	eventMintFail     = "creds-mint-fail"
	eventRefused      = "creds-refused" // a mint failed: the provider does not take the credentials
	eventRotate       = "rotate"        // a token was minted because an operator wanted it replaced
)

// eventTimeout bounds the sending of an event.
const eventTimeout = 5 * time.Second

// event is something that happened to a config. It holds no secret.
type event struct {
	operation string
	config    string
	path      string // what was called; subscribers need the subscribe capability on it
	dataPath  string // where to read what has changed; "" if there is nothing to read
	modified  bool   // what is at dataPath has changed
	more      []string
}

// announced is h, with an event of a config that is sent when h has succeeded and
// holds no lock any more.
func (b *backend) announced(operation string, h handler) handler {
	return func(ctx context.Context, req *logical.Request, d *framework.FieldData) (*logical.Response, error) {
		resp, err := h(ctx, req, d)
		if err != nil || resp.IsError() {
			return resp, err
		}
		e := event{operation: operation, config: nameOf(d), path: req.Path, modified: true}
		if operation != eventConfigDelete {
			e.dataPath = req.Path
		}
		b.send(ctx, e)
		return resp, nil
	}
}

// flightEvent is the event of a mint that ended.
func flightEvent(f tokencache.Flight) event {
	e := event{
		operation: eventMint,
		config:    f.Name,
		path:      "creds/" + f.Name,
		more:      []string{"provider", f.Account.(*account).config.Provider},
	}
	if f.Rotated {
		e.operation, e.path = eventRotate, "rotate/"+f.Name
	}
	switch {
	case f.Failure != nil:
		e.operation, e.dataPath = eventMintFail, "status/"+f.Name
		if f.Failure.Kind == tokencache.Refused {
			e.operation = eventRefused
		}
		e.more = append(e.more,
			"kind", f.Failure.Kind.String(),
			"failures", strconv.Itoa(f.Failure.Failures),
			"next_attempt", showTime(f.Failure.Next))
	case f.Own:
		// One reader has it. Who read creds/ on hearing of it would mint another.
	default:
		e.dataPath, e.modified = "creds/"+f.Name, true
	}
	return e
}

// send sends an event, and waits for Vault to take it.
func (b *backend) send(ctx context.Context, e event) {
	// What has happened is told, also if who caused it has gone.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), eventTimeout)
	defer cancel()
	metadata := []string{
		logical.EventMetadataModified, strconv.FormatBool(e.modified),
		logical.EventMetadataOperation, e.operation,
		logical.EventMetadataPath, e.path,
		"name", e.config,
	}
	if e.dataPath != "" {
		metadata = append(metadata, logical.EventMetadataDataPath, e.dataPath)
	}
	err := logical.SendEvent(ctx, b, operationPrefix+"/"+e.operation, append(metadata, e.more...)...)
	if err != nil && !withoutEvents(err) {
		b.log().Warn("an event could not be sent", "operation", e.operation, "config", e.config, "error", err)
	}
}

// withoutEvents reports whether err, of the sending of an event, says that this
// server has no events: none were set up, it does not know of any, or it has not
// started them.
func withoutEvents(err error) bool {
	return errors.Is(err, framework.ErrNoEvents) ||
		status.Code(err) == codes.Unimplemented ||
		strings.Contains(err.Error(), "event broker has not been started")
}
