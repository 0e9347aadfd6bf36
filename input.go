// SPDX-License-Identifier: MPL-2.0

package messaging

import (
	"maps"
	"slices"
	"time"

	"github.com/hashicorp/go-secure-stdlib/parseutil"
	"github.com/hashicorp/vault/sdk/framework"

	"vault-plugin-secrets-messaging/providers"
)

// wants says, for people, what a field of each type wants.
var wants = map[framework.FieldType]string{
	framework.TypeString:           "want a text",
	framework.TypeBool:             "want true or false",
	framework.TypeDurationSecond:   `want a duration in whole seconds, such as 30s, 5m or a number of seconds`,
	framework.TypeCommaStringSlice: "want a list of words, or words separated by commas",
	framework.TypeKVPairs:          "want a map of text to text, or key=value",
}

// checkTypes returns data with null for the empty text, which means the same, and
// refuses it if the type of a field is not that of its schema. The framework would
// refuse it too, but quotes the value, which may be a secret; and it takes the
// empty text for a bad map.
func checkTypes(schema map[string]*framework.FieldSchema, data map[string]any) (map[string]any, error) {
	checked := maps.Clone(data)
	for _, name := range slices.Sorted(maps.Keys(data)) {
		s := schema[name]
		if s == nil {
			continue
		}
		value, err := decode(name, s, data[name])
		if err != nil {
			return nil, err
		}
		if value == nil {
			checked[name] = nil
		}
	}
	return checked, nil
}

// decode returns the value that raw has for a field of that schema; nil for null
// and the empty text, which stand for the field's default. Durations are
// [time.Duration], the others as the framework has them. Its error is a
// [*providers.FieldError] that does not quote raw.
func decode(name string, s *framework.FieldSchema, raw any) (any, error) {
	if raw == nil || raw == "" {
		return nil, nil
	}
	refused := &providers.FieldError{Field: name, Problem: wants[s.Type]}
	if s.Type == framework.TypeDurationSecond {
		d, err := parseutil.ParseDurationSecond(raw)
		if err != nil || d < 0 || d%time.Second != 0 {
			return nil, refused
		}
		return d, nil
	}
	if s.Type != framework.TypeBool && !textual(raw) {
		return nil, refused
	}
	if members, ok := raw.(map[string]any); ok {
		if s.Type != framework.TypeKVPairs {
			return nil, refused
		}
		raw = withoutNulls(members)
	}
	d := framework.FieldData{Raw: map[string]any{name: raw}, Schema: map[string]*framework.FieldSchema{name: s}}
	value, _, err := d.GetOkErr(name)
	if err != nil {
		return nil, refused
	}
	return value, nil
}

// textual reports whether raw is made of text and numbers alone. The framework
// would make "1" of true.
func textual(raw any) bool {
	switch v := raw.(type) {
	case bool:
		return false
	case []any:
		return !slices.ContainsFunc(v, func(e any) bool { return e == nil || !textual(e) })
	case map[string]any:
		return textual(slices.Collect(maps.Values(withoutNulls(v))))
	}
	return true
}

// withoutNulls returns members without those that are null, which says that they
// are not there.
func withoutNulls(members map[string]any) map[string]any {
	there := maps.Clone(members)
	maps.DeleteFunc(there, func(_ string, v any) bool { return v == nil })
	return there
}

// nameOf returns the name in the path of a request. It is text whatever else the
// request says, since what the path captures goes before its data; the
// framework's Get would come to the same by way of reflection.
func nameOf(d *framework.FieldData) string { return d.Raw["name"].(string) }
