// SPDX-License-Identifier: MPL-2.0

package providers

import (
	"context"
	"net/http"
	"net/url"

	"vault-plugin-secrets-messaging/internal/secret"
)

// invalidToken is the code of a 400 of servers that report a token that has ended or that they do
// not know. RFC 7009 §2.2 asks for a success, because there is nothing to revoke.
const invalidToken = "invalid_token"

// revoke ends tokens at s.RevocationURL (RFC 7009 §2.1). The refresh token comes first,
// because most servers end its session with it, and so the access token. The access token
// comes second, for the other servers.
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
				return g.advise(err)
			}
			if err := a.oauthError(f); a.status != http.StatusBadRequest || err.Code != invalidToken { // RFC 7009 §2.2.1
				return g.advise(err)
			}
		}
	}
	return nil
}
