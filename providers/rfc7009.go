// SPDX-License-Identifier: MPL-2.0

package providers

import (
	"context"
	"net/url"

	"vault-plugin-secrets-messaging/internal/secret"
)

// revoke ends tokens at s.RevocationURL (RFC 7009 §2.1), as the client of g: the
// refresh token first, with which most servers end the session and so the access
// token too, then the access token, for those that do not.
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
			return a.notRevoked()
		}
	}
	return nil
}

// notRevoked is the error of an answer that says that a token was not revoked
// (RFC 7009 §2.2.1). The body of such an answer may be anything.
func (a *answer) notRevoked() error {
	f, err := a.object()
	if err != nil {
		return err
	}
	return a.oauthError(f)
}
