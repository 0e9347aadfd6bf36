// SPDX-License-Identifier: MPL-2.0

package providers

import (
	"bytes"
	"encoding/json"
)

// fields are the undecoded values of a JSON object. If a name occurs twice, the last value
// counts. Names are case-sensitive.
type fields map[string]json.RawMessage

// decode returns the fields of a JSON object, or what is wrong with the body.
func decode(body []byte) (f fields, problem string) {
	body = bytes.TrimSpace(body)
	switch err := json.Unmarshal(body, &f); {
	case err == nil && f != nil:
		return f, ""
	case len(body) == 0:
		return nil, "the body is empty"
	case body[0] == '<':
		return nil, "the body must be a JSON object, not an HTML page"
	}
	return nil, "the body must be a JSON object"
}

// has reports whether f has a field that is not null.
func (f fields) has(name string) bool {
	raw, ok := f[name]
	return ok && string(raw) != "null"
}

// text returns the value of a field if it is a string.
func (f fields) text(name string) (text string, ok bool) {
	if !f.has(name) || json.Unmarshal(f[name], &text) != nil {
		return "", false
	}
	return text, true
}

// number returns the value of a field if it is a number, or a string that holds a number.
func (f fields) number(name string) (value float64, ok bool) {
	var n json.Number // decodes both, and checks the string
	if !f.has(name) || json.Unmarshal(f[name], &n) != nil {
		return 0, false
	}
	value, err := n.Float64()
	return value, err == nil
}

// code returns the text of a field that is a string or a number; "" if there is no such
// field, and "(unreadable)" if the value is of another type.
func (f fields) code(name string) string {
	if text, ok := f.text(name); ok {
		return text
	}
	var n json.Number
	switch {
	case !f.has(name):
		return ""
	case json.Unmarshal(f[name], &n) != nil:
		return "(unreadable)"
	}
	return n.String()
}
