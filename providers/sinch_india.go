// SPDX-License-Identifier: MPL-2.0

package providers

import (
	"context"
	"net/http"
	"net/url"

	"vault-plugin-secrets-messaging/internal/secret"
	"vault-plugin-secrets-messaging/internal/token"
)

// sinchIndia is Sinch India's WhatsApp, SMS and RCS platform: the password grant of a
// Keycloak realm.
type sinchIndia struct{}

func (sinchIndia) Spec() Spec {
	return Spec{
		Name:        "sinch-india",
		Description: "Sinch India messaging APIs: bearer tokens for a user name and password.",
		Fields: []Field{
			{Name: "username", Required: true,
				Description: "User name of the API account. Sinch issues it at onboarding."},
			{Name: "password", Required: true, Secret: true,
				Description: "Password of the API account. Sinch issues it at onboarding."},
		},
		Endpoints: []Endpoint{
			{Environment: "production", TokenURL: "https://auth.aclwhatsapp.com/realms/ipmessaging/protocol/openid-connect/token"},
			{Environment: "uat", TokenURL: "https://apiuat.aclwhatsapp.com/auth/realms/ipmessaging/protocol/openid-connect/token"},
		},
	}
}

// Mint implements [Provider]. It opens a session in the realm.
func (p sinchIndia) Mint(ctx context.Context, c *Client, s Settings) (token.Token, error) {
	return p.grant(s, passwordGrant(s.Value("username"), s.Value("password"))).request(ctx, c, s)
}

// User implements [SerialLogins].
func (sinchIndia) User(s Settings) string { return s.Value("username") }

// Refresh implements [Refresher]. It continues the session of the refresh token.
func (p sinchIndia) Refresh(ctx context.Context, c *Client, s Settings, refresh secret.String) (token.Token, error) {
	t, err := p.grant(s, refreshGrant(refresh), refresh).request(ctx, c, s)
	return keepRefresh(t, err, refresh)
}

// Revoke implements [Revoker]. Keycloak has this endpoint at …/openid-connect/revoke.
// Sinch does not document it.
func (p sinchIndia) Revoke(ctx context.Context, c *Client, s Settings, access, refresh secret.String) error {
	return p.grant(s, nil, access, refresh).revoke(ctx, c, s, access, refresh)
}

// grant returns a request of the realm's public client. Its ID is sent in the form. A first
// attempt with HTTP Basic would count as a failed login in Keycloak's brute-force detection.
func (p sinchIndia) grant(s Settings, form url.Values, secrets ...secret.String) grant {
	return grant{
		client: oauthClient{id: "ipmessaging-client"},
		form:   form,
		header: http.Header{"Cache-Control": {"no-cache"}}, // as Sinch documents
		redact: newRedactor(p.Spec(), s, secrets...),
	}
}
