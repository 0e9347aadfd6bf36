// SPDX-License-Identifier: MPL-2.0

package messaging

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/vault/sdk/framework"
	"github.com/hashicorp/vault/sdk/logical"

	"vault-plugin-secrets-messaging/internal/clock"
	"vault-plugin-secrets-messaging/internal/secret"
	"vault-plugin-secrets-messaging/internal/telemetry"
	"vault-plugin-secrets-messaging/internal/token"
	"vault-plugin-secrets-messaging/internal/tokencache"
	"vault-plugin-secrets-messaging/providers"
)

// operationPrefix starts the ID of each operation in the OpenAPI document.
const operationPrefix = "messaging"

// userError reports a mistake in a request. It becomes a 400.
type userError string

func (e userError) Error() string { return string(e) }

// notFound replaces tokencache.ErrNotFound with an error that names the missing config. It returns
// other errors unchanged.
func notFound(name string, err error) error {
	if errors.Is(err, tokencache.ErrNotFound) {
		return userError(fmt.Sprintf("there is no config %q: write config/%s first", name, name))
	}
	return err
}

// handler handles one operation of a path. A responder turns the handler's errors into responses.
type handler func(ctx context.Context, req *logical.Request, d *framework.FieldData) (*logical.Response, error)

// nameOf returns the name in a request's path. The framework always sets the name. FieldData.Get
// would be slower.
func nameOf(d *framework.FieldData) string { return d.Raw["name"].(string) }

// responder turns errors into responses, for all paths.
type responder struct {
	clock clock.Clock
	log   func() hclog.Logger
}

// operations are the operations of a path.
type operations = map[logical.Operation]framework.OperationHandler

// onAnyNode returns an operation that every node handles itself.
func (r *responder) onAnyNode(summary string, h handler) *framework.PathOperation {
	return &framework.PathOperation{Summary: summary,
		Callback: func(ctx context.Context, req *logical.Request, d *framework.FieldData) (*logical.Response, error) {
			resp, err := h(ctx, req, d)
			if err != nil {
				return r.respond(req, err)
			}
			return resp, nil
		},
	}
}

// onActive returns an operation that standbys forward to the active node of their cluster.
func (r *responder) onActive(summary string, h handler) *framework.PathOperation {
	op := r.onAnyNode(summary, h)
	op.ForwardPerformanceStandby = true
	return op
}

// onPrimary returns an operation that only the active node of the primary cluster handles. Other
// nodes forward the request.
func (r *responder) onPrimary(summary string, h handler) *framework.PathOperation {
	op := r.onActive(summary, h)
	op.ForwardPerformanceSecondary = true
	return op
}

// nameField returns the field for the name in a path.
func nameField(description string) *framework.FieldSchema {
	return &framework.FieldSchema{Type: framework.TypeString, Required: true, Description: description}
}

// respond turns an error into a response. An HTTPCodedError contains its status. respond unwraps
// the HTTPCodedError, because Vault does not. For other errors, the status is 400 if the user must
// correct something, 502 if the provider failed, 503 if the request ended early, and 500 if the
// engine failed.
func (r *responder) respond(req *logical.Request, err error) (*logical.Response, error) {
	var (
		user     userError
		field    *providers.FieldError
		failure  *tokencache.Failure
		provider *token.Error
		panicked *secret.PanicError
		coded    logical.HTTPCodedError
	)
	switch {
	case errors.As(err, &coded):
		return nil, coded
	case errors.As(err, &user), errors.As(err, &field):
		return logical.ErrorResponse(err.Error()), nil
	case errors.As(err, &panicked):
		if !errors.As(err, &failure) { // the panic of a mint was logged once for all its readers
			telemetry.LogPanic(r.log(), err)
		}
		return nil, logical.CodedError(http.StatusInternalServerError, err.Error())
	case errors.As(err, &failure):
		wait := max(failure.Next.Sub(r.clock().Wall), 0)
		return mintFailed(failure.Kind, fmt.Sprintf("%s; the next attempt is at the first read after %s (in %s)",
			err, showTime(failure.Next), wait.Round(time.Second)))
	case errors.As(err, &provider):
		return mintFailed(provider.Kind, err.Error())
	case errors.Is(err, tokencache.ErrClosed):
		return nil, logical.CodedError(http.StatusServiceUnavailable, "the mount is being closed: try again")
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return nil, logical.CodedError(http.StatusServiceUnavailable, fmt.Sprintf("%s: the request ended before its answer was ready", err))
	case strings.Contains(err.Error(), logical.ErrReadOnly.Error()):
		return nil, logical.ErrReadOnly // unwrapped, so that Vault forwards the request to a node that may write
	}
	r.log().Error("request failed", "operation", req.Operation, "path", req.Path, "error", err)
	return nil, logical.CodedError(http.StatusInternalServerError, err.Error())
}

// mintFailed returns the response to a failed mint. The status is 400 if the provider refused the
// credentials, and otherwise 502.
func mintFailed(kind token.Kind, text string) (*logical.Response, error) {
	if kind == token.Refused {
		return logical.ErrorResponse(text), nil
	}
	return nil, logical.CodedError(http.StatusBadGateway, text)
}

// recover turns a handler's panic into a 500. Call it with defer.
func (r *responder) recover(req *logical.Request, resp **logical.Response, err *error) {
	if p := secret.Recovered(recover()); p != nil {
		*resp, *err = r.respond(req, p)
	}
}
