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

// operationPrefix begins the name of each operation in the OpenAPI document.
const operationPrefix = "messaging"

// userError is a mistake in a request: a 400, with nothing changed.
type userError string

func (e userError) Error() string { return string(e) }

// notFound adds to tokencache.ErrNotFound which config is missing. It returns other errors
// unchanged.
func notFound(name string, err error) error {
	if errors.Is(err, tokencache.ErrNotFound) {
		return userError(fmt.Sprintf("there is no config %q: write config/%s first", name, name))
	}
	return err
}

// handler handles one operation of a path. A responder turns its errors into responses.
type handler func(ctx context.Context, req *logical.Request, d *framework.FieldData) (*logical.Response, error)

// nameOf returns the name in a request's path. It is always a string, because the path
// overrides the request's data. FieldData.Get would return the same but uses reflection.
func nameOf(d *framework.FieldData) string { return d.Raw["name"].(string) }

// responder turns errors into responses, for all paths.
type responder struct {
	clock clock.Clock
	log   func() hclog.Logger
}

// operation returns op with h as its callback.
func (r *responder) operation(h handler, op framework.PathOperation) *framework.PathOperation {
	op.Callback = func(ctx context.Context, req *logical.Request, d *framework.FieldData) (*logical.Response, error) {
		resp, err := h(ctx, req, d)
		if err != nil {
			return r.respond(req, err)
		}
		return resp, nil
	}
	return &op
}

// respond turns an error into a response. The status is 400 if the user must correct something,
// 502 for an error of a third party, and 500 for an error of the engine. Coded errors are
// returned unwrapped, because Vault turns wrapped ones into a 500.
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
		text := fmt.Sprintf("%s; the next attempt is at the first read after %s (in %s)", err,
			failure.Next.UTC().Format(time.RFC3339), wait.Round(time.Second))
		return mintFailed(failure.Kind, text)
	case errors.As(err, &provider):
		return mintFailed(provider.Kind, err.Error())
	case errors.Is(err, tokencache.ErrClosed):
		return nil, logical.CodedError(http.StatusServiceUnavailable, "the mount is being closed: try again")
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return nil, logical.CodedError(http.StatusServiceUnavailable, fmt.Sprintf("%s: the request ended before its answer was ready", err))
	case strings.Contains(err.Error(), logical.ErrReadOnly.Error()):
		return nil, logical.ErrReadOnly // bare: Vault then forwards the request to a node that may write
	}
	r.log().Error("request failed", "operation", req.Operation, "path", req.Path, "error", err)
	return nil, logical.CodedError(http.StatusInternalServerError, err.Error())
}

// mintFailed returns the response for a failed mint: 400 if the provider refused the
// credentials, which the operator must correct, and otherwise 502.
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
