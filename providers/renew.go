// SPDX-License-Identifier: MPL-2.0

package providers

import (
	"context"
	"errors"

	"vault-plugin-secrets-messaging/internal/clock"
	"vault-plugin-secrets-messaging/internal/secret"
	"vault-plugin-secrets-messaging/internal/token"
)

// Renew makes one exchange and returns a new token. It logs in if refresh is "", and else
// uses the refresh token.
//
// Renew never logs in after a failed refresh, because the caller decides when logins run.
// The error of a failed refresh has the Step "refreshing the token".
//
// If p leaves Sent zero, it becomes the moment at which Renew was called. Errors are of
// type [*token.Error].
func Renew(ctx context.Context, p Provider, c *Client, s Settings, refresh secret.String) (token.Token, error) {
	called := c.clock()
	t, err := renew(ctx, p, c, s, refresh)
	if err == nil && t.Sent == (clock.Instant{}) {
		t.Sent = called
	}
	return t, err
}

func renew(ctx context.Context, p Provider, c *Client, s Settings, refresh secret.String) (token.Token, error) {
	const step = "refreshing the token"
	if refresh == "" {
		return p.Mint(ctx, c, s)
	}
	t, err := p.Refresh(ctx, c, s, refresh)
	if err == nil {
		return t, nil
	}
	var failure *token.Error
	if !errors.As(err, &failure) {
		return token.Token{}, err
	}
	failed := *failure
	failed.Step = step
	return token.Token{}, &failed
}

// SerialKey identifies the user whose logins with s must run one after another. Keycloak with
// brute-force detection, for example, refuses a login during another login of the user, and
// for a moment after that login, with the words for a wrong password. SerialKey returns "" if
// logins with s may run at the same time as any other login. The key contains no secret.
func SerialKey(spec Spec, s Settings) string {
	user := ""
	for _, field := range spec.SerialFields {
		if value := s.Value(field); value != "" {
			user += " " + value
		}
	}
	if user == "" {
		return ""
	}
	return s.TokenURL + user
}

// RateKey identifies the client that a Retry-After binds: the host of the token endpoint and
// the values of the required fields that are not secret, such as client_id. A new password
// keeps the key. The key contains no secret.
func RateKey(spec Spec, s Settings) string {
	key := s.Host()
	for _, f := range spec.Fields {
		if f.Required && !f.Secret {
			key += " " + s.Value(f.Name)
		}
	}
	return key
}
