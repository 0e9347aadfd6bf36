// SPDX-License-Identifier: MPL-2.0

package providers

import (
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"
)

// maxFields bounds the number of fields of a definition.
const maxFields = 32

var (
	fieldName       = regexp.MustCompile(`^[a-z][a-z0-9_]{0,63}$`)
	environmentName = regexp.MustCompile(`^[a-z][a-z0-9_-]{0,63}$`)
)

// reservedFields are names that definitions cannot use for fields, because configs use them for
// something else.
var reservedFields = []string{
	"name", "provider", "environment", "token_url", "revocation_url", "ca_cert", "client_cert", "client_key", "request_timeout", "refresh_window",
	"min_ttl", "max_ttl", "default_ttl", "lease_ttl", "lease", "share", "verify_connection", "secrets_set", "revision",
	"definition", "definition_current", "adopt_definition", "credentials_expire", "credentials_written",
}

// reservedOutputs are names that definitions cannot use for outputs, because reads of
// creds/<name> or Vault's clients use them.
var reservedOutputs = []string{
	"access_token", "token", "token_type", "token_id", "expire_time", "provider", "name", "min_ttl", "rejected", "last_vault_rotation",
	"certificate", "expiration", "metadata", "renewable", "rotation_period", "ttl",
}

// definitionOf decodes a whole definition.
func (d *decoder) definitionOf(text []byte) {
	d.used = map[string]bool{}
	o := d.root(text, "title", "docs", "known", "fields", "endpoints", "http", "oauth2", "jwt",
		"minimum_age", "exclusive", "sliding", "serial_logins", "usage")
	if d.err != nil {
		return
	}
	spec := &d.definition.spec
	o.must("title", "write one line for people")
	spec.Title = o.text("title")
	if spec.Docs = o.text("docs"); spec.Docs != "" && !strings.HasPrefix(spec.Docs, "https://") {
		o.fail("docs", "must be an https URL")
	}
	spec.Known = o.oneOf("known", "verified", "documented", "reported")
	if spec.Usage = o.text("usage"); o.has("usage") && strings.Count(strings.Replace(spec.Usage, "{token}", "", 1), "{") > 0 ||
		o.has("usage") && !strings.Contains(spec.Usage, "{token}") {
		o.fail("usage", `must show a token as {token}, such as "Authorization: Bearer {token}"`)
	}
	spec.MinimumAge = o.duration("minimum_age", 24*time.Hour)
	spec.Exclusive, spec.Sliding = o.boolean("exclusive"), o.boolean("sliding")
	d.fields(o)
	d.endpoints(o)
	d.protocol(o)
	if o.boolean("serial_logins") {
		d.serialLogins(o)
	}
	for _, f := range spec.Fields {
		if f.Secret && !d.used[f.Name] {
			o.object("fields").fail(f.Name, "is secret, but nothing uses the field; put {%s} into the request, or remove the field", f.Name)
		}
	}
}

func (d *decoder) fields(root object) {
	spec := &d.definition.spec
	fields := root.object("fields")
	if len(fields.keys) > maxFields {
		root.fail("fields", "has %d fields; at most %d are allowed", len(fields.keys), maxFields)
	}
	for _, name := range fields.keys {
		o := fields.object(name, "description", "required", "secret", "kind", "allowed", "default", "sets", "expect")
		switch {
		case !fieldName.MatchString(name):
			fields.fail(name, "must consist of lower-case letters, digits and underscores, and begin with a letter")
		case slices.Contains(reservedFields, name), strings.HasPrefix(name, "engine_"):
			fields.fail(name, "is a reserved name; choose another name")
		}
		f := Field{
			Name: name, Description: o.text("description"), Required: o.boolean("required"), Secret: o.boolean("secret"),
			Allowed: o.texts("allowed"), Default: o.text("default"),
		}
		f.Kind = map[string]FieldKind{"list": List, "map": Pairs, "json": JSON}[o.oneOf("kind", "text", "list", "map", "json")]
		o.must("description", "say what the field is, and where to find its value")
		switch {
		case f.Kind == JSON && (!f.Secret || !o.has("sets")):
			o.fail("kind", "json needs secret: true and sets, which says what the file contains")
		case f.Kind != JSON && (o.has("sets") || o.has("expect")):
			o.fail("kind", "must be json for a field with sets or expect")
		case f.Secret && f.Kind != Text && f.Kind != JSON:
			o.fail("kind", "must be text or json for a secret")
		case f.Secret && (o.has("allowed") || o.has("default")):
			o.fail("secret", "cannot be true for a field with allowed or default, because a definition holds no secrets")
		case f.Required && o.has("default"):
			o.fail("default", "cannot be set for a required field")
		case f.Kind != Text && (o.has("allowed") || o.has("default")):
			o.fail("kind", "must be text for a field with allowed or default")
		case o.has("default") && (f.Default == "" || len(f.Allowed) > 0 && !slices.Contains(f.Allowed, f.Default)):
			o.fail("default", "must be one of the allowed values, and cannot be empty")
		case slices.Contains(f.Allowed, ""):
			o.fail("allowed", "cannot contain an empty value")
		}
		if f.Kind == JSON {
			sets := o.object("sets")
			f.Sets, f.Expect = map[string]pointer{}, d.expectations(o.object("expect"))
			for _, target := range sets.keys {
				f.Sets[target] = sets.pointer(target)
			}
			d.used[name] = true
		}
		spec.Fields = append(spec.Fields, f)
	}
}

