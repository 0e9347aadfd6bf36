// SPDX-License-Identifier: MPL-2.0

package providers

import (
	"context"
	"fmt"
	"net/url"

	"vault-plugin-secrets-messaging/internal/secret"
	"vault-plugin-secrets-messaging/internal/token"
)

// oauth2 is any token endpoint that speaks RFC 6749.
type oauth2 struct{}

func (oauth2) Spec() Spec {
	return Spec{
		Name:        "oauth2",
		Description: "Any OAuth 2.0 token endpoint (RFC 6749), by client credentials or by user name and password.",
		Docs:        "https://www.rfc-editor.org/rfc/rfc6749",
		Fields: []Field{
			{Name: "client_id", Required: true,
				Description: "Client id, from the provider's registration of the client (RFC 6749 section 2.2)."},
			{Name: "client_secret", Secret: true,
				Description: "Client secret, given out with the client id. Without one the client is public, and its id is sent in the form."},
			{Name: "grant_type", Allowed: []string{"client_credentials", "password"}, Default: "client_credentials",
				Description: "How tokens are asked for: client_credentials (RFC 6749 section 4.4), or password (section 4.3), which needs username and password."},
			{Name: "username",
				Description: "User name of the account, for the password grant only."},
			{Name: "password", Secret: true,
				Description: "Password of the account, for the password grant only."},
			{Name: "scopes", Kind: List,
				Description: "Scopes to ask for, from the provider's documentation. Without any the provider decides."},
			{Name: "auth_style", Allowed: []string{"header", "body"}, Default: "header", RequiresSecrets: true,
				Description: "Where client id and secret are sent: header (HTTP Basic, which RFC 6749 section 2.3.1 has every provider take) or body (in the form)."},
			{Name: "token_params", Kind: Pairs,
				Description: "Further parameters of each token request, such as audience=https://api.example.com. They are shown on read: no place for a secret."},
		},
	}
}

// Validate checks what the grant needs and what the further parameters may say.
func (oauth2) Validate(s Settings) error {
	password := s.Value("grant_type") == "password"
	for _, field := range []string{"username", "password"} {
		switch given := s.Value(field) != ""; {
		case password && !given:
			return &FieldError{field, "needed where grant_type is password"}
		case !password && given:
			return &FieldError{field, "only for grant_type=password"}
		}
	}
	params, err := url.ParseQuery(s.Value("token_params"))
	if err != nil {
		return &FieldError{"token_params", "not pairs of key and value"}
	}
	for name := range params {
		if name == "" {
			return &FieldError{"token_params", "a parameter without a name"}
		}
		if isGrantParam(name) {
			return &FieldError{"token_params", fmt.Sprintf("%s is a parameter of the grant; it has a field or is set by the engine", name)}
		}
	}
	return nil
}

func (p oauth2) Mint(ctx context.Context, c *Client, s Settings) (token.Token, error) {
	form := clientCredentialsGrant()
	if s.Value("grant_type") == "password" {
		form = passwordGrant(s.Value("username"), s.Value("password"))
	}
	if scopes := s.Value("scopes"); scopes != "" {
		form.Set("scope", scopes)
	}
	return p.grant(s, form).request(ctx, c, s)
}

// User implements [SerialLogins]: the server may be a Keycloak. Logins of a client, by
// its own credentials, may run at once. The field is only set for a user's.
func (oauth2) User(s Settings) string { return s.Value("username") }

func (p oauth2) Refresh(ctx context.Context, c *Client, s Settings, refresh secret.String) (token.Token, error) {
	t, err := p.grant(s, refreshGrant(refresh), refresh).request(ctx, c, s)
	return keepRefresh(t, err, refresh)
}

// Revoke implements [Revoker].
func (p oauth2) Revoke(ctx context.Context, c *Client, s Settings, access, refresh secret.String) error {
	return p.grant(s, url.Values{}, access, refresh).revoke(ctx, c, s, access, refresh)
}

// grant adds the further parameters to a form, which wins over them. They go
// with a refresh too: a token for another audience would be no use.
func (p oauth2) grant(s Settings, form url.Values, secrets ...secret.String) grant {
	params, _ := url.ParseQuery(s.Value("token_params")) // Validate has seen them
	for name, values := range params {
		if !isGrantParam(name) {
			form[name] = values
		}
	}
	return grant{
		client: oauthClient{
			id:     s.Value("client_id"),
			secret: s.Value("client_secret"),
			inBody: s.Value("auth_style") == "body",
		},
		form:   form,
		redact: newRedactor(p.Spec(), s, secrets...),
	}
}
