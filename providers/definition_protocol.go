// SPDX-License-Identifier: MPL-2.0

package providers

import (
	"net/http"
	"regexp"
	"slices"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"
)

// reservedHeaders are headers that definitions cannot set, because the HTTP client sets them or
// they change how a request is sent.
var reservedHeaders = []string{
	"Host", "Content-Length", "Transfer-Encoding", "Connection", "Keep-Alive", "Te", "Trailer", "Upgrade", "Expect", "User-Agent",
	"Accept-Encoding", "Idempotency-Key", "X-Idempotency-Key", // with these two, net/http may repeat a request
}

var headerName = regexp.MustCompile("^[A-Za-z0-9!#$%&'*+.^_`|~-]{1,64}$")

// protocol decodes the protocol, which must be the only one.
func (d *decoder) protocol(root object) {
	var protocols []string
	for _, name := range []string{"http", "oauth2", "jwt"} {
		if root.has(name) {
			protocols = append(protocols, name)
		}
	}
	switch {
	case len(protocols) != 1:
		d.fail(root.place, "must have exactly one of http, oauth2 and jwt, not %d of them", len(protocols))
	case root.has("http"):
		d.definition.protocol = d.http(root)
	case root.has("oauth2"):
		d.definition.protocol = d.oauth2(root)
	default:
		d.definition.protocol = d.jwt(root)
	}
	if d.err == nil {
		d.keyFields(root)
	}
}

var readingKeys = []string{"success", "token", "refresh_token", "refresh_lifetime", "lifetime", "outputs", "errors"}

func (d *decoder) http(root object) *httpProtocol {
	o := root.object("http", append([]string{"method", "headers", "auth", "json", "form", "query", "force"}, readingKeys...)...)
	p := &httpProtocol{method: http.MethodPost}
	if method := o.oneOf("method", http.MethodPost, http.MethodGet); method != "" {
		p.method = method
	}
	p.message = o.message()
	auth := o.object("auth", "basic", "bearer")
	basic := auth.object("basic", "username", "password")
	p.username, p.password, p.bearer = basic.template("username"), basic.template("password"), auth.template("bearer")
	for _, name := range p.username.fields() {
		d.check(name, func(value string) string {
			if strings.Contains(value, ":") {
				return "cannot contain a colon, which HTTP Basic does not allow in a user name"
			}
			return ""
		})
	}
	switch {
	case o.has("auth") && auth.has("basic") == auth.has("bearer"):
		o.fail("auth", "must have exactly one of basic and bearer")
	case auth.has("basic") && (p.username == nil || p.password == nil):
		auth.fail("basic", "must have username and password")
	case o.has("auth") && hasHeader(p.message.headers, "Authorization"):
		o.object("headers").fail("Authorization", "cannot be set beside auth, which sets the header")
	case p.method == http.MethodGet && (o.has("json") || o.has("form")):
		o.fail("method", "cannot be GET with a body; put the parameters into query, or use POST")
	}
	if o.has("force") {
		p.force = d.force(o, p.method)
	}
	if o.has("refresh_token") {
		if !d.used[RefreshField] {
			o.fail("refresh_token", "needs a request that sends the field %s; put {%s} into the body or a header", RefreshField, RefreshField)
		}
		d.spendsRefresh(o, "refresh_token")
	}
	if o.has("refresh_lifetime") && !o.has("refresh_token") {
		o.fail("refresh_lifetime", "can only be set beside refresh_token")
	}
	o.must("token", "say with a JSON Pointer where the answer has the token")
	o.must("lifetime", "say how long a token lives")
	p.reading = d.reading(o)
	return p
}

// message decodes the parts of a request.
func (o object) message() message {
	m := message{headers: o.headers(), query: o.params("query")}
	if o.has("json") {
		m.json = o.d.members(o.values["json"], o.at("json"))
	}
	if o.has("form") {
		m.form = o.params("form")
	}
	if o.has("json") && o.has("form") {
		o.fail("form", "cannot be set beside json; a request has one body")
	}
	return m
}

func (o object) headers() []param {
	headers := o.params("headers")
	for _, h := range headers {
		name := http.CanonicalHeaderKey(h.name)
		switch inner := o.object("headers"); {
		case !headerName.MatchString(h.name):
			inner.fail(h.name, "is not the name of a header")
		case slices.Contains(reservedHeaders, name), strings.HasPrefix(name, "Proxy-"):
			inner.fail(h.name, "cannot be set, because the HTTP client sets the header")
		}
	}
	return headers
}

func hasHeader(headers []param, name string) bool {
	return slices.ContainsFunc(headers, func(h param) bool { return strings.EqualFold(h.name, name) })
}

// force decodes what changes when a new token is demanded.
func (d *decoder) force(http object, method string) *message {
	o := http.object("force", "headers", "json", "form", "query", "minimum_interval", "daily_limit")
	m := o.message()
	for _, body := range []string{"json", "form"} {
		if o.has(body) && (method == "GET" || http.has("json") != (body == "json") && (http.has("json") || http.has("form"))) {
			o.fail(body, "must be a body of the same kind as that of other requests")
		}
	}
	if len(m.headers)+len(m.query)+len(m.json)+len(m.form) == 0 {
		http.fail("force", "must change the request by json, form, query or headers")
	}
	spec := &d.definition.spec
	spec.CanForce = true
	spec.ForceInterval = o.duration("minimum_interval", 24*time.Hour)
	if o.has("daily_limit") {
		spec.ForceDailyLimit = d.number(o.values["daily_limit"], o.at("daily_limit"), 1, 1_000_000)
	}
	return &m
}

