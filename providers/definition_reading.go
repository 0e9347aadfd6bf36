// SPDX-License-Identifier: MPL-2.0

package providers

import (
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"

	"vault-plugin-secrets-messaging/internal/token"
)

// reading decodes how the answers of a protocol are read.
func (d *decoder) reading(o object, isOAuth2 bool) reading {
	r := reading{
		oauth2: isOAuth2, token: o.at("token").pointer(), refresh: o.at("refresh_token").pointer(),
		life: o.at("lifetime").lifetime(), refreshLife: o.at("refresh_lifetime").lifetime(),
	}
	if isOAuth2 {
		r.setDefaults()
	}
	success := o.at("success").object("status", "values")
	if status := success.at("status"); status.exists() && status.yaml.Value == "any" {
		r.anyStatus = true
	} else {
		r.status = status.statuses()
	}
	r.values = success.at("values").object().expectations()
	outputs := o.at("outputs").object()
	for _, name := range outputs.keys {
		if !fieldName.MatchString(name) || slices.Contains(reservedOutputs, name) || strings.HasPrefix(name, "secret_id") || strings.HasPrefix(name, "lease") {
			outputs.at(name).fail("cannot be the name of an output; choose a name that is not reserved and consists of lower-case letters, digits and underscores")
		}
		r.outputs = append(r.outputs, output{name, outputs.at(name).pointer()})
	}
	d.spec.Outputs = outputs.keys
	errors := o.at("errors").object("code", "message", "refused", "operator", "client", "rate_limited", "unavailable")
	r.codes, r.messages = errors.at("code").pointers(), errors.at("message").pointers()
	r.outcomes = errors.outcomes()
	return r
}

// expectations decodes a mapping from JSON Pointers to allowed values.
func (o object) expectations() (expectations []expectation) {
	for _, key := range o.keys {
		n := o.at(key)
		p, ok := parsePointer(key)
		if !ok {
			n.fail("must be a JSON Pointer such as /code (RFC 6901)")
		}
		e := expectation{at: p}
		if n.yaml.Kind == yaml.SequenceNode {
			e.values = each(n, node.scalarOrNull)
		} else {
			e.values = []string{n.scalarOrNull()}
		}
		expectations = append(expectations, e)
	}
	return expectations
}

// scalarOrNull returns the text of a scalar; "" for null.
func (n node) scalarOrNull() string {
	if n.is("!!null") {
		return ""
	}
	return n.scalar()
}

func (o object) outcomes() (outcomes []outcome) {
	for _, outcome := range []outcome{
		{name: "operator", kind: token.Refused}, {name: "client", kind: token.Refused}, {name: "refused", kind: token.Refused},
		{name: "rate_limited", kind: token.RateLimited}, {name: "unavailable", kind: token.Unavailable},
	} {
		rule := o.at(outcome.name).object("status", "code", "message")
		if !rule.exists() {
			continue
		}
		outcome.status, outcome.codes, outcome.messages = rule.at("status").statuses(), each(rule.at("code"), node.scalar), rule.at("message").texts()
		if len(rule.keys) == 0 || slices.Contains(outcome.messages, "") {
			rule.fail("must have status, code or message, and no empty message")
		}
		outcomes = append(outcomes, outcome)
	}
	return outcomes
}

func (n node) statuses() []int {
	return each(n, func(n node) int { return n.number(200, 599) })
}

func (n node) lifetime() lifetime {
	o := n.object(append(slices.Clone(lifetimeUnits), "jwt", "fixed")...)
	l := lifetime{jwt: o.at("jwt").boolean(), fixed: o.at("fixed").duration(token.MaxLifetime)}
	for _, unit := range lifetimeUnits {
		if p := o.at(unit).pointer(); p != nil {
			l.stated = append(l.stated, statedLife{unit, p})
		}
	}
	if n.exists() && l.isZero() {
		n.fail("must say how long a token lives by %s, jwt or fixed", strings.Join(lifetimeUnits, ", "))
	}
	return l
}
