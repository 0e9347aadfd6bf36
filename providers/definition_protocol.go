// SPDX-License-Identifier: MPL-2.0

package providers

import (
	"cmp"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"
)

// Definitions cannot set reservedHeaders. The HTTP client sets these headers itself, or sends a
// request differently because of them.
var reservedHeaders = []string{
	"Host", "Content-Length", "Transfer-Encoding", "Connection", "Keep-Alive", "Te", "Trailer", "Upgrade", "Expect", "User-Agent",
	"Accept-Encoding", "Idempotency-Key", "X-Idempotency-Key", // with these two, net/http may repeat a request
}

var headerName = regexp.MustCompile("^[A-Za-z0-9!#$%&'*+.^_`|~-]{1,64}$")

// decodeProtocol decodes the protocol of a definition. A definition must have exactly one protocol.
func (d *decoder) decodeProtocol(root, fields object) {
	count := 0
	for _, name := range []string{"http", "oauth2", "jwt"} {
		if root.has(name) {
			count++
		}
	}
	switch {
	case count != 1:
		root.fail("must have exactly one of http, oauth2 and jwt, not %d of them", count)
	case root.has("http"):
		d.protocol = d.http(root.at("http"))
	case root.has("oauth2"):
		d.protocol = d.oauth2(root.at("oauth2"))
	default:
		d.protocol = d.jwt(root)
	}
	if d.err == nil {
		d.keyFields(fields)
	}
}

var readingKeys = []string{"success", "token", "refresh_token", "refresh_lifetime", "lifetime", "outputs", "errors"}

func (d *decoder) http(n node) *httpProtocol {
	o := n.object(append([]string{"method", "headers", "auth", "json", "form", "query", "force"}, readingKeys...)...)
	p := &httpProtocol{method: cmp.Or(o.at("method").oneOf(http.MethodPost, http.MethodGet), http.MethodPost), message: o.message()}
	auth := o.at("auth").object("basic", "bearer")
	basic := auth.at("basic").object("username", "password")
	p.username, p.password, p.bearer = basic.at("username").template(), basic.at("password").template(), auth.at("bearer").template()
	for _, name := range p.username.fields() {
		d.check(name, func(value string) string {
			if strings.Contains(value, ":") {
				return "cannot contain a colon, which HTTP Basic does not allow in a user name"
			}
			return ""
		})
	}
	switch {
	case auth.exists() && basic.exists() == auth.has("bearer"):
		auth.fail("must have exactly one of basic and bearer")
	case basic.exists() && (p.username == nil || p.password == nil):
		basic.fail("must have username and password")
	case auth.exists() && hasHeader(p.message.headers, "Authorization"):
		o.at("headers").object().at("Authorization").fail("cannot be set beside auth, which sets the header")
	case p.method == http.MethodGet && (o.has("json") || o.has("form")):
		o.at("method").fail("cannot be GET with a body; put the parameters into query, or use POST")
	}
	if o.has("force") {
		p.force = d.force(o, p.method)
	}
	if refresh := o.at("refresh_token"); refresh.exists() {
		if !d.used[RefreshField] {
			refresh.fail("needs a request that sends the field %s; put {%s} into the body or a header", RefreshField, RefreshField)
		}
		d.spendsRefresh(refresh)
	} else if o.has("refresh_lifetime") {
		o.at("refresh_lifetime").fail("can only be set beside refresh_token")
	}
	o.at("token").must("say with a JSON Pointer where the answer has the token")
	o.at("lifetime").must("say how long a token lives")
	p.reading = d.reading(o, false)
	return p
}

// message decodes the parts of a request.
func (o object) message() message {
	m := message{headers: o.headers(), query: o.at("query").params(), json: o.at("json").members(), form: o.at("form").params()}
	if m.json != nil && m.form != nil {
		o.at("form").fail("cannot be set beside json; a request has one body")
	}
	return m
}

func (o object) headers() []param {
	headers := o.at("headers").params()
	for _, h := range headers {
		switch n, name := o.at("headers").object().at(h.name), http.CanonicalHeaderKey(h.name); {
		case !headerName.MatchString(h.name):
			n.fail("is not the name of a header")
		case slices.Contains(reservedHeaders, name), strings.HasPrefix(name, "Proxy-"):
			n.fail("cannot be set, because the HTTP client sets the header")
		}
	}
	return headers
}

func hasHeader(headers []param, name string) bool {
	return slices.ContainsFunc(headers, func(h param) bool { return strings.EqualFold(h.name, name) })
}

// force decodes what changes when a new token is demanded.
func (d *decoder) force(http object, method string) *message {
	o := http.at("force").object("headers", "json", "form", "query", "minimum_interval", "daily_limit")
	m := o.message()
	for _, body := range []string{"json", "form"} {
		if o.has(body) && (method == "GET" || http.has("json") != (body == "json") && (http.has("json") || http.has("form"))) {
			o.at(body).fail("cannot be set, because other requests use GET or have a body of another type")
		}
	}
	if len(m.headers)+len(m.query)+len(m.json)+len(m.form) == 0 {
		o.fail("must change the request by json, form, query or headers")
	}
	d.spec.CanForce = true
	d.spec.ForceInterval = o.at("minimum_interval").duration(24 * time.Hour)
	d.spec.ForceDailyLimit = o.at("daily_limit").number(1, 1_000_000)
	return &m
}

