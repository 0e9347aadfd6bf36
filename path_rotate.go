// SPDX-License-Identifier: MPL-2.0

package messaging

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/hashicorp/vault/sdk/framework"
	"github.com/hashicorp/vault/sdk/logical"

	"vault-plugin-secrets-messaging/internal/account"
	"vault-plugin-secrets-messaging/internal/revocation"
	"vault-plugin-secrets-messaging/internal/secret"
	"vault-plugin-secrets-messaging/internal/tokencache"
)

const (
	rotateSynopsis = "Replace the token of an account with a new token."

	rotateDescription = `
Logs in at the provider and replaces the cached token with the new token. No
reader gets the old token from then on, so rotate when a token has leaked. If the
config has a revocation_url, the old token is revoked at the provider. A rotate
also ends a backoff. A rotate fails if the provider sent a Retry-After that has
not passed. If the login fails, the old token stays in use. Rotates within 10
seconds share one login.
`
)

// rotatePath is rotate/<name>.
type rotatePath struct {
	*responder
	cache   *tokencache.Cache
	revoker *revocation.Revoker
}

func (p *rotatePath) path() *framework.Path {
	return &framework.Path{
		Pattern:         "rotate/" + framework.GenericNameRegex("name"),
		Fields:          map[string]*framework.FieldSchema{"name": nameField("Name of the config whose token is replaced.")},
		HelpSynopsis:    rotateSynopsis,
		HelpDescription: rotateDescription,
		DisplayAttrs:    &framework.DisplayAttributes{OperationPrefix: operationPrefix, OperationVerb: "rotate", OperationSuffix: "credentials"},
		Operations:      operations{logical.UpdateOperation: p.onActive(rotateSynopsis, p.rotate)},
	}
}

// rotate replaces the token. If the login takes too long, rotate returns an error. The login
// continues in the background, and the old token is still revoked.
func (p *rotatePath) rotate(ctx context.Context, _ *logical.Request, d *framework.FieldData) (*logical.Response, error) {
	var (
		resp *logical.Response
		err  error
		done = make(chan struct{})
	)
	go func() {
		defer close(done)
		defer secret.RecoverTo(&err)
		resp, err = p.replace(context.WithoutCancel(ctx), nameOf(d))
	}()
	select {
	case <-done:
		return resp, err
	case <-time.After(tokencache.MaxWait):
		return nil, tokencache.ErrStillMinting
	}
}

// replace logs in, replaces the token and revokes the replaced tokens.
func (p *rotatePath) replace(ctx context.Context, name string) (*logical.Response, error) {
	r, err := p.cache.Rotate(ctx, name)
	var warnings []string
	for _, old := range r.Replaced { // a rotate that fails may have replaced a token too
		warnings = append(warnings, p.revoker.RevokeOrQueue(revocation.New(old.Account.(*account.Account), old.Token)))
	}
	switch {
	case errors.Is(err, tokencache.ErrUnshared):
		return nil, userError(fmt.Sprintf("config %q has share=false: there is no shared token to replace; revoke the lease of the token instead", name))
	case errors.Is(err, tokencache.ErrNotFound):
		return nil, notFound(name, err)
	case err != nil && r.Shared:
		return nil, fmt.Errorf("%w; rotate requests within 10s share one attempt", err)
	case err != nil:
		return nil, err
	}
	if r.Unsaved != nil {
		warnings = append(warnings, unsavedWarning(r.Unsaved))
	}
	if r.Again {
		warnings = append(warnings, "the provider returned the same token again, so it stays in use")
	}
	if r.Shared {
		warnings = append(warnings, "another rotate logged in within the last 10s, and this rotate shares its token")
	}
	return withWarnings(&logical.Response{Data: map[string]any{
		"provider":    r.Account.(*account.Account).Provider(),
		"minted_time": showTime(r.Token.Sent.Wall),
		"expire_time": showTime(r.Expires),
	}}, warnings...), nil
}
