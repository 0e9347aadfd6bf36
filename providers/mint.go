// SPDX-License-Identifier: MPL-2.0

package providers

import (
	"context"
	"errors"

	"vault-plugin-secrets-messaging/internal/secret"
	"vault-plugin-secrets-messaging/internal/token"
)

// Renew returns a new token, by the refresh token where there is one and p can
// use it, else by logging in.
//
// A refresh token that is refused costs one more exchange at once: the session
// behind it is gone, which says nothing about the account's own credential.
// Any other failure of the refresh is returned, its text saying which step it
// was; a login would hardly fare better at that moment, and would count as one.
// Logins of one user at a [SerialLogins] provider are made one after another.
// Errors are of type [*token.Error].
func Renew(ctx context.Context, p Provider, c *Client, s Settings, refresh secret.String) (token.Token, error) {
	r, ok := p.(Refresher)
	if !ok || refresh == "" {
		return c.logins.login(ctx, p, c, s)
	}
	t, err := r.Refresh(ctx, c, s, refresh)
	if err == nil {
		return t, nil
	}
	var failure *token.Error
	if !errors.As(err, &failure) {
		return token.Token{}, err
	}
	if failure.Kind == token.Refused {
		return c.logins.login(ctx, p, c, s)
	}
	step := *failure
	step.Step = "refreshing the token"
	return token.Token{}, &step
}
