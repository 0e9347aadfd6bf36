// SPDX-License-Identifier: MPL-2.0

package account

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/hashicorp/vault/sdk/framework"

	"vault-plugin-secrets-messaging/internal/secret"
	"vault-plugin-secrets-messaging/providers"
)

// ConfigSchema returns the schema of the fields that configs have: the fields of every
// config and the fields of all providers.
func (r *Registry) ConfigSchema() map[string]*framework.FieldSchema {
	schema := map[string]*framework.FieldSchema{}
	for _, f := range configFields() {
		schema[f.name] = &f.schema
	}
	first, users := map[string]providers.Field{}, map[string][]string{}
	for _, name := range r.names {
		for _, f := range r.providers[name].spec.Fields {
			if users[f.Name] == nil {
				first[f.Name] = f
			}
			users[f.Name] = append(users[f.Name], name)
		}
	}
	for name, f := range first {
		schema[name] = providerSchema(f, users[name])
	}
	return schema
}

// providerSchema returns the schema of a field of the named providers.
func providerSchema(f providers.Field, names []string) *framework.FieldSchema {
	s := &framework.FieldSchema{
		Type:         framework.TypeString,
		Description:  fmt.Sprintf("%s. For %s.", strings.TrimSuffix(f.Description, "."), strings.Join(names, ", ")),
		DisplayAttrs: &framework.DisplayAttributes{Name: displayName(f.Name), Sensitive: f.Secret},
	}
	switch f.Kind {
	case providers.List:
		s.Type = framework.TypeCommaStringSlice
	case providers.Pairs:
		s.Type = framework.TypeKVPairs
	}
	for _, a := range f.Allowed {
		s.AllowedValues = append(s.AllowedValues, a)
	}
	return s
}

// setProviderFields puts decoded values of the provider's fields into c.
func setProviderFields(c *Config, spec providers.Spec, values map[string]any) error {
	for _, name := range slices.Sorted(maps.Keys(values)) {
		i := slices.IndexFunc(spec.Fields, func(f providers.Field) bool { return f.Name == name })
		if i < 0 {
			return &providers.FieldError{Field: name, Problem: fmt.Sprintf(
				"is not a field of %s, which takes %s", spec.Name, strings.Join(fieldNames(spec), ", "))}
		}
		text, err := fieldText(spec.Fields[i], values[name])
		if err != nil {
			return &providers.FieldError{Field: name, Problem: err.Error()}
		}
		if text == "" {
			delete(c.Fields, name)
		} else {
			c.Fields[name] = text
		}
	}
	return nil
}

func fieldNames(spec providers.Spec) []string {
	names := make([]string, 0, len(spec.Fields))
	for _, f := range spec.Fields {
		names = append(names, f.Name)
	}
	return names
}

// fieldText returns a decoded value as [providers.Settings] store it; "" restores the
// default. fieldValue is its inverse.
func fieldText(f providers.Field, value any) (secret.String, error) {
	var text string
	switch v := value.(type) {
	case string:
		text = v
		if f.Secret { // field=@file brings the line break at the end of the file
			text = strings.TrimSuffix(strings.TrimSuffix(text, "\n"), "\r")
		}
	case []string:
		for _, w := range v {
			if w == "" || strings.ContainsFunc(w, unprintableOrSpace) {
				return "", errors.New("must be words without white space, separated by commas")
			}
			if err := checkText(w); err != nil {
				return "", err
			}
		}
		text = strings.Join(v, " ")
	case pairs:
		for k, values := range v.values {
			for _, part := range append([]string{k}, values...) {
				if err := checkText(part); err != nil {
					return "", err
				}
			}
		}
		text = v.encode()
	}
	limit := maxText
	if f.Secret || f.Kind != providers.Text {
		limit = maxSecret
	}
	switch {
	case text == "":
		return "", nil
	case len(text) > limit:
		return "", tooLong(limit)
	case checkText(text) != nil:
		return "", checkText(text)
	case !f.Secret && strings.Trim(text, " ") != text:
		return "", errors.New("must not begin or end with a space")
	case len(f.Allowed) > 0 && !slices.Contains(f.Allowed, text):
		return "", fmt.Errorf("must be one of %s", strings.Join(f.Allowed, ", "))
	}
	return secret.String(text), nil
}

// fieldValue returns a value as a read of the config shows it.
func fieldValue(f providers.Field, text string) any {
	switch f.Kind {
	case providers.List:
		return strings.Fields(text)
	case providers.Pairs:
		return showPairs(text)
	}
	return text
}
