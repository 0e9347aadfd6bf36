// SPDX-License-Identifier: MPL-2.0

package account

import (
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"

	"github.com/hashicorp/vault/sdk/framework"

	"vault-plugin-secrets-messaging/internal/secret"
	"vault-plugin-secrets-messaging/providers"
)

// field returns the named field of p; nil if p has no such field.
func (p *provider) field(name string) *providers.Field {
	i := slices.IndexFunc(p.spec.Fields, func(f providers.Field) bool { return f.Name == name })
	if i < 0 {
		return nil
	}
	return &p.spec.Fields[i]
}

func (p *provider) isSecret(name string) bool {
	f := p.field(name)
	return f != nil && f.Secret
}

// decode checks a value that a user wrote to the named field, and returns the text to store. ""
// means the default.
func (p *provider) decode(name string, raw any) (secret.String, error) {
	f := p.field(name)
	if f == nil {
		var takes []string
		for _, f := range p.spec.Fields {
			takes = append(takes, f.Name)
		}
		return "", &providers.FieldError{Field: shownName(name), Problem: fmt.Sprintf(
			"is not a field of %s, which takes %s", p.spec.Name, strings.Join(takes, ", "))}
	}
	value, err := decodeField(name, &framework.FieldSchema{Type: fieldTypes[f.Kind]}, raw)
	if err != nil {
		return "", err
	}
	text, err := fieldText(*f, value)
	if err != nil {
		return "", &providers.FieldError{Field: name, Problem: err.Error()}
	}
	return text, nil
}

// shownName returns a field name that a user wrote, made safe for an error.
func shownName(name string) string {
	const limit = 64
	if len(name) > limit {
		name = strings.ToValidUTF8(name[:limit], "") + "…"
	}
	return strings.Map(func(r rune) rune {
		if unprintable(r) {
			return '?'
		}
		return r
	}, name)
}

var fieldTypes = map[providers.FieldKind]framework.FieldType{
	providers.Text:  framework.TypeString,
	providers.List:  framework.TypeCommaStringSlice,
	providers.Pairs: framework.TypeKVPairs,
	providers.PEM:   framework.TypeString,
	providers.JSON:  framework.TypeString,
}

// fieldText returns the text that is stored for a decoded value; "" means the default. fieldValue
// is the inverse function.
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
			if w == "" || strings.ContainsFunc(w, unprintable) || strings.Contains(w, " ") {
				return "", errors.New("must be words without white space, separated by commas")
			}
			if err := checkText(w); err != nil {
				return "", err
			}
		}
		text = strings.Join(v, " ")
	case url.Values:
		for k, values := range v {
			for _, part := range append([]string{k}, values...) {
				if err := checkText(part); err != nil {
					return "", err
				}
			}
		}
		text = v.Encode()
	}
	check, limit := checkText, maxText
	switch f.Kind {
	case providers.PEM:
		check, text = checkLines, normalPEM(text)
	case providers.JSON:
		check = checkLines
	}
	if f.Secret || f.Kind != providers.Text {
		limit = maxSecret
	}
	switch {
	case text == "":
		return "", nil
	case len(text) > limit:
		return "", tooLong(limit)
	case check(text) != nil:
		return "", check(text)
	case !f.Secret && f.Kind != providers.PEM && strings.Trim(text, " ") != text:
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
