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

// decodePairs decodes a map, a key=value string, or a list of maps and strings. In a map, a key may
// have a list of values, or null for no values. Unlike the framework, decodePairs keeps all values
// of a key, in order. For other input, it returns false.
func decodePairs(raw any) (url.Values, bool) {
	if p, ok := raw.(url.Values); ok {
		return p, true
	}
	p := url.Values{}
	return p, addPairs(p, raw)
}

// addPairs adds the pairs in raw to p.
func addPairs(p url.Values, raw any) bool {
	if members, ok := raw.(map[string]any); ok {
		for _, key := range slices.Sorted(maps.Keys(members)) {
			values, ok := memberValues(members[key])
			if !ok {
				return false
			}
			p[key] = append(p[key], values...)
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
		p[key] = append(p[key], value)
		return true
	}
	for _, element := range list {
		if _, nested := element.([]any); nested || !addPairs(p, element) {
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

// storedPairs decodes pairs that [url.Values.Encode] has encoded.
func storedPairs(text string) url.Values {
	pairs, _ := url.ParseQuery(text)
	return pairs
}

// showPairs returns stored pairs as a read of the config shows them. If a key has several values,
// the shown value is a list.
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
