// SPDX-License-Identifier: MPL-2.0

package providers

import (
	"context"
	"net/url"

	"vault-plugin-secrets-messaging/internal/secret"
)

// revoke ends tokens at s.RevocationURL (RFC 7009 §2.1), first the refresh token. Most servers
// then end the session with its access tokens. For the other servers, the access token
// follows.
func (g grant) revoke(ctx context.Context, c *Client, s Settings, access, refresh secret.String) error {
	for _, t := range []struct {
		token secret.String
		hint  string
	}{{refresh, "refresh_token"}, {access, "access_token"}} {
		if t.token == "" {
			continue
		}
		g.form = url.Values{"token": {t.token.Reveal()}, "token_type_hint": {t.hint}}
		a, err := g.send(ctx, c, revocationEndpoint, s.RevocationURL, s.Timeout)
		if err != nil {
			return err
		}
		if a.status/100 != 2 {
			f, err := a.object() // the body may be of any format
			if err != nil {
				return err
			}
			return a.oauthError(f) // RFC 7009 §2.2.1
		}
	}
	return nil
}
