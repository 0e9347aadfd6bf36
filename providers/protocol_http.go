// SPDX-License-Identifier: MPL-2.0

package providers

import (
	"context"
	"encoding/base64"
	"net/http"
	"strings"

	"vault-plugin-secrets-messaging/internal/secret"
	"vault-plugin-secrets-messaging/internal/token"
)

// httpProtocol is the protocol http: any HTTP request that returns a token.
type httpProtocol struct {
	method                     string
	message                    message
	username, password, bearer template // credentials in the Authorization header; nil for none
	force                      *message // what changes when a new token is demanded; nil if nothing can
	reading                    reading
}

// message is the content of a request. At most one of form and json is set.
type message struct{ headers, query, form, json []param }

// with returns m with the changes of a forced request.
func (m message) with(force *message) message {
	m.headers, m.query = overlay(m.headers, force.headers), overlay(m.query, force.query)
	m.form, m.json = overlay(m.form, force.form), overlay(m.json, force.json)
	return m
}

// request returns the request with the values of fields.
func (m message) request(address string, values map[string]secret.String) request {
	r := request{url: withQuery(address, m.query, values), header: http.Header{}}
	for _, h := range m.headers {
		if text, ok := h.value.text.fill(values); ok {
			r.header.Set(h.name, text)
		}
	}
	switch {
	case m.form != nil:
		r.contentType, r.body = formType, fillParams(m.form, values).Encode()
	case m.json != nil:
		r.contentType, r.body = jsonType, string(appendObject(nil, m.json, values))
	}
	return r
}

// withQuery returns an address with further query parameters.
func withQuery(address string, query []param, values map[string]secret.String) string {
	more := fillParams(query, values).Encode()
	switch {
	case more == "":
		return address
	case strings.HasSuffix(address, "?"):
		return address + more
	case strings.Contains(address, "?"):
		return address + "&" + more
	}
	return address + "?" + more
}

func (p *httpProtocol) signatures() []use { return nil }

func (p *httpProtocol) validate(Settings) error { return nil }

func (p *httpProtocol) mint(ctx context.Context, c *Client, s Settings, redact redactor) (token.Token, error) {
	m := p.message
	if s.Force && p.force != nil {
		m = m.with(p.force)
	}
	r := m.request(s.TokenURL, s.Values)
	r.method, r.timeout, r.redact = p.method, s.Timeout, redact
	if username, ok := p.username.fill(s.Values); ok {
		password, _ := p.password.fill(s.Values)
		r.header.Set("Authorization", "Basic "+base64.StdEncoding.EncodeToString([]byte(username+":"+password)))
	}
	if bearer, ok := p.bearer.fill(s.Values); ok {
		r.header.Set("Authorization", "Bearer "+bearer)
	}
	a, err := c.send(ctx, r)
	if err != nil {
		return token.Token{}, err
	}
	return p.reading.read(a, s)
}
