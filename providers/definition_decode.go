// SPDX-License-Identifier: MPL-2.0

package providers

import (
	"regexp"
	"slices"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"
)

// maxFields is the greatest number of fields of a definition.
const maxFields = 32

var (
	fieldName       = regexp.MustCompile(`^[a-z][a-z0-9_]{0,63}$`)
	environmentName = regexp.MustCompile(`^[a-z][a-z0-9_-]{0,63}$`)
)

// reservedFields are forbidden as names of provider fields, because config/<name> uses these names.
var reservedFields = []string{
	"name", "provider", "environment", "token_url", "revocation_url", "ca_cert", "client_cert", "client_key", "request_timeout", "refresh_window",
	"min_ttl", "max_ttl", "default_ttl", "lease_ttl", "lease", "share", "verify_connection", "secrets_set", "revision",
	"definition", "definition_current", "adopt_definition", "credentials_expire", "credentials_written",
}

// reservedOutputs are forbidden as names of outputs, because creds/<name> or Vault's clients use
// these names.
var reservedOutputs = []string{
	"access_token", "token", "token_type", "token_id", "expire_time", "provider", "name", "min_ttl", "rejected", "last_vault_rotation",
	"certificate", "expiration", "metadata", "renewable", "rotation_period", "ttl",
}

// decode decodes a whole definition.
func (d *decoder) decode(text []byte) {
	o := d.root(text).object("title", "docs", "known", "fields", "endpoints", "http", "oauth2", "jwt",
		"minimum_age", "exclusive", "sliding", "serial_logins", "usage")
	if d.err != nil {
		return
	}
	o.at("title").must("write one line for people")
	d.spec.Title = o.at("title").text()
	if d.spec.Docs = o.at("docs").text(); d.spec.Docs != "" && !strings.HasPrefix(d.spec.Docs, "https://") {
		o.at("docs").fail("must be an https URL")
	}
	d.spec.Known = o.at("known").oneOf("verified", "documented", "reported")
	d.spec.Usage = o.at("usage").text()
	before, after, hasToken := strings.Cut(d.spec.Usage, "{token}")
	if o.has("usage") && (!hasToken || strings.Contains(before+after, "{")) {
		o.at("usage").fail(`must show a token as {token}, such as "Authorization: Bearer {token}"`)
	}
	d.spec.MinimumAge = o.at("minimum_age").duration(24 * time.Hour)
	d.spec.Exclusive, d.spec.Sliding = o.at("exclusive").boolean(), o.at("sliding").boolean()
	fields := o.at("fields").object()
	d.decodeFields(fields)
	d.decodeEndpoints(o.at("endpoints").object())
	d.decodeProtocol(o, fields)
	if o.at("serial_logins").boolean() {
		d.serialLogins(o.at("serial_logins"))
	}
	for _, f := range d.spec.Fields {
		if f.Secret && !d.used[f.Name] {
			fields.at(f.Name).fail("is secret, but nothing uses the field; put {%s} into the request, or remove the field", f.Name)
		}
	}
}

func (d *decoder) decodeFields(fields object) {
	if len(fields.keys) > maxFields {
		fields.fail("has %d fields; at most %d are allowed", len(fields.keys), maxFields)
	}
	for _, name := range fields.keys {
		o := fields.at(name).object("description", "required", "secret", "kind", "allowed", "default", "sets", "expect")
		switch {
		case !fieldName.MatchString(name):
			o.fail("must consist of lower-case letters, digits and underscores, and begin with a letter")
		case slices.Contains(reservedFields, name), strings.HasPrefix(name, "engine_"):
			o.fail("is a reserved name; choose another name")
		}
		f := Field{
			Name: name, Description: o.at("description").text(), Required: o.at("required").boolean(), Secret: o.at("secret").boolean(),
			Allowed: o.at("allowed").texts(), Default: o.at("default").text(),
		}
		f.Kind = map[string]FieldKind{"list": List, "map": Pairs, "json": JSON}[o.at("kind").oneOf("text", "list", "map", "json")]
		o.at("description").must("say what the field is, and where to find its value")
		switch {
		case f.Kind == JSON && (!f.Secret || !o.has("sets")):
			o.at("kind").fail("json needs secret: true and sets; sets says which fields are in the file")
		case f.Kind != JSON && (o.has("sets") || o.has("expect")):
			o.at("kind").fail("must be json for a field with sets or expect")
		case f.Secret && f.Kind != Text && f.Kind != JSON:
			o.at("kind").fail("must be text or json for a secret")
		case f.Secret && (o.has("allowed") || o.has("default")):
			o.at("secret").fail("cannot be true for a field with allowed or default, because a definition holds no secrets")
		case f.Required && o.has("default"):
			o.at("default").fail("cannot be set for a required field")
		case f.Kind != Text && (o.has("allowed") || o.has("default")):
			o.at("kind").fail("must be text for a field with allowed or default")
		case o.has("default") && (f.Default == "" || len(f.Allowed) > 0 && !slices.Contains(f.Allowed, f.Default)):
			o.at("default").fail("must be one of the allowed values, and cannot be empty")
		case slices.Contains(f.Allowed, ""):
			o.at("allowed").fail("cannot contain an empty value")
		}
		if f.Kind == JSON {
			sets := o.at("sets").object()
			f.Sets, f.Expect = map[string]pointer{}, o.at("expect").object().expectations()
			for _, target := range sets.keys {
				f.Sets[target] = sets.at(target).pointer()
			}
			d.used[name] = true
			d.check(name, f.fileProblem)
		}
		d.spec.Fields = append(d.spec.Fields, f)
	}
}

// field returns the field with the given name, or nil.
func (d *decoder) field(name string) *Field {
	i := slices.IndexFunc(d.spec.Fields, func(f Field) bool { return f.Name == name })
	if i < 0 {
		return nil
	}
	return &d.spec.Fields[i]
}

