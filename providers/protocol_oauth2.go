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

// oauth2Protocol is the protocol oauth2: token requests (RFC 6749) and revocation (RFC 7009).
type oauth2Protocol struct {
	grant, style       template // never nil; a literal text, or one placeholder
	id, secret         template // of the client
	username, password template // of the password grant
	scopes             template
	assertion          template   // for the grant jwt_bearer, made by the user; nil for none
	signedAssertion    *signature // for the grant jwt_bearer, signed by the engine; nil for none
	clientAssertion    *signature // for the style private_key_jwt; nil for none
	parameters         []param
	pairs              string // a field with further parameters; "" for none
	query, headers     []param
	json               bool     // the body is JSON instead of a form
	needsSecret        bool     // a client without a key must have a secret
	bearerFields       []string // that the grant jwt_bearer requires
	refreshFields      []string // that the grant refresh_token requires
	reading            reading
}

const (
	grantPassword     = "password"      // RFC 6749 §4.3
	grantRefreshToken = "refresh_token" // of a config whose credential is a refresh token (RFC 6749 §6)
	grantJWTBearer    = "urn:ietf:params:oauth:grant-type:jwt-bearer"
	stylePrivateKey   = "private_key_jwt" // RFC 7523 §2.2
	assertionType     = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
)

// styleOf returns how the client of s authenticates.
func (p *oauth2Protocol) styleOf(s Settings) string {
	style, _ := p.style.fill(s.Values)
	return style
}

// grantOf returns the grant_type of token requests.
func (p *oauth2Protocol) grantOf(s Settings) string {
	grant, _ := p.grant.fill(s.Values)
	if grant == "jwt_bearer" {
		return grantJWTBearer
	}
	return grant
}

func (p *oauth2Protocol) signatures() []use {
	var uses []use
	if p.clientAssertion != nil {
		uses = append(uses, use{p.clientAssertion, func(s Settings) bool { return p.styleOf(s) == stylePrivateKey }, choiceText(p.style, "auth_style", stylePrivateKey)})
	}
	if p.signedAssertion != nil {
		uses = append(uses, use{p.signedAssertion, func(s Settings) bool { return p.grantOf(s) == grantJWTBearer }, choiceText(p.grant, "grant_type", "jwt_bearer")})
	}
	return uses
}

// choiceText returns a setting as text, such as auth_style=private_key_jwt.
func choiceText(t template, key, value string) string {
	if names := t.fields(); len(names) == 1 {
		key = names[0]
	}
	return key + "=" + value
}