// field returns the field with the given name; nil if there is none.
func (d *decoder) field(name string) *Field {
	spec := &d.definition.spec
	i := slices.IndexFunc(spec.Fields, func(f Field) bool { return f.Name == name })
	if i < 0 {
		return nil
	}
	return &spec.Fields[i]
}

func (d *decoder) endpoints(root object) {
	endpoints := root.object("endpoints")
	if root.has("endpoints") && len(endpoints.keys) == 0 {
		root.fail("endpoints", "must have at least one environment; leave the key out if each config has its own token_url")
	}
	for _, name := range endpoints.keys {
		if !environmentName.MatchString(name) {
			endpoints.fail(name, "must consist of lower-case letters, digits, hyphens and underscores, and begin with a letter")
		}
		url := endpoints.text(name)
		d.address(url, endpoints.at(name))
		e := Endpoint{Environment: name, TokenURL: url}
		if name == "production" { // the default, wherever it stands
			d.definition.spec.Endpoints = slices.Insert(d.definition.spec.Endpoints, 0, e)
		} else {
			d.definition.spec.Endpoints = append(d.definition.spec.Endpoints, e)
		}
	}
	if n := len(endpoints.keys); n > 1 && d.err == nil && d.definition.spec.Endpoints[0].Environment != "production" {
		root.fail("endpoints", "must have the environment production, which is the default of several")
	}
}

// address checks the URL of an endpoint. It also makes sure that the values of the URL's fields
// will be checked.
func (d *decoder) address(url, place string) {
	t, problem := parseTemplate(url)
	if problem != "" {
		d.fail(place, "%s", problem)
		return
	}
	if err := CheckURL(placeholder.ReplaceAllString(url, "x")); err != nil {
		d.fail(place, "%v", err)
		return
	}
	before := ""
	for _, p := range t {
		if p.field == "" {
			before += p.text
			continue
		}
		where := placeInURL(before)
		f := d.fieldOf(p.field, place)
		switch {
		case f == nil:
			return
		case where == inScheme:
			d.fail(place, "cannot have a placeholder before the host")
		case f.Secret:
			d.fail(place, "cannot contain the secret field %s, because addresses are shown; put the secret into query, headers, auth or the body", f.Name)
		case f.Kind != Text:
			d.fail(place, "cannot contain %s, because the field is no text", f.Name)
		case !f.Required && f.Default == "":
			d.fail(place, "cannot contain %s, because the field may be unset; make the field required, or give it a default", f.Name)
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
		d.fail(place, "must end in a literal domain such as example.com, so that no field can name another domain")
	}
}

// check adds a check of the values of a field.
func (d *decoder) check(field string, problem func(string) string) {
	d.definition.checks = append(d.definition.checks, fieldCheck{field, problem})
}

// fieldOf returns the field of a placeholder, and counts it as used.
func (d *decoder) fieldOf(name, place string) *Field {
	f := d.field(name)
	if f == nil {
		d.fail(place, "names the field %s, which fields does not have", name)
		return nil
	}
	d.used[name] = true
	return f
}

// template returns a text with placeholders.
func (d *decoder) template(n *yaml.Node, place string) template {
	if n == nil {
		return nil
	}
	t, problem := parseTemplate(d.text(n, place))
	if problem != "" {
		d.fail(place, "%s", problem)
	}
	for _, name := range t.fields() {
		if f := d.fieldOf(name, place); f != nil && (f.Kind == Pairs || f.Kind == JSON) {
			d.fail(place, "cannot contain %s, because the field is a map or a file; only oauth2.parameters can be a map", name)
		}
	}
	return t
}

func (o object) template(key string) template { return o.d.template(o.values[key], o.at(key)) }

// value returns a JSON value with templates.
func (d *decoder) value(n *yaml.Node, place string) value {
	switch n.Kind {
	case yaml.MappingNode:
		return value{members: d.members(n, place)}
	case yaml.SequenceNode:
		list := []value{}
		for i, element := range n.Content {
			list = append(list, d.value(element, place+"["+strconv.Itoa(i)+"]"))
		}
		return value{list: list}
	}
	if isScalar(n, "!!str") {
		return value{text: d.template(n, place)}
	}
	return value{literal: d.literal(n, place)}
}

func (d *decoder) members(n *yaml.Node, place string) []param {
	o := d.object(n, place)
	members := []param{}
	for _, name := range o.keys {
		members = append(members, param{name, d.value(o.values[name], o.at(name))})
	}
	return members
}

// params returns the parameters of a query, a form or the headers.
func (o object) params(key string) []param {
	params := []param{}
	inner := o.object(key)
	for _, name := range inner.keys {
		params = append(params, param{name, value{text: inner.template(name)}})
	}
	return params
}

var jsonNumber = regexp.MustCompile(`^-?(0|[1-9][0-9]*)(\.[0-9]+)?$`)

// literal returns the JSON of a number, a boolean or null.
func (d *decoder) literal(n *yaml.Node, place string) string {
	switch {
	case isScalar(n, "!!null"):
		return "null"
	case isScalar(n, "!!bool"):
		return strings.ToLower(n.Value)
	case (isScalar(n, "!!int") || isScalar(n, "!!float")) && jsonNumber.MatchString(n.Value):
		return n.Value
	}
	d.fail(place, "must be text, a decimal number, true, false or null; put dates in quotes")
	return ""
}

// scalar returns a text, or the JSON of a number or boolean.
func (d *decoder) scalar(n *yaml.Node, place string) string {
	if isScalar(n, "!!str") {
		return d.text(n, place)
	}
	return d.literal(n, place)
}
