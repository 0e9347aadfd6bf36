// SPDX-License-Identifier: MPL-2.0

package providers

import (
	"encoding/json"
	"net/url"
	"regexp"
	"slices"
	"strings"

	"vault-plugin-secrets-messaging/internal/secret"
)

// A template is a text in a definition. Placeholders such as {client_id} stand for the values of
// fields.
type template []part

// part is a literal text, or the placeholder of a field.
type part struct{ text, field string }

var placeholder = regexp.MustCompile(`\{([a-z][a-z0-9_]*)\}`)

// parseTemplate parses a template, or returns what is wrong.
func parseTemplate(text string) (t template, problem string) {
	end := 0
	for _, at := range placeholder.FindAllStringSubmatchIndex(text, -1) {
		if literal := text[end:at[0]]; literal != "" {
			t = append(t, part{text: literal})
		}
		t = append(t, part{field: text[at[2]:at[3]]})
		end = at[1]
	}
	if literal := text[end:]; literal != "" || len(t) == 0 {
		t = append(t, part{text: literal})
	}
	for _, p := range t {
		if strings.ContainsAny(p.text, "{}") {
			return nil, "contains a brace that is not part of a placeholder; write a placeholder as {field}"
		}
	}
	return t, ""
}

// fields returns the names of the fields in t.
func (t template) fields() []string {
	var names []string
	for _, p := range t {
		if p.field != "" {
			names = append(names, p.field)
		}
	}
	return names
}

// fill replaces the placeholders with values. It returns false if the template is nil or a field is
// not set.
func (t template) fill(values map[string]secret.String) (text string, ok bool) {
	var b strings.Builder
	for _, p := range t {
		b.WriteString(p.text)
		if p.field != "" {
			value, ok := values[p.field]
			if !ok {
				return "", false
			}
			b.WriteString(value.Reveal())
		}
	}
	return b.String(), t != nil
}

// A value is a JSON value whose strings are templates.
type value struct {
	text    template // a string, if it is not nil
	literal string   // a number, a boolean or null, if it is not ""
	list    []value  // a list, if it is not nil
	members []param  // an object, otherwise
}

// param is a named value: a header, a query or form parameter, or a member of a JSON object. Only
// JSON has values other than strings.
type param struct {
	name  string
	value value
}

// append adds v to b as JSON. It returns false for a string with an unset field.
func (v value) append(b []byte, values map[string]secret.String) ([]byte, bool) {
	switch {
	case v.text != nil:
		text, ok := v.text.fill(values)
		if !ok {
			return b, false
		}
		return appendString(b, text), true
	case v.literal != "":
		return append(b, v.literal...), true
	case v.list != nil:
		b = append(b, '[')
		for _, element := range v.list {
			b = appendElement(b, '[', func(b []byte) ([]byte, bool) { return element.append(b, values) })
		}
		return append(b, ']'), true
	}
	return appendObject(b, v.members, values), true
}

// fields returns the names of the fields in v.
func (v value) fields() []string {
	names := v.text.fields()
	for _, element := range v.list {
		names = append(names, element.fields()...)
	}
	for _, m := range v.members {
		names = append(names, m.value.fields()...)
	}
	return names
}

// appendObject adds a JSON object, without the members whose fields are not set.
func appendObject(b []byte, members []param, values map[string]secret.String) []byte {
	b = append(b, '{')
	for _, m := range members {
		b = appendElement(b, '{', func(b []byte) ([]byte, bool) {
			return m.value.append(append(appendString(b, m.name), ':'), values)
		})
	}
	return append(b, '}')
}

// appendElement adds an element to a JSON list or object, with a comma if needed. If the function
// add returns false, b does not change.
func appendElement(b []byte, opening byte, add func([]byte) ([]byte, bool)) []byte {
	longer := b
	if b[len(b)-1] != opening {
		longer = append(longer, ',')
	}
	if longer, ok := add(longer); ok {
		return longer
	}
	return b
}

func appendString(b []byte, text string) []byte {
	quoted, _ := json.Marshal(text) // never fails for a string
	return append(b, quoted...)
}

// fillParams returns the parameters whose fields are set.
func fillParams(params []param, values map[string]secret.String) url.Values {
	filled := url.Values{}
	for _, p := range params {
		if text, ok := p.value.text.fill(values); ok {
			filled.Set(p.name, text)
		}
	}
	return filled
}

// overlay returns base and over as one list. A parameter in over replaces parameters in base with
// the same name.
func overlay(base, over []param) []param {
	kept := slices.DeleteFunc(slices.Clone(base), func(p param) bool { return hasParam(over, p.name) })
	return append(kept, over...)
}

func hasParam(params []param, name string) bool {
	return slices.ContainsFunc(params, func(p param) bool { return p.name == name })
}