// validate checks the fields for the grant type and the auth style, and the names of parameters.
func (p *oauth2Protocol) validate(s Settings) error {
	if err := p.validateChoices(s); err != nil {
		return err
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

// validateChoices checks the fields that only some grant types or auth styles use.
func (p *oauth2Protocol) validateChoices(s Settings) error {
	grant, style := p.grantOf(s), p.styleOf(s)
	isBearer, isKey := grant == grantJWTBearer, style == stylePrivateKey
	forGrant := func(value string) string { return choiceText(p.grant, "grant_type", value) }
	forStyle := func(value string) string { return choiceText(p.style, "auth_style", value) }
	rules := []struct {
		fields         []string
		applies, needs bool // needs: the fields must be set if the rule applies
		when           string
	}{
		{slices.Concat(p.username.fields(), p.password.fields()), grant == grantPassword, true, forGrant(grantPassword)},
		{p.refreshFields, grant == grantRefreshToken, true, forGrant(grantRefreshToken)},
		{p.bearerFields, isBearer, true, forGrant("jwt_bearer")},
		{p.secret.fields(), !isKey, p.needsSecret, forStyle(style)},
		{p.ownFields(p.signedAssertion), isBearer, false, forGrant("jwt_bearer")},
		{p.ownFields(p.clientAssertion), isKey, false, forStyle(stylePrivateKey)},
	}
	allowed := map[string]bool{} // by one of the rules
	for _, r := range rules {
		for _, field := range r.fields {
			allowed[field] = allowed[field] || r.applies
		}
	}
	for _, r := range rules {
		for _, field := range r.fields {
			_, given := s.Values[field]
			isSecret := slices.Contains(p.secret.fields(), field)
			switch {
			case r.applies && r.needs && !given:
				return &FieldError{field, "must be set for " + r.when}
			case given && !allowed[field] && isKey && isSecret:
				return &FieldError{field, "cannot be set for " + forStyle(style) + ", because the client authenticates with its key; remove the field"}
			case given && !allowed[field]:
				return &FieldError{field, "can only be set for " + r.when}
			case given && style == "none" && len(p.style.fields()) > 0 && isSecret:
				return &FieldError{field, "cannot be set for " + forStyle(style) + ", which sends only the client ID; remove the field"}
			}
		}
	}
	return nil
}

// ownFields returns the config fields that occur in an assertion, except the client ID.
func (p *oauth2Protocol) ownFields(d *signature) []string {
	if d == nil {
		return nil
	}
	return slices.DeleteFunc(d.fields(), func(name string) bool { return slices.Contains(p.id.fields(), name) })
}

// isGrantParam reports whether the engine itself sets this parameter in token requests.
func isGrantParam(name string) bool {
	return slices.Contains([]string{
		"grant_type", "client_id", "client_secret", "username", "password", "scope", "refresh_token",
		"assertion", "client_assertion", "client_assertion_type",
	}, name)
}

// mint sends the token request for the config's grant type, for example client_credentials (RFC
// 6749 §4.4.2) or password (§4.3.2).
func (p *oauth2Protocol) mint(ctx context.Context, c *Client, s Settings, redact redactor) (token.Token, error) {
	grant := p.grantOf(s)
	form := url.Values{"grant_type": {grant}}
	set := func(name string, t template) {
		if text, ok := t.fill(s.Values); ok {
			form.Set(name, text)
		}
	}
	set("scope", p.scopes)
	switch grant {
	case grantPassword:
		set("username", p.username)
		set("password", p.password)
	case grantRefreshToken:
		form.Set("refresh_token", s.Value(RefreshField))
	case grantJWTBearer:
		set("assertion", p.assertion)
		if p.signedAssertion != nil {
			jwt, _, err := p.signedAssertion.sign(c.clock().Wall, s, "", s.TokenURL)
			if err != nil {
				return token.Token{}, err
			}
			form.Set("assertion", jwt)
			redact = redact.withAssertion(jwt)
		}
	}
	return p.ask(ctx, c, s, redact, form)
}

// refresh sends a refresh request (RFC 6749 §6). The request has no scope, so the scope does not
// change.
func (p *oauth2Protocol) refresh(ctx context.Context, c *Client, s Settings, redact redactor, refresh secret.String) (token.Token, error) {
	return p.ask(ctx, c, s, redact, url.Values{"grant_type": {"refresh_token"}, "refresh_token": {refresh.Reveal()}})
}

// ask sends a token request with the extra parameters of the definition and the config. Refreshes
// also need these, because a parameter may name the token's audience.
func (p *oauth2Protocol) ask(ctx context.Context, c *Client, s Settings, redact redactor, form url.Values) (token.Token, error) {
	maps.Copy(form, fillParams(p.parameters, s.Values))
	pairs, _ := url.ParseQuery(s.Value(p.pairs)) // validate has checked them
	for name, values := range pairs {
		if !isGrantParam(name) {
			form[name] = values
		}
	}
	a, err := p.send(ctx, c, s, redact, tokenEndpoint, form)
	if err != nil {
		return token.Token{}, err
	}
	t, err := p.reading.read(a, s)
	if form.Has("client_assertion") || p.signedAssertion != nil && form.Has("assertion") {
		err = a.compareClocks(err)
	}
	return t, p.advise(s, err)
}

// send posts a form to an endpoint and authenticates as the client (RFC 6749 §2.3.1). A client
// without a secret sends its ID in the form.
func (p *oauth2Protocol) send(ctx context.Context, c *Client, s Settings, redact redactor, at role, form url.Values) (*answer, error) {
	r := message{headers: p.headers, query: p.query}.request(s.TokenURL, s.Values)
	if at == revocationEndpoint {
		r.url = s.RevocationURL
	}
	r.role, r.timeout, r.redact = at, s.Timeout, redact
	id, hasID := p.id.fill(s.Values)
	clientSecret, hasSecret := p.secret.fill(s.Values)
	switch style := p.styleOf(s); {
	case style == stylePrivateKey:
		jwt, _, err := p.clientAssertion.sign(c.clock().Wall, s, id, s.TokenURL)
		if err != nil {
			return nil, err
		}
		r.redact = redact.withAssertion(jwt)
		form.Set("client_assertion_type", assertionType)
		form.Set("client_assertion", jwt)
		if hasID && !p.clientAssertion.leavesID {
			form.Set("client_id", id)
		}
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
	if p.json && at == tokenEndpoint {
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

// advise returns err, with the advice to set auth_style=body if this may help. Some providers do
// not decode the client ID and secret in HTTP Basic (RFC 6749 §2.3.1).
func (p *oauth2Protocol) advise(s Settings, err error) error {
	var e *token.Error
	style := p.styleOf(s)
	id, _ := p.id.fill(s.Values)
	clientSecret, _ := p.secret.fill(s.Values)
	styleFields := p.style.fields()
	if !errors.As(err, &e) || clientSecret == "" || style != "header" || len(styleFields) == 0 ||
		e.Code != "invalid_client" && (e.Status != http.StatusUnauthorized || e.Code != "") ||
		url.QueryEscape(id) == id && url.QueryEscape(clientSecret) == clientSecret {
		return err
	}
	e.Problem = "some providers do not decode client IDs and secrets that HTTP Basic has encoded; if your client ID and secret are right, try " + styleFields[0] + "=body"
	return err
}

// revoke revokes the refresh token, then the access token, at s.RevocationURL (RFC 7009 §2.1). Most
// servers end the whole session after the first request. Some need both requests.
func (p *oauth2Protocol) revoke(ctx context.Context, c *Client, s Settings, redact redactor, access, refresh secret.String) error {
	for _, t := range []struct {
		token secret.String
		hint  string
	}{{refresh, "refresh_token"}, {access, "access_token"}} {
		if t.token == "" {
			continue
		}
		a, err := p.send(ctx, c, s, redact, revocationEndpoint, url.Values{"token": {t.token.Reveal()}, "token_type_hint": {t.hint}})
		if err != nil {
			return err
		}
		if err := a.revocationError(); err != nil {
			return p.advise(s, err)
		}
	}
	return nil
}

// revocationError returns the error of a failed revocation, or nil. An unknown or ended token is a
// success (RFC 7009 §2.2), even if the server answers invalid_token.
func (a *answer) revocationError() error {
	if a.status/100 == 2 { // with a body of any format
		return nil
	}
	f, err := a.object()
	if err != nil {
		return err
	}
	found := f.fault()
	kind := found.kind(a.status)
	if kind == token.Refused && !found.isError && a.status != http.StatusUnauthorized && a.status != http.StatusForbidden {
		kind = token.Malformed // the answer does not mention the credentials
	}
	e := a.refuse(found, kind)
	if a.status == http.StatusBadRequest && e.Code == "invalid_token" {
		return nil
	}
	return e
}
