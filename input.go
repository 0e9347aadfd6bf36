package messaging

import (
	"math"
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

// checkTypes refuses the fields of data whose type is not that of their schema.
// The framework would do so too, but quotes the value, which may be a secret.
func checkTypes(schema map[string]*framework.FieldSchema, data map[string]any) error {
	for name, raw := range data {
		if s := schema[name]; s != nil {
			if _, err := decode(name, s, raw); err != nil {
				return err
			}
		}
	}
	return nil
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
		if err != nil || d < 0 || d%time.Second != 0 || d == math.MaxInt64 {
			return nil, refused
		}
		return d, nil
	}
	if _, isMap := raw.(map[string]any); isMap && s.Type != framework.TypeKVPairs {
		return nil, refused
	}
	d := framework.FieldData{Raw: map[string]any{name: raw}, Schema: map[string]*framework.FieldSchema{name: s}}
	value, _, err := d.GetOkErr(name)
	if err != nil {
		return nil, refused
	}
	return value, nil
}

// nameOf returns the name in the path of a request. It is text whatever else the
// request says, since what the path captures goes before its data; the
// framework's Get would come to the same by way of reflection.
func nameOf(d *framework.FieldData) string { return d.Raw["name"].(string) }
