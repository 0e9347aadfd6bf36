// SPDX-License-Identifier: MPL-2.0

package account

import (
	"encoding/json"
	"maps"
	"net/url"
	"slices"
	"strings"

	"github.com/hashicorp/vault/sdk/framework"
)

// pairs is the decoded value of a field with key=value pairs. A key may have several values. The
// framework would keep only one.
//
// pairs is a struct because the framework takes a struct without exported fields for an empty map,
// and so accepts it as the value of the field.
type pairs struct {
	// values holds the values of each key in the order of the input. A key whose value is null has
	// no values.
	values map[string][]string
}

// decodePairs returns the pairs in raw, and whether raw has one of these forms: a map of strings
// or of lists of strings, a text key=value, or a list of such texts and maps.
func decodePairs(raw any) (pairs, bool) {
	if p, ok := raw.(pairs); ok {
		return p, true
	}
	p := pairs{map[string][]string{}}
	return p, p.add(raw)
}

func (p pairs) add(raw any) bool {
	if members, ok := raw.(map[string]any); ok {
		for _, key := range slices.Sorted(maps.Keys(members)) {
			values, ok := memberValues(members[key])
			if !ok {
				return false
			}
			p.values[key] = append(p.values[key], values...)
		}
		return true
	}
	list, isList := raw.([]any)
	if !isList {
		text, ok := scalarText(raw)
		key, value, isPair := strings.Cut(text, "=")
		if !ok || !isPair || key == "" {
			return false
		}
		p.values[key] = append(p.values[key], value)
		return true
	}
	for _, element := range list {
		if _, nested := element.([]any); nested || !p.add(element) {
			return false
		}
	}
	return true
}

// memberValues returns the values of one member of a map. null has no values.
func memberValues(raw any) ([]string, bool) {
	if raw == nil {
		return nil, true
	}
	list, isList := raw.([]any)
	if !isList {
		list = []any{raw}
	}
	values := make([]string, 0, len(list))
	for _, element := range list {
		text, ok := scalarText(element)
		if !ok {
			return nil, false
		}
		values = append(values, text)
	}
	return values, true
}

// scalarText returns the text of a string or a number.
func scalarText(raw any) (string, bool) {
	switch v := raw.(type) {
	case string:
		return v, true
	case json.Number:
		return v.String(), true
	case bool, nil, map[string]any, []any:
		return "", false
	}
	d := framework.FieldData{Raw: map[string]any{"": raw}, Schema: map[string]*framework.FieldSchema{"": {Type: framework.TypeString}}}
	value, ok, err := d.GetOkErr("")
	text, isText := value.(string)
	return text, ok && err == nil && isText
}

// over returns the stored pairs changed by p. Each key of p replaces the stored values of that key.
// A key of p without values removes the stored key.
func (p pairs) over(stored url.Values) pairs {
	merged := maps.Clone(map[string][]string(stored))
	maps.Copy(merged, p.values)
	return pairs{merged}
}

// encode returns the pairs in the form in which [providers.Settings] store them. It keeps the
// order of a key's values.
func (p pairs) encode() string { return url.Values(p.values).Encode() }

// storedPairs returns the pairs in a text from encode.
func storedPairs(text string) url.Values {
	values, _ := url.ParseQuery(text)
	return values
}

// showPairs returns stored pairs as a read shows them: a list where a key has several values.
func showPairs(text string) map[string]any {
	shown := map[string]any{}
	for key, values := range storedPairs(text) {
		if len(values) == 1 {
			shown[key] = values[0]
		} else {
			shown[key] = values
		}
	}
	return shown
}
