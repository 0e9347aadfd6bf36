// SPDX-License-Identifier: MPL-2.0

package account

import (
	"maps"
	"slices"
	"time"

	"github.com/hashicorp/go-secure-stdlib/parseutil"
	"github.com/hashicorp/vault/sdk/framework"

	"vault-plugin-secrets-messaging/providers"
)

// typeRules says for each type what a value must be.
var typeRules = map[framework.FieldType]string{
	framework.TypeString:           "must be a string",
	framework.TypeBool:             "must be true or false",
	framework.TypeDurationSecond:   "must be a duration in whole seconds, such as 30s, 5m or a number of seconds",
	framework.TypeCommaStringSlice: "must be a list of words, or words separated by commas",
	framework.TypeKVPairs:          "must be a map of strings to strings, or key=value",
}

// CheckTypes checks that each value in data has the type of its field. In the returned data, texts
// have no byte order marks, and empty strings are nil. The error is a [*providers.FieldError].
//
// The framework's check is not enough, because its errors may quote a secret. The framework also
// accepts an empty string for a map.
func CheckTypes(schema map[string]*framework.FieldSchema, data map[string]any) (map[string]any, error) {
	checked := maps.Clone(data)
	for _, name := range slices.Sorted(maps.Keys(data)) {
		s := schema[name]
		if s == nil {
			continue
		}
		value, err := decodeField(name, s, data[name])
		if err != nil {
			return nil, err
		}
		if checked[name] = nil; value != nil {
			checked[name] = withoutMarks(data[name])
		}
	}
	return checked, nil
}

// decodeField decodes raw for a field with the given schema. null and the empty string become nil,
// which means the default. Durations become [time.Duration], and key=value pairs become
// [url.Values]. The error is a [*providers.FieldError] that does not quote raw.
func decodeField(name string, s *framework.FieldSchema, raw any) (any, error) {
	raw = withoutMarks(raw)
	if raw == nil || raw == "" {
		return nil, nil
	}
	refused := &providers.FieldError{Field: name, Problem: typeRules[s.Type]}
	switch {
	case s.Type == framework.TypeDurationSecond:
		d, err := parseutil.ParseDurationSecond(raw)
		if err != nil || d < 0 || d%time.Second != 0 {
			return nil, refused
		}
		return d, nil
	case s.Type == framework.TypeKVPairs:
		p, ok := decodePairs(raw)
		if !ok {
			return nil, refused
		}
		return p, nil
	case s.Type != framework.TypeBool && !textual(raw):
		return nil, refused
	}
	d := framework.FieldData{Raw: map[string]any{name: raw}, Schema: map[string]*framework.FieldSchema{name: s}}
	value, _, err := d.GetOkErr(name)
	if err != nil {
		return nil, refused
	}
	return value, nil
}

// textual reports whether raw is a string, a number, or a list of strings and numbers. The
// framework would also accept booleans, and turn true into "1".
func textual(raw any) bool {
	switch v := raw.(type) {
	case bool, map[string]any:
		return false
	case []any:
		return !slices.ContainsFunc(v, func(e any) bool { return e == nil || !textual(e) })
	}
	return true
}
