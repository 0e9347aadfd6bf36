// SPDX-License-Identifier: MPL-2.0

package providers

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"vault-plugin-secrets-messaging/internal/secret"
	"vault-plugin-secrets-messaging/internal/token"
)

// oauthClient is a client and how it authenticates (§2.3.1). A client without a secret is
// public, and its ID is sent in the form.
type oauthClient struct {
	id, secret string
	inBody     bool // send id and secret in the form instead of by HTTP Basic
}

// grant is a request to an endpoint of RFC 6749.
type grant struct {
	client oauthClient
	form   url.Values
	header http.Header // further headers; may be nil
	redact redactor
}

// passwordGrant returns the form of RFC 6749 §4.3.2.
func passwordGrant(username, password string) url.Values {
	return url.Values{"grant_type": {"password"}, "username": {username}, "password": {password}}
}

// clientCredentialsGrant returns the form of RFC 6749 §4.4.2.
func clientCredentialsGrant() url.Values {
	return url.Values{"grant_type": {"client_credentials"}}
}

// refreshGrant returns the form of RFC 6749 §6. Without a scope, the new token has the scope
// of the old token.
func refreshGrant(refresh secret.String) url.Values {
	return url.Values{"grant_type": {"refresh_token"}, "refresh_token": {refresh.Reveal()}}
}

// request sends a token request and returns the token in the answer. The lifetime is the
// answer's expires_in, or s.DefaultTTL without one. A JWT may shorten it.
func (g grant) request(ctx context.Context, c *Client, s Settings) (token.Token, error) {
	a, err := g.send(ctx, c, tokenEndpoint, s.TokenURL, s.Timeout)
	if err != nil {
		return token.Token{}, err
	}
	f, err := a.object()
	if err != nil {
		return token.Token{}, err
	}
	if access, _ := f.text("access_token"); a.status/100 != 2 || access == "" {
		return token.Token{}, a.oauthError(f)
	}
	return a.oauthToken(f, s)
}

// send posts the form to an endpoint, as the client.
func (g grant) send(ctx context.Context, c *Client, at role, endpoint string, timeout time.Duration) (*answer, error) {
	r := request{
		role:        at,
		url:         endpoint,
		contentType: "application/x-www-form-urlencoded",
		header:      http.Header{},
		timeout:     timeout,
		redact:      g.redact,
	}
	maps.Copy(r.header, g.header)
	form := maps.Clone(g.form)
	switch {
	case g.client.secret == "":
		form.Set("client_id", g.client.id)
	case g.client.inBody:
		form.Set("client_id", g.client.id)
		form.Set("client_secret", g.client.secret)
	default:
		pair := url.QueryEscape(g.client.id) + ":" + url.QueryEscape(g.client.secret)
		r.header.Set("Authorization", "Basic "+base64.StdEncoding.EncodeToString([]byte(pair)))
	}
	r.body = form.Encode()
	return c.post(ctx, r)
}

// oauthError returns the error of an error response (RFC 6749 §5.2) with any status.
func (a *answer) oauthError(f fields) *token.Error {
	code, _ := f.text("error")
	words, _ := f.text("error_description")
	return a.refuse(oauthKind(a.status, code), code, words)
}

// oauthKind returns the kind of an error code with a status. An unknown code with the status
// of a refusal (mfa_required, account_locked) is a refusal, because to repeat the login
// might lock the account.
func oauthKind(status int, code string) token.Kind {
	switch {
	case status == http.StatusTooManyRequests:
		return token.RateLimited
	case code == "temporarily_unavailable", code == "server_error": // codes of RFC 6749 §4.1.2.1, which token endpoints use too
		return token.Unavailable
	case code == "invalid_grant", code == "invalid_client", code == "unauthorized_client":
		return token.Refused
	case code != "" && status == http.StatusBadRequest:
		return token.Refused
	}
	return kindOf(status)
}

// oauthToken returns the token of a successful response (RFC 6749 §5.1).
func (a *answer) oauthToken(f fields, s Settings) (token.Token, error) {
	access, _ := f.text("access_token")
	if kind, ok := f.text("token_type"); f.has("token_type") && (!ok || kind != "" && !strings.EqualFold(kind, bearer)) {
		return token.Token{}, a.fail(token.Malformed, "token_type must be Bearer")
	}
	life, err := a.lifetime(f, "expires_in", func(seconds float64) float64 { return seconds }, s.DefaultTTL)
	if err != nil {
		return token.Token{}, err
	}
	if seconds, ok := a.jwtLifetime(access); ok && seconds < life.Seconds() {
		if life, err = a.duration("exp in the token", seconds); err != nil {
			return token.Token{}, err
		}
	}
	t, err := a.token(access, life)
	if err != nil {
		return token.Token{}, err
	}
	t.Refresh, t.RefreshLifetime = refreshToken(f)
	return t, nil
}

// refreshToken returns the refresh token and its lifetime, which only Keycloak states, in
// refresh_expires_in. The lifetime is 0 if it is unknown or has no end, as for Keycloak's
// offline tokens. Without a usable refresh token the next mint is a login.
func refreshToken(f fields) (secret.String, time.Duration) {
	refresh, _ := f.text("refresh_token")
	seconds, _ := f.number("refresh_expires_in")
	switch {
	case refresh == "", len(refresh) > token.MaxSize, seconds < 0:
		return "", 0
	case seconds > token.MaxLifetime.Seconds():
		seconds = 0 // as good as no end
	}
	return secret.String(refresh), time.Duration(seconds * float64(time.Second))
}

// keepRefresh adds the old refresh token to the result of a refresh that has no new refresh
// token (RFC 6749 §6).
func keepRefresh(t token.Token, err error, old secret.String) (token.Token, error) {
	if err == nil && t.Refresh == "" {
		t.Refresh = old
	}
	return t, err
}

// jwtLifetime returns the seconds until the exp claim (RFC 7519 §4.1.4) of a JWT. The time
// of the answer is its Date, or the JWT's iat claim in an answer without a Date (Keycloak
// sends none). The signature does not matter, because exp can only shorten the lifetime
// that the endpoint states.
func (a *answer) jwtLifetime(access string) (seconds float64, ok bool) {
	parts := strings.Split(access, ".")
	if len(parts) != 3 {
		return 0, false
	}
	payload, err := base64.RawURLEncoding.DecodeString(parts[1])
	if err != nil {
		return 0, false
	}
	var claims fields
	if json.Unmarshal(payload, &claims) != nil {
		return 0, false
	}
	exp, ok := claims.number("exp")
	if !ok {
		return 0, false
	}
	if iat, ok := claims.number("iat"); ok && !a.dated {
		return exp - iat, true
	}
	return a.until(exp), true
}

// isGrantParam reports whether a parameter of a token request has its own field, or is set
// by the grant.
func isGrantParam(name string) bool {
	return slices.Contains([]string{
		"grant_type", "client_id", "client_secret", "username", "password", "scope", "refresh_token",
	}, name)
}
