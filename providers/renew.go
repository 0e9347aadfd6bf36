// SPDX-License-Identifier: MPL-2.0

package providers

import (
	"context"
	"errors"

	"vault-plugin-secrets-messaging/internal/clock"
	"vault-plugin-secrets-messaging/internal/secret"
	"vault-plugin-secrets-messaging/internal/token"
)

// Renew requests a new token. It logs in if refresh is "", and otherwise uses the refresh token.
// Renew never logs in after a failed refresh, because the caller decides when logins run.
//
// The error of a failed refresh has the Step "refreshing the token". If the provider leaves the
// token's Sent zero, Renew sets the time of its own call. Errors are of type [*token.Error].
func Renew(ctx context.Context, p Provider, c *Client, s Settings, refresh secret.String) (t token.Token, err error) {
	called := c.clock()
	if refresh == "" {
		t, err = p.Mint(ctx, c, s)
	} else {
		t, err = p.Refresh(ctx, c, s, refresh)
		var failure *token.Error
		if errors.As(err, &failure) {
			failed := *failure
			failed.Step = "refreshing the token"
			err = &failed
		}
	}
	if err != nil {
		return token.Token{}, err
	}
	if t.Sent == (clock.Instant{}) {
		t.Sent = called
	}
	return t, nil
}

// SerialKey identifies a user whose logins must run one after another. It returns "" if logins may
// run at the same time. For example, Keycloak's brute-force detection refuses a login during or
// shortly after another login. The key contains no secret.
func SerialKey(spec Spec, s Settings) string {
	key := ""
	for _, field := range spec.SerialFields {
		if value := s.Value(field); value != "" {
			key += " " + value
		}
	}
	if key != "" {
		key = s.TokenURL + key
	}
	return key
}

// RateKey identifies the client to which a Retry-After applies. It contains the host of the token
// endpoint and the required fields that are not secret, such as client_id.
func RateKey(spec Spec, s Settings) string {
	key := s.Host()
	for _, f := range spec.Fields {
		if f.Required && !f.Secret {
			key += " " + s.Value(f.Name)
		}
	}
	return key
}
