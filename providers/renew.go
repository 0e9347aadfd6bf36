// SPDX-License-Identifier: MPL-2.0

package providers

import (
	"context"
	"errors"

	"vault-plugin-secrets-messaging/internal/clock"
	"vault-plugin-secrets-messaging/internal/secret"
	"vault-plugin-secrets-messaging/internal/token"
)

// Renew returns a new token. It uses the refresh token if p is a [Refresher] and refresh is
// not "", and else logs in.
//
// If the provider refuses the refresh token, Renew logs in at once: the session has ended,
// but the credential of the account may be good. If the refresh fails otherwise, Renew
// returns the error with the Step "refreshing the token". A login would probably fail too,
// and count as a login.
//
// Logins of one user at a [SerialLogins] provider run one after another. If p leaves Sent
// zero, it becomes the moment at which Renew was called. Errors are of type [*token.Error].
func Renew(ctx context.Context, p Provider, c *Client, s Settings, refresh secret.String) (token.Token, error) {
	called := c.clock()
	t, err := renew(ctx, p, c, s, refresh)
	if err == nil && t.Sent == (clock.Instant{}) {
		t.Sent = called
	}
	return t, err
}

func renew(ctx context.Context, p Provider, c *Client, s Settings, refresh secret.String) (token.Token, error) {
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
