// SPDX-License-Identifier: MPL-2.0

package providers

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
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

// authStyle is the field that says where an [oauthClient] sends its ID and secret.
var authStyle = Field{Name: "auth_style", Allowed: []string{"header", "body"}, Default: "header", RequiresSecrets: true,
	Description: "Where the client ID and secret are sent: header (HTTP Basic, which RFC 6749 section 2.3.1 requires all providers to support) or body (in the form)."}

// clientOf returns the client of an account with the fields client_id, client_secret and
// [authStyle].
func clientOf(s Settings) oauthClient {
	return oauthClient{id: s.Value("client_id"), secret: s.Value("client_secret"), inBody: s.Value("auth_style") == "body"}
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
// answer's expires_in, or the operator's if the answer states none. A JWT may shorten it.
func (g grant) request(ctx context.Context, c *Client, s Settings) (token.Token, error) {
	a, err := g.send(ctx, c, tokenEndpoint, s.TokenURL, s.Timeout)
	if err != nil {
		return token.Token{}, err
	}
	f, err := a.object()
	if err != nil {
		return token.Token{}, g.advise(err)
	}
	if access, _ := f.text("access_token"); a.status/100 != 2 || access == "" {
		return token.Token{}, g.advise(a.oauthError(f))
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

// advise returns the error of a request. If the provider rejects the client, and HTTP Basic
// encodes characters of its ID or secret, the error suggests to send them in the form. Some
// providers do not decode them, although RFC 6749 §2.3.1 requires it.
func (g grant) advise(err error) error {
	var e *token.Error
	if !errors.As(err, &e) || g.client.secret == "" || g.client.inBody ||
		e.Code != "invalid_client" && (e.Status != http.StatusUnauthorized || e.Code != "") ||
		url.QueryEscape(g.client.id) == g.client.id && url.QueryEscape(g.client.secret) == g.client.secret {
		return err
	}
	advised := *e
	advised.Problem = "some providers do not decode client IDs and secrets that HTTP Basic has encoded; if both are right, try auth_style=body"
	return &advised
}

// oauthError returns the error of an error response (RFC 6749 §5.2) with any status and in
// any format.
func (a *answer) oauthError(f fields) *token.Error {
	found := f.fault()
	kind := found.kind(a.status)
	if a.role == revocationEndpoint && kind == token.Refused && !found.isError &&
		a.status != http.StatusUnauthorized && a.status != http.StatusForbidden {
		return a.refuse(found, token.Malformed) // no login can fail here
	}
	return a.refuse(found, kind)
}

// oauthToken returns the token of a successful response (RFC 6749 §5.1).
func (a *answer) oauthToken(f fields, s Settings) (token.Token, error) {
	access, _ := f.text("access_token")
	kind, ok := f.text("token_type")
	if f.has("token_type") && !ok || kind != "" && !strings.EqualFold(kind, bearer) && !strings.EqualFold(kind, "BearerToken") { // of Apigee
		return token.Token{}, a.fail(token.Malformed, "token_type must be Bearer")
	}
	life, err := a.expiresIn(f, "expires_in", s)
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

// jwtLifetime returns the seconds until the exp claim (RFC 7519 §4.1.4) of a JWT. The
// signature does not matter, because exp can only shorten the lifetime that the endpoint
// states.
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
	if iat, ok := claims.number("iat"); ok {
		return a.until(exp, &iat), true
	}
	return a.until(exp, nil), true
}

// isGrantParam reports whether a parameter of a token request has its own field, or is set
// by the grant.
func isGrantParam(name string) bool {
	return slices.Contains([]string{
		"grant_type", "client_id", "client_secret", "username", "password", "scope", "refresh_token",
	}, name)
}