func (d *decoder) decodeEndpoints(endpoints object) {
	if endpoints.exists() && len(endpoints.keys) == 0 {
		endpoints.fail("must have at least one environment; remove endpoints if each config has its own token_url")
	}
	for _, name := range endpoints.keys {
		if !environmentName.MatchString(name) {
			endpoints.at(name).fail("must consist of lower-case letters, digits, hyphens and underscores, and begin with a letter")
		}
		endpoints.at(name).checkAddress()
		e := Endpoint{Environment: name, TokenURL: endpoints.at(name).text()}
		if name == "production" { // the default, wherever it stands
			d.spec.Endpoints = slices.Insert(d.spec.Endpoints, 0, e)
		} else {
			d.spec.Endpoints = append(d.spec.Endpoints, e)
		}
	}
	if len(d.spec.Endpoints) > 1 && d.spec.Endpoints[0].Environment != "production" {
		endpoints.fail("must have the environment production, because several environments need a default")
	}
}

// checkAddress checks an endpoint's URL, and the fields in the URL. It also makes
// [Definition.Validate] check the values of these fields.
func (n node) checkAddress() {
	d, url := n.d, n.text()
	t, problem := parseTemplate(url)
	if problem != "" {
		n.fail("%s", problem)
		return
	}
	if err := CheckURL(placeholder.ReplaceAllString(url, "x")); err != nil {
		n.fail("%v", err)
		return
	}
	before := ""
	for _, p := range t {
		if p.field == "" {
			before += p.text
			continue
		}
		where := placeInURL(before)
		f := n.use(p.field)
		switch {
		case f == nil:
			return
		case where == inScheme:
			n.fail("cannot have a placeholder before the host")
		case f.Secret:
			n.fail("cannot contain the secret field %s, because addresses are shown; put the secret into query, headers, auth or the body", f.Name)
		case f.Kind != Text:
			n.fail("cannot contain %s, because the field is no text", f.Name)
		case !f.Required && f.Default == "":
			n.fail("cannot contain %s, because the field may be unset; make the field required, or give it a default", f.Name)
		}
		f.RequiresSecrets, f.InAddress = true, true
		for _, value := range append(slices.Clone(f.Allowed), f.Default) {
			if problem := addressProblem(where, value); value != "" && problem != "" {
				d.fail("fields."+f.Name, "each value %s", problem)
			}
		}
		d.check(p.field, func(value string) string { return addressProblem(where, value) })
		before += "x"
	}
	_, rest, _ := strings.Cut(url, "://")
	host, _, _ := strings.Cut(rest, "/")
	host, _, _ = strings.Cut(host, "?")
	labels := strings.Split(host, ".")
	if len(labels) < 3 && strings.Contains(host, "{") || strings.Contains(strings.Join(labels[max(len(labels)-2, 0):], "."), "{") {
		n.fail("must end in a literal domain such as example.com, so that no field can name another domain")
	}
}

// check adds a check of the values of a field.
func (d *decoder) check(field string, problem func(string) string) {
	d.checks = append(d.checks, fieldCheck{field, problem})
}

// use returns the field that a placeholder names, and marks the field as used.
func (n node) use(name string) *Field {
	f := n.d.field(name)
	if f == nil {
		n.fail("names the field %s, which is not defined under fields", name)
		return nil
	}
	n.d.used[name] = true
	return f
}

// template returns a text with placeholders, or nil for a missing value.
func (n node) template() template {
	if !n.exists() {
		return nil
	}
	t, problem := parseTemplate(n.text())
	if problem != "" {
		n.fail("%s", problem)
	}
	for _, name := range t.fields() {
		if f := n.use(name); f != nil && (f.Kind == Pairs || f.Kind == JSON) {
			n.fail("cannot contain %s, because the field is a map or a file; only oauth2.parameters can be a map", name)
		}
	}
	return t
}

// value returns a JSON value whose strings may contain placeholders.
func (n node) value() value {
	switch {
	case n.yaml.Kind == yaml.MappingNode:
		return value{members: n.members()}
	case n.yaml.Kind == yaml.SequenceNode:
		list := []value{}
		for _, element := range n.elements() {
			list = append(list, element.value())
		}
		return value{list: list}
	case n.is("!!str"):
		return value{text: n.template()}
	}
	return value{literal: n.literal()}
}

// members returns the members of a JSON object, or nil for a missing value.
func (n node) members() []param { return n.decodeMembers(node.value) }

// params returns query parameters, form parameters or headers, or nil for a missing value.
func (n node) params() []param {
	return n.decodeMembers(func(n node) value { return value{text: n.template()} })
}

func (n node) decodeMembers(decode func(node) value) []param {
	if !n.exists() {
		return nil
	}
	members, o := []param{}, n.object()
	for _, name := range o.keys {
		members = append(members, param{name, decode(o.at(name))})
	}
	return members
}

var jsonNumber = regexp.MustCompile(`^-?(0|[1-9][0-9]*)(\.[0-9]+)?$`)

// literal returns the JSON of a number, a boolean or null.
func (n node) literal() string {
	switch {
	case n.is("!!null"):
		return "null"
	case n.is("!!bool"):
		return strings.ToLower(n.yaml.Value)
	case (n.is("!!int") || n.is("!!float")) && jsonNumber.MatchString(n.yaml.Value):
		return n.yaml.Value
	}
	n.fail("must be text, a decimal number, true, false or null; put dates in quotes")
	return ""
}

// scalar returns the text of a string node. For a number, a boolean or null, it returns the JSON
// text.
func (n node) scalar() string {
	if n.is("!!str") {
		return n.text()
	}
	return n.literal()
}
