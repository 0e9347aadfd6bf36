// SPDX-License-Identifier: MPL-2.0

package messaging

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"runtime/debug"
	"strings"
	"time"

	"github.com/hashicorp/vault/sdk/framework"
	"github.com/hashicorp/vault/sdk/logical"

	"vault-plugin-secrets-messaging/internal/tokencache"
	"vault-plugin-secrets-messaging/providers"
)

// userError is an error in what the user asked for: a 400, with nothing changed.
type userError string

func (e userError) Error() string { return string(e) }

// handler is what a path's operation does: decode, do, answer. Its errors become
// responses in one place, [backend.answer].
type handler func(ctx context.Context, req *logical.Request, d *framework.FieldData) (*logical.Response, error)

// operation returns h as the framework wants it.
func (b *backend) operation(h handler, op framework.PathOperation) *framework.PathOperation {
	op.Callback = func(ctx context.Context, req *logical.Request, d *framework.FieldData) (*logical.Response, error) {
		resp, err := h(ctx, req, d)
		if err != nil {
			return b.answer(req, err)
		}
		return resp, nil
	}
	return &op
}

// answer turns an error into the response that the user gets. The statuses are
// Vault's: 400 for what the user has to mend, 502 for a third party's error, 500
// for ours. Coded errors are returned bare: wrapped they would become a 500.
func (b *backend) answer(req *logical.Request, err error) (*logical.Response, error) {
	var (
		user     userError
		field    *providers.FieldError
		failure  *tokencache.Failure
		provider *providers.Error
		panicked *tokencache.PanicError
		coded    logical.HTTPCodedError
	)
	switch {
	case errors.As(err, &coded):
		return nil, coded
	case errors.As(err, &user), errors.As(err, &field):
		return logical.ErrorResponse(err.Error()), nil
	case errors.As(err, &panicked):
		if !errors.As(err, &failure) { // flown has logged that of a flight, once for all its readers
			b.logPanic(err)
		}
		return nil, logical.CodedError(http.StatusInternalServerError, err.Error())
	case errors.As(err, &failure):
		wait := max(failure.Next.Sub(b.clock().Wall), 0)
		text := fmt.Sprintf("%s; the next attempt is at the first read after %s (in %s)", err,
			failure.Next.UTC().Format(time.RFC3339), wait.Round(time.Second))
		return mintFailed(failure.Kind, text)
	case errors.As(err, &provider):
		return mintFailed(cacheKind(provider.Kind), err.Error())
	case errors.Is(err, tokencache.ErrClosed):
		return nil, logical.CodedError(http.StatusServiceUnavailable, "the mount is being closed: try again")
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return nil, logical.CodedError(http.StatusServiceUnavailable, fmt.Sprintf("%s: the request ended before the answer was there", err))
	case strings.Contains(err.Error(), logical.ErrReadOnly.Error()):
		return nil, logical.ErrReadOnly // bare: Vault then forwards the request to a node that may write
	}
	b.log().Error("request failed", "operation", req.Operation, "path", req.Path, "error", err)
	return nil, logical.CodedError(http.StatusInternalServerError, err.Error())
}

// mintFailed answers that the provider gave no token. Refused credentials are the
// operator's to mend; all else is the provider's.
func mintFailed(kind tokencache.Kind, text string) (*logical.Response, error) {
	if kind == tokencache.Refused {
		return logical.ErrorResponse(text), nil
	}
	return nil, logical.CodedError(http.StatusBadGateway, text)
}

// recovered turns a panic of a handler into a 500. The value that it panicked
// with may hold a secret: neither the answer nor the log has it.
func (b *backend) recovered(req *logical.Request, resp **logical.Response, err *error) {
	if p := recover(); p != nil {
		*resp, *err = b.answer(req, newPanicError(p))
	}
}

// survived logs a panic of a goroutine that answers no one.
func (b *backend) survived() {
	if p := recover(); p != nil {
		b.logPanic(newPanicError(p))
	}
}

func newPanicError(p any) *tokencache.PanicError {
	return &tokencache.PanicError{Type: fmt.Sprintf("%T", p), Stack: debug.Stack()}
}

// logPanic logs where err panicked, if it did.
func (b *backend) logPanic(err error) {
	if p := (*tokencache.PanicError)(nil); errors.As(err, &p) {
		b.log().Error("recovered from a panic: please report it", "type", p.Type, "stack", string(p.Stack))
	}
}
