// SPDX-License-Identifier: MPL-2.0

package providers

import (
	"context"
	"fmt"
	"net/url"

	"vault-plugin-secrets-messaging/internal/secret"
	"vault-plugin-secrets-messaging/internal/token"
)

// oauth2 is any token endpoint of RFC 6749.
type oauth2 struct{}

func (oauth2) Spec() Spec {
	return Spec{
		Name:        "oauth2",
		Description: "Any OAuth 2.0 token endpoint (RFC 6749): bearer tokens for client credentials, or for a user name and password.",
		Docs:        "https://www.rfc-editor.org/rfc/rfc6749",
		Fields: []Field{
			{Name: "client_id", Required: true,
				Description: "Client ID from the registration of the client at the provider (RFC 6749 section 2.2)."},
			{Name: "client_secret", Secret: true,
				Description: "Client secret, issued with the client ID. A client without a secret is public, and its ID is sent in the form."},
			{Name: "grant_type", Allowed: []string{"client_credentials", "password"}, Default: "client_credentials",
				Description: "Grant type of token requests: client_credentials (RFC 6749 section 4.4) or password (section 4.3). The password grant requires username and password."},
			{Name: "username",
				Description: "User name of the account. Only for the password grant."},
			{Name: "password", Secret: true,
				Description: "Password of the account. Only for the password grant."},
			{Name: "scopes", Kind: List,
				Description: "Scopes to request. The provider's documentation lists them. If there are none, the provider chooses."},
			authStyle,
			{Name: "token_params", Kind: Pairs,
				Description: "Further parameters of each token request, such as audience=https://api.example.com. Cannot hold secrets, because a read of the config shows them."},
		},
	}
}

// Validate implements [Validator]. It checks the fields of the grant and the parameters.
func (oauth2) Validate(s Settings) error {
	password := s.Value("grant_type") == "password"
	for _, field := range []string{"username", "password"} {
		switch given := s.Value(field) != ""; {
		case password && !given:
			return &FieldError{field, "must be set for grant_type=password"}
		case !password && given:
			return &FieldError{field, "can only be set for grant_type=password"}
		}
	}
	params, err := url.ParseQuery(s.Value("token_params"))
	if err != nil {
		return &FieldError{"token_params", "must be pairs of a key and a value"}
	}
	for name := range params {
		if name == "" {
			return &FieldError{"token_params", "cannot contain a parameter without a name"}
		}
		if isGrantParam(name) {
			return &FieldError{"token_params", fmt.Sprintf("cannot contain %s, because the engine or another field sets it", name)}
		}
	}
	return nil
}

// Mint implements [Provider].
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

// User implements [SerialLogins], because the server may be a Keycloak. Only the password
// grant has a user. Logins of a client may run at the same time.
func (oauth2) User(s Settings) string { return s.Value("username") }

// Refresh implements [Refresher].
func (p oauth2) Refresh(ctx context.Context, c *Client, s Settings, refresh secret.String) (token.Token, error) {
	t, err := p.grant(s, refreshGrant(refresh), refresh).request(ctx, c, s)
	return keepRefresh(t, err, refresh)
}

// Revoke implements [Revoker].
func (p oauth2) Revoke(ctx context.Context, c *Client, s Settings, access, refresh secret.String) error {
	return p.grant(s, url.Values{}, access, refresh).revoke(ctx, c, s, access, refresh)
}

// grant returns a request with the form and token_params. A refresh sends token_params too,
// because they may name the audience of the token.
func (p oauth2) grant(s Settings, form url.Values, secrets ...secret.String) grant {
	params, _ := url.ParseQuery(s.Value("token_params")) // Validate has checked them
	for name, values := range params {
		if !isGrantParam(name) {
			form[name] = values
		}
	}
	return grant{
		client: clientOf(s),
		form:   form,
		redact: newRedactor(p.Spec(), s, secrets...),
	}
}
