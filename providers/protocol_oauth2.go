// SPDX-License-Identifier: MPL-2.0

package providers

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"slices"

	"vault-plugin-secrets-messaging/internal/secret"
	"vault-plugin-secrets-messaging/internal/token"
)

// oauth2Protocol is the protocol oauth2: a token endpoint of RFC 6749, and revocation by RFC
// 7009.
type oauth2Protocol struct {
	grant, style       template // always set; a text, or one field with allowed values
	id, secret         template // of the client
	username, password template // of the password grant
	scopes             template
	parameters         []param
	pairs              string // a field with further parameters; "" for none
	query, headers     []param
	json               bool // the body is JSON instead of a form
	reading            reading
}

// validate checks the fields of the password grant, and the names of parameters.
func (p *oauth2Protocol) validate(s Settings) error {
	grant, _ := p.grant.fill(s.Values)
	isPassword := grant == "password"
	for _, field := range append(p.username.fields(), p.password.fields()...) {
		switch _, given := s.Values[field]; {
		case isPassword && !given:
			return &FieldError{field, "must be set for grant_type=password"}
		case !isPassword && given:
			return &FieldError{field, "can only be set for grant_type=password"}
		}
	}
	pairs, err := url.ParseQuery(s.Value(p.pairs))
	if err != nil {
		return &FieldError{p.pairs, "must be pairs of a key and a value"}
	}
	for name := range pairs {
		if name == "" {
			return &FieldError{p.pairs, "cannot contain a parameter without a name"}
		}
		if isGrantParam(name) || hasParam(p.parameters, name) {
			return &FieldError{p.pairs, fmt.Sprintf("cannot contain %s, because the engine or another field sets it", name)}
		}
	}
	return nil
}

// isGrantParam reports whether a parameter of a token request has its own field, or is set
// by the grant.
func isGrantParam(name string) bool {
	return slices.Contains([]string{
		"grant_type", "client_id", "client_secret", "username", "password", "scope", "refresh_token",
		"assertion", "client_assertion", "client_assertion_type",
	}, name)
}

// mint sends the token request of a grant (RFC 6749 §4.3.2, §4.4.2, or the provider's own).
func (p *oauth2Protocol) mint(ctx context.Context, c *Client, s Settings, redact redactor) (token.Token, error) {
	grant, _ := p.grant.fill(s.Values)
	form := url.Values{"grant_type": {grant}}
	for name, t := range map[string]template{"username": p.username, "password": p.password} {
		if text, ok := t.fill(s.Values); ok && grant == "password" {
			form.Set(name, text)
		}
	}
	if scopes, ok := p.scopes.fill(s.Values); ok {
		form.Set("scope", scopes)
	}
	return p.ask(ctx, c, s, redact, form)
}

// refresh sends the token request of RFC 6749 §6. Without a scope, the new token has the scope
// of the old token.
func (p *oauth2Protocol) refresh(ctx context.Context, c *Client, s Settings, redact redactor, refresh secret.String) (token.Token, error) {
	return p.ask(ctx, c, s, redact, url.Values{"grant_type": {"refresh_token"}, "refresh_token": {refresh.Reveal()}})
}

// ask sends a token request with the further parameters. A refresh has them too, because they
// may name the audience of the token.
func (p *oauth2Protocol) ask(ctx context.Context, c *Client, s Settings, redact redactor, form url.Values) (token.Token, error) {
	maps.Copy(form, fillParams(p.parameters, s.Values))
	pairs, _ := url.ParseQuery(s.Value(p.pairs)) // validate has checked them
	for name, values := range pairs {
		if !isGrantParam(name) {
			form[name] = values
		}
	}
	a, err := p.send(ctx, c, s, redact, tokenEndpoint, withQuery(s.TokenURL, p.query, s.Values), form, p.json)
	if err != nil {
		return token.Token{}, err
	}
	t, err := p.reading.read(a, s)
	return t, p.advise(s, err)
}

// send posts the form to an endpoint, as the client (RFC 6749 §2.3.1). A client without a
// secret is public, and its ID is sent in the body.
func (p *oauth2Protocol) send(ctx context.Context, c *Client, s Settings, redact redactor, at role, address string, form url.Values, asJSON bool) (*answer, error) {
	r := message{headers: p.headers}.request(address, s.Values)
	r.role, r.timeout, r.redact = at, s.Timeout, redact
	id, hasID := p.id.fill(s.Values)
	clientSecret, hasSecret := p.secret.fill(s.Values)
	switch style, _ := p.style.fill(s.Values); {
	case !hasID:
	case !hasSecret || style == "none":
		form.Set("client_id", id)
	case style == "body":
		form.Set("client_id", id)
		form.Set("client_secret", clientSecret)
	default:
		pair := url.QueryEscape(id) + ":" + url.QueryEscape(clientSecret)
		r.header.Set("Authorization", "Basic "+base64.StdEncoding.EncodeToString([]byte(pair)))
	}
	r.contentType, r.body = formType, form.Encode()
	if asJSON {
		members := map[string]any{}
		for name, values := range form {
			if members[name] = values; len(values) == 1 {
				members[name] = values[0]
			}
		}
		body, _ := json.Marshal(members) // never fails for strings
		r.contentType, r.body = jsonType, string(body)
	}
	return c.send(ctx, r)
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

// advise returns the error of a request. If the provider rejects the client, and HTTP Basic
// encodes characters of its ID or secret, the error suggests to send them in the form. Some
// providers do not decode them, although RFC 6749 §2.3.1 requires it.
func (p *oauth2Protocol) advise(s Settings, err error) error {
	var e *token.Error
	style, _ := p.style.fill(s.Values)
	id, _ := p.id.fill(s.Values)
	clientSecret, _ := p.secret.fill(s.Values)
	styleFields := p.style.fields()
	if !errors.As(err, &e) || clientSecret == "" || style != "header" || len(styleFields) == 0 ||
		e.Code != "invalid_client" && (e.Status != http.StatusUnauthorized || e.Code != "") ||
		url.QueryEscape(id) == id && url.QueryEscape(clientSecret) == clientSecret {
		return err
	}
	advised := *e
	advised.Problem = "some providers do not decode client IDs and secrets that HTTP Basic has encoded; if both are right, try " + styleFields[0] + "=body"
	return &advised
}

// invalidToken is the code of a 400 of servers that report a token that has ended or that they do
// not know. RFC 7009 §2.2 asks for a success, because there is nothing to revoke.
const invalidToken = "invalid_token"

// revoke ends tokens at s.RevocationURL (RFC 7009 §2.1). The refresh token comes first,
// because most servers end its session with it, and so the access token. The access token
// comes second, for the other servers.
func (p *oauth2Protocol) revoke(ctx context.Context, c *Client, s Settings, redact redactor, access, refresh secret.String) error {
	for _, t := range []struct {
		token secret.String
		hint  string
	}{{refresh, "refresh_token"}, {access, "access_token"}} {
		if t.token == "" {
			continue
		}
		form := url.Values{"token": {t.token.Reveal()}, "token_type_hint": {t.hint}}
		a, err := p.send(ctx, c, s, redact, revocationEndpoint, s.RevocationURL, form, false)
		if err != nil {
			return err
		}
		if a.status/100 != 2 { // the body may be of any format
			f, err := a.object()
			if err != nil {
				return p.advise(s, err)
			}
			if err := a.oauthError(f); a.status != http.StatusBadRequest || err.Code != invalidToken { // RFC 7009 §2.2.1
				return p.advise(s, err)
			}
		}
	}
	return nil
}
