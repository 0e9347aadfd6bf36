// SPDX-License-Identifier: MPL-2.0

package providers

import (
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"

	"vault-plugin-secrets-messaging/internal/token"
)

// reading decodes how the answers of a protocol are read.
func (d *decoder) reading(o object) reading {
	isOAuth2 := o.place == "oauth2"
	r := reading{oauth2: isOAuth2, token: o.pointer("token"), refresh: o.pointer("refresh_token"),
		life: d.lifetime(o, "lifetime"), refreshLife: d.lifetime(o, "refresh_lifetime")}
	if isOAuth2 {
		r.setDefaults()
	}
	success := o.object("success", "status", "values")
	if n := success.values["status"]; n != nil && n.Value == "any" {
		r.anyStatus = true
	} else {
		r.status = success.statuses()
	}
	r.values = d.expectations(success.object("values"))
	outputs := o.object("outputs")
	for _, name := range outputs.keys {
		if !fieldName.MatchString(name) || slices.Contains(reservedOutputs, name) || strings.HasPrefix(name, "secret_id") || strings.HasPrefix(name, "lease") {
			outputs.fail(name, "cannot be the name of an output, because it is reserved or not of lower-case letters, digits and underscores")
		}
		r.outputs = append(r.outputs, output{name, outputs.pointer(name)})
	}
	d.definition.spec.Outputs = outputs.keys
	errors := o.object("errors", "code", "message", "refused", "operator", "client", "rate_limited", "unavailable")
	r.codes, r.messages = errors.pointers("code"), errors.pointers("message")
	r.outcomes = d.outcomes(errors)
	return r
}

func (d *decoder) expectations(values object) (expectations []expectation) {
	for _, key := range values.keys {
		p, ok := parsePointer(key)
		if !ok {
			values.fail(key, "must be a JSON Pointer such as /code (RFC 6901)")
		}
		e := expectation{at: p}
		use := func(n *yaml.Node, place string) { e.values = append(e.values, d.scalarOrNull(n, place)) }
		if n := values.values[key]; n.Kind == yaml.SequenceNode {
			values.each(key, use)
		} else {
			use(n, values.at(key))
		}
		expectations = append(expectations, e)
	}
	return expectations
}

func (d *decoder) outcomes(errors object) (outcomes []outcome) {
	for _, outcome := range []outcome{
		{name: "operator", kind: token.Refused}, {name: "client", kind: token.Refused}, {name: "refused", kind: token.Refused},
		{name: "rate_limited", kind: token.RateLimited}, {name: "unavailable", kind: token.Unavailable},
	} {
		rule := errors.object(outcome.name, "status", "code", "message")
		outcome.status, outcome.messages = rule.statuses(), rule.texts("message")
		rule.each("code", func(n *yaml.Node, place string) { outcome.codes = append(outcome.codes, d.scalar(n, place)) })
		if errors.has(outcome.name) {
			outcomes = append(outcomes, outcome)
		}
		if errors.has(outcome.name) && len(rule.keys) == 0 || slices.Contains(outcome.messages, "") {
			errors.fail(outcome.name, "must have status, code or message, and no empty message")
		}
	}
	return outcomes
}

// scalarOrNull returns the text of a scalar; "" for null.
func (d *decoder) scalarOrNull(n *yaml.Node, place string) string {
	if isScalar(n, "!!null") {
		return ""
	}
	return d.scalar(n, place)
}

func (o object) statuses() (statuses []int) {
	o.each("status", func(n *yaml.Node, place string) { statuses = append(statuses, o.d.number(n, place, 200, 599)) })
	return statuses
}

func (d *decoder) lifetime(parent object, key string) lifetime {
	o := parent.object(key, append(slices.Clone(lifetimeUnits), "jwt", "fixed")...)
	l := lifetime{jwt: o.boolean("jwt"), fixed: o.duration("fixed", token.MaxLifetime)}
	for _, unit := range lifetimeUnits {
		if p := o.pointer(unit); p != nil {
			l.stated = append(l.stated, statedLife{unit, p})
		}
	}
	if parent.has(key) && !l.jwt && l.fixed == 0 && l.stated == nil {
		parent.fail(key, "must say how long a token lives by %s, jwt or fixed", strings.Join(lifetimeUnits, ", "))
	}
	return l
}
