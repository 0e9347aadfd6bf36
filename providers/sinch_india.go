// SPDX-License-Identifier: MPL-2.0

package providers

import (
	"context"
	"net/http"
	"net/url"

	"vault-plugin-secrets-messaging/internal/secret"
	"vault-plugin-secrets-messaging/internal/token"
)

// sinchIndia is Sinch India's WhatsApp, SMS and RCS platform, whose tokens come
// from a Keycloak realm by the password grant.
type sinchIndia struct{}

func (sinchIndia) Spec() Spec {
	return Spec{
		Name:        "sinch-india",
		Description: "Sinch India: bearer tokens for its messaging APIs, by user name and password.",
		Fields: []Field{
			{Name: "username", Required: true,
				Description: "User name of the API account. Sinch gives it out with the password at onboarding."},
			{Name: "password", Required: true, Secret: true,
				Description: "Password of the API account. Sinch gives it out with the user name at onboarding."},
		},
		Endpoints: []Endpoint{
			{Environment: "production", TokenURL: "https://auth.aclwhatsapp.com/realms/ipmessaging/protocol/openid-connect/token"},
			{Environment: "uat", TokenURL: "https://apiuat.aclwhatsapp.com/auth/realms/ipmessaging/protocol/openid-connect/token"},
		},
	}
}

// Mint opens a new session in the realm.
func (p sinchIndia) Mint(ctx context.Context, c *Client, s Settings) (token.Token, error) {
	return p.grant(s, passwordGrant(s.Value("username"), s.Value("password"))).request(ctx, c, s)
}

// User implements [SerialLogins].
func (sinchIndia) User(s Settings) string { return s.Value("username") }

// Refresh goes on with the session of the refresh token.
func (p sinchIndia) Refresh(ctx context.Context, c *Client, s Settings, refresh secret.String) (token.Token, error) {
	t, err := p.grant(s, refreshGrant(refresh), refresh).request(ctx, c, s)
	return keepRefresh(t, err, refresh)
}

// Revoke implements [Revoker]. Keycloak has RFC 7009 at …/openid-connect/revoke;
// Sinch's documentation does not mention it.
func (p sinchIndia) Revoke(ctx context.Context, c *Client, s Settings, access, refresh secret.String) error {
	return p.grant(s, nil, access, refresh).revoke(ctx, c, s, access, refresh)
}

// grant is for the realm's one client, which is public: its id goes in the
// form. Trying HTTP Basic first would be a failed login to Keycloak's
// brute-force detection.
func (p sinchIndia) grant(s Settings, form url.Values, secrets ...secret.String) grant {
	return grant{
		client: oauthClient{id: "ipmessaging-client"},
		form:   form,
		header: http.Header{"Cache-Control": {"no-cache"}}, // Sinch asks for it
		redact: newRedactor(p.Spec(), s, secrets...),
	}
}