func (d *decoder) oauth2(root object) *oauth2Protocol {
	o := root.object("oauth2", append([]string{"grant_type", "client_id", "client_secret", "auth_style", "username", "password",
		"scopes", "parameters", "query", "headers", "body", "assertion", "client_assertion", "revocation"}, readingKeys...)...)
	p := &oauth2Protocol{
		grant: o.choice("grant_type", "client_credentials"), style: o.choice("auth_style", "header"),
		id: o.template("client_id"), secret: o.template("client_secret"),
		username: o.template("username"), password: o.template("password"), scopes: o.template("scopes"),
		query: o.params("query"), headers: o.headers(),
		json: o.oneOf("body", "form", "json") == "json",
	}
	for _, style := range d.choices(p.style) {
		if !slices.Contains([]string{"header", "body", stylePrivateKey, "none"}, style) {
			o.fail("auth_style", "must be header, body, private_key_jwt or none, or the placeholder of a field that allows only these")
		}
	}
	d.assertions(o, p)
	grants := d.choices(p.grant)
	for _, grant := range grants {
		if grant == grantRefreshToken {
			d.spendsRefresh(o, "grant_type")
		}
		if grant == grantJWTBearer {
			o.fail("grant_type", "must be written jwt_bearer")
		}
	}
	for _, name := range p.style.fields() {
		if f := d.field(name); f != nil {
			f.RequiresSecrets = true
		}
	}
	switch {
	case d.err != nil:
	case slices.Contains(grants, "jwt_bearer") != o.has("assertion"):
		o.fail("assertion", "must be set for the grant jwt_bearer, and for no other grant")
	case slices.Contains(grants, "password") && (p.username == nil || p.password == nil):
		o.fail("grant_type", "needs username and password in oauth2 for the grant password")
	case !slices.Contains(grants, "password") && (p.username != nil || p.password != nil):
		o.fail("username", "and password can only be set for the grant password")
	case p.secret != nil && p.id == nil:
		o.fail("client_secret", "cannot be set without client_id")
	case hasHeader(p.headers, "Authorization"):
		o.object("headers").fail("Authorization", "cannot be set in oauth2, which sets the header; use http instead")
	}
	if n := o.values["parameters"]; n != nil && n.Kind == yaml.ScalarNode {
		p.pairs = d.pairsField(o)
	} else {
		p.parameters = o.params("parameters")
		for _, name := range p.parameters {
			if isGrantParam(name.name) {
				o.object("parameters").fail(name.name, "cannot be set here, because another key of oauth2 sets the parameter")
			}
		}
	}
	d.definition.spec.CanRefresh = true
	d.definition.spec.CanRevoke = o.oneOf("revocation", "rfc7009") != ""
	if d.definition.spec.SpendsRefresh {
		p.refreshFields = []string{RefreshField}
	}
	p.reading = d.reading(o)
	return p
}

// spendsRefresh marks the definition as one whose credential is a refresh token, and checks its
// field.
func (d *decoder) spendsRefresh(o object, key string) {
	f := d.field(RefreshField)
	switch {
	case d.err != nil:
	case f == nil || !f.Secret || f.Kind != Text:
		o.fail(key, "needs a field %s whose secret is true, because the refresh token is the credential", RefreshField)
	default:
		d.used[RefreshField] = true
		d.definition.spec.SpendsRefresh = true
	}
}

// choice returns a text, or the placeholder of a field with a fixed set of values.
func (o object) choice(key, byDefault string) template {
	t := o.template(key)
	if t == nil {
		return template{{text: byDefault}}
	}
	if len(t) > 1 {
		o.fail(key, "must be a text, or a single placeholder")
	}
	for _, name := range t.fields() {
		if f := o.d.field(name); f != nil && (len(f.Allowed) == 0 || !f.Required && f.Default == "") {
			o.fail(key, "names the field %s, which must have allowed values, and a default unless it is required", name)
		}
	}
	return t
}

// choices returns the values that a choice may have.
func (d *decoder) choices(t template) []string {
	if d.err != nil {
		return nil
	}
	if names := t.fields(); len(names) == 1 {
		return d.field(names[0]).Allowed
	}
	return []string{t[0].text}
}

// pairsField returns the name of the map field in oauth2.parameters.
func (d *decoder) pairsField(oauth2 object) string {
	t, _ := parseTemplate(oauth2.text("parameters"))
	if names := t.fields(); len(t) == 1 && len(names) == 1 {
		if f := d.fieldOf(names[0], oauth2.at("parameters")); f == nil || f.Kind == Pairs {
			return names[0]
		}
	}
	oauth2.fail("parameters", "must be a mapping of names to texts, or the placeholder of a field whose kind is map")
	return ""
}

// serialLogins sets the fields that identify a user.
func (d *decoder) serialLogins(root object) {
	spec := &d.definition.spec
	if p, ok := d.definition.protocol.(*oauth2Protocol); ok {
		if spec.SerialFields = p.username.fields(); p.username == nil {
			spec.SerialFields = p.id.fields()
		}
	} else {
		for _, f := range spec.Fields {
			if f.Required && !f.Secret {
				spec.SerialFields = append(spec.SerialFields, f.Name)
			}
		}
	}
	if len(spec.SerialFields) == 0 {
		root.fail("serial_logins", "needs a required field that is not secret, which identifies the user")
	}
}