func (d *decoder) oauth2(n node) *oauth2Protocol {
	o := n.object(append([]string{"grant_type", "client_id", "client_secret", "auth_style", "username", "password",
		"scopes", "parameters", "query", "headers", "body", "assertion", "client_assertion", "revocation"}, readingKeys...)...)
	p := &oauth2Protocol{
		grant: o.at("grant_type").choice("client_credentials"), style: o.at("auth_style").choice("header"),
		id: o.at("client_id").template(), secret: o.at("client_secret").template(),
		username: o.at("username").template(), password: o.at("password").template(), scopes: o.at("scopes").template(),
		query: o.at("query").params(), headers: o.headers(),
		json: o.at("body").oneOf("form", "json") == "json",
	}
	if !within(d.choices(p.style), []string{"header", "body", stylePrivateKey, "none"}) {
		o.at("auth_style").fail("must be header, body, private_key_jwt or none, or the placeholder of a field that allows only these")
	}
	d.assertions(o, p)
	grants := d.choices(p.grant)
	if slices.Contains(grants, grantRefreshToken) {
		d.spendsRefresh(o.at("grant_type"))
		p.refreshFields = []string{RefreshField}
	}
	if slices.Contains(grants, grantJWTBearer) {
		o.at("grant_type").fail("must be the short name jwt_bearer")
	}
	for _, name := range p.style.fields() {
		if f := d.field(name); f != nil {
			f.RequiresSecrets = true
		}
	}
	hasPassword := slices.Contains(grants, "password")
	switch {
	case d.err != nil:
	case slices.Contains(grants, "jwt_bearer") != o.has("assertion"):
		o.at("assertion").fail("must be set for the grant jwt_bearer, and for no other grant")
	case hasPassword && (p.username == nil || p.password == nil):
		o.at("grant_type").fail("needs username and password in oauth2 for the grant password")
	case !hasPassword && p.username != nil:
		o.at("username").fail("can only be set for the grant password")
	case !hasPassword && p.password != nil:
		o.at("password").fail("can only be set for the grant password")
	case p.secret != nil && p.id == nil:
		o.at("client_secret").fail("cannot be set without client_id")
	case hasHeader(p.headers, "Authorization"):
		o.at("headers").object().at("Authorization").fail("cannot be set in oauth2, which sets the header; use http instead")
	}
	if parameters := o.at("parameters"); parameters.exists() && parameters.yaml.Kind == yaml.ScalarNode {
		p.pairs = parameters.mapField()
	} else {
		p.parameters = parameters.params()
		for _, name := range p.parameters {
			if isGrantParam(name.name) {
				parameters.object().at(name.name).fail("cannot be set here, because another key of oauth2 sets the parameter")
			}
		}
	}
	d.spec.CanRefresh = true
	d.spec.CanRevoke = o.at("revocation").oneOf("rfc7009") != ""
	p.reading = d.reading(o, true)
	return p
}

// spendsRefresh allows a refresh token as the credential of a config, and checks the field
// refresh_token.
func (d *decoder) spendsRefresh(n node) {
	f := d.field(RefreshField)
	if f == nil || !f.Secret || f.Kind != Text {
		n.fail("needs a field %s whose secret is true, because the refresh token is the credential", RefreshField)
	}
	d.used[RefreshField] = true
	d.spec.SpendsRefresh = true
}

// choice returns a fixed text or a single placeholder. The placeholder's field must have allowed
// values, and must be required or have a default.
func (n node) choice(byDefault string) template {
	t := n.template()
	if t == nil {
		return template{{text: byDefault}}
	}
	if len(t) > 1 {
		n.fail("must be a text, or a single placeholder")
	}
	for _, name := range t.fields() {
		if f := n.d.field(name); f != nil && (len(f.Allowed) == 0 || !f.Required && f.Default == "") {
			n.fail("names the field %s, which must have allowed values, and must have a default or be required", name)
		}
	}
	return t
}

// choices returns all texts that a template can produce. For a placeholder, these are the field's
// allowed values. It returns nil after an error.
func (d *decoder) choices(t template) []string {
	if d.err != nil {
		return nil
	}
	if names := t.fields(); len(names) == 1 {
		return d.field(names[0]).Allowed
	}
	return []string{t[0].text}
}

// mapField returns the field name in a placeholder such as {token_params}. The field's kind must be
// map.
func (n node) mapField() string {
	t, _ := parseTemplate(n.text())
	if names := t.fields(); len(t) == 1 && len(names) == 1 {
		if f := n.use(names[0]); f == nil || f.Kind == Pairs {
			return names[0]
		}
	}
	n.fail("must be a mapping of names to texts, or the placeholder of a field whose kind is map")
	return ""
}

// serialLogins sets the fields that identify a user.
func (d *decoder) serialLogins(n node) {
	if p, ok := d.protocol.(*oauth2Protocol); ok {
		if d.spec.SerialFields = p.username.fields(); p.username == nil {
			d.spec.SerialFields = p.id.fields()
		}
	} else {
		for _, f := range d.spec.Fields {
			if f.Required && !f.Secret {
				d.spec.SerialFields = append(d.spec.SerialFields, f.Name)
			}
		}
	}
	if len(d.spec.SerialFields) == 0 {
		n.fail("needs a required field that is not secret, which identifies the user")
	}
}
