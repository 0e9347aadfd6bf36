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

// A client of RFC 6749 and how it says who it is (§2.3.1).
type oauthClient struct {
	id, secret string // without a secret it is a public client, and its id goes in the form

	// inBody sends id and secret in the form instead of by HTTP Basic.
	inBody bool
}

// A grant is one request to a token endpoint of RFC 6749.
type grant struct {
	client oauthClient
	form   url.Values  // grant_type and what goes with it
	header http.Header // headers beyond the RFC's; may be nil
	redact redactor
}

// passwordGrant is the form of RFC 6749 §4.3.2.
func passwordGrant(username, password string) url.Values {
	return url.Values{"grant_type": {"password"}, "username": {username}, "password": {password}}
}

// clientCredentialsGrant is the form of RFC 6749 §4.4.2.
func clientCredentialsGrant() url.Values {
	return url.Values{"grant_type": {"client_credentials"}}
}

// refreshGrant is the form of RFC 6749 §6. It names no scope, which means the
// scope of the refresh token.
func refreshGrant(refresh secret.String) url.Values {
	return url.Values{"grant_type": {"refresh_token"}, "refresh_token": {refresh.Reveal()}}
}

// request makes g's token request. The access token's lifetime is the answer's
// expires_in, or s.DefaultTTL where it has none, or what a JWT says of itself
// if that is less.
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

// send posts g's form to an endpoint, with what says who the client is.
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

// oauthError reads an error response (RFC 6749 §5.2), also where it came with
// the status of a success.
func (a *answer) oauthError(f fields) *token.Error {
	code, _ := f.text("error")
	words, _ := f.text("error_description")
	return a.refuse(oauthKind(a.status, code), code, words)
}

// oauthKind is what an error code means with a status. Codes that nobody wrote
// down (mfa_required, account_locked) are taken for a refusal where the status
// is that of one: repeating the login then might lock the account.
func oauthKind(status int, code string) token.Kind {
	switch {
	case status == http.StatusTooManyRequests:
		return token.RateLimited
	case code == "temporarily_unavailable", code == "server_error": // of RFC 6749 §4.1.2.1, seen here too
		return token.Unavailable
	case code == "invalid_grant", code == "invalid_client", code == "unauthorized_client":
		return token.Refused
	case code != "" && status == http.StatusBadRequest:
		return token.Refused
	}
	return kindOf(status)
}

// oauthToken reads a successful response (RFC 6749 §5.1).
func (a *answer) oauthToken(f fields, s Settings) (token.Token, error) {
	access, _ := f.text("access_token")
	if kind, ok := f.text("token_type"); f.has("token_type") && (!ok || kind != "" && !strings.EqualFold(kind, bearer)) {
		return token.Token{}, a.fail(token.Malformed, "its token_type is not Bearer")
	}
	life := s.DefaultTTL
	if f.has("expires_in") {
		seconds, ok := f.number("expires_in")
		if !ok {
			return token.Token{}, a.fail(token.Malformed, "its expires_in is not a number")
		}
		var problem string
		if life, problem = lifetime("its expires_in", seconds); problem != "" {
			return token.Token{}, a.fail(token.Malformed, problem)
		}
	}
	if life <= 0 {
		return token.Token{}, a.fail(token.Malformed, "it has no expires_in, so default_ttl must be set")
	}
	if seconds, ok := a.jwtLifetime(access); ok {
		if seconds < life.Seconds() {
			var problem string
			if life, problem = lifetime("the exp of its token", seconds); problem != "" {
				return token.Token{}, a.fail(token.Malformed, problem)
			}
		}
	}
	t, err := a.token(access, life)
	if err != nil {
		return token.Token{}, err
	}
	t.Refresh, t.RefreshLifetime = refreshToken(f)
	return t, nil
}

// refreshToken reads the refresh token and, with Keycloak's refresh_expires_in,
// how long it lives: 0 if that is not said or never ends (its offline tokens).
// One that is of no use is left out, and costs a login.
func refreshToken(f fields) (secret.String, time.Duration) {
	refresh, _ := f.text("refresh_token")
	seconds, _ := f.number("refresh_expires_in")
	switch {
	case refresh == "", len(refresh) > token.MaxSize, seconds < 0:
		return "", 0
	case seconds > token.MaxLifetime.Seconds():
		seconds = 0 // as good as never
	}
	return secret.String(refresh), time.Duration(seconds * float64(time.Second))
}

// keepRefresh puts the old refresh token into the answer to a refresh that
// brought no new one (RFC 6749 §6).
func keepRefresh(t token.Token, err error, old secret.String) (token.Token, error) {
	if err == nil && t.Refresh == "" {
		t.Refresh = old
	}
	return t, err
}

// jwtLifetime returns the seconds until the exp claim (RFC 7519 §4.1.4) of a token
// that is a JWT and has one, on the provider's clock: that of the answer's Date
// or, without one (Keycloak sends none), of the token's own iat. The signature is
// not looked at: the token is as trustworthy as the endpoint it came from, and exp
// can only shorten its life.
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

// isGrantParam says whether a token request says a parameter itself, so that
// further parameters may not name it.
func isGrantParam(name string) bool {
	return slices.Contains([]string{
		"grant_type", "client_id", "client_secret", "username", "password", "scope", "refresh_token",
	}, name)
}
