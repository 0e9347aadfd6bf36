// SPDX-License-Identifier: MPL-2.0

package messaging

import (
	"fmt"
	"maps"
	"net/url"
	"slices"
	"strings"

	"github.com/hashicorp/vault/sdk/framework"

	"vault-plugin-secrets-messaging/internal/secret"
	"vault-plugin-secrets-messaging/providers"
)

// configInput is what a write of a config names, decoded.
type configInput struct {
	provider string
	common   map[string]any // of the fields that every config has; nil for the default
	own      map[string]any // of the provider's own fields; nil for unset

	verifyConnection *bool // nil if the write does not say
}

// decodeWrite decodes the data of a write to config/<name>, against its schema.
func (b *backend) decodeWrite(data map[string]any, schema map[string]*framework.FieldSchema) (*configInput, error) {
	in := &configInput{common: map[string]any{}, own: map[string]any{}}
	common := map[string]bool{}
	for _, f := range configFields() {
		common[f.name] = true
	}
	for _, name := range slices.Sorted(maps.Keys(data)) {
		s := schema[name]
		if s == nil {
			return nil, &providers.FieldError{Field: name, Problem: fmt.Sprintf(
				"there is no such field; there are %s", strings.Join(slices.Sorted(maps.Keys(schema)), ", "))}
		}
		value, err := decode(name, s, data[name])
		if err != nil {
			return nil, err
		}
		switch {
		case name == "name": // the path says it
		case name == "provider":
			if in.provider, _ = value.(string); in.provider == "" {
				return nil, &providers.FieldError{Field: name, Problem: "is required"}
			}
		case name == "verify_connection":
			if v, ok := value.(bool); ok {
				in.verifyConnection = &v
			}
		case common[name]:
			in.common[name] = value
		default:
			in.own[name] = value
		}
	}
	return in, nil
}

// patched returns the data of a patch of old as an update would have it: an object
// is merged into the one that is there, member by member (RFC 7396).
func (b *backend) patched(old *config, data map[string]any) map[string]any {
	whole := maps.Clone(data)
	for _, f := range b.providers[old.Provider].spec.Fields {
		members, isObject := data[f.Name].(map[string]any)
		if f.Kind != providers.Pairs || !isObject {
			continue
		}
		merged := map[string]any{}
		for k, v := range pairs(old.Fields[f.Name].Reveal()) {
			merged[k] = v
		}
		maps.Copy(merged, members)
		whole[f.Name] = merged
	}
	return whole
}

// verify reports whether the write is to be verified, given whether it changes
// credentials or endpoint.
func (in *configInput) verify(changed bool) bool {
	if in.verifyConnection != nil {
		return *in.verifyConnection
	}
	return changed
}

// merge returns old (nil if there is none) with what in names put in, and
// validated as a whole. old is left as it is.
func (b *backend) merge(old *config, in *configInput) (*config, error) {
	next := &config{Provider: in.provider, Fields: map[string]secret.String{}}
	if old != nil {
		next = old.clone()
		if in.provider != "" && in.provider != old.Provider {
			return nil, &providers.FieldError{Field: "provider", Problem: fmt.Sprintf(
				"is %s and stays so; to change it, delete the config and write it again", old.Provider)}
		}
	}
	if next.Provider == "" {
		return nil, &providers.FieldError{Field: "provider", Problem: "is required: one of " + strings.Join(b.providerNames(), ", ")}
	}
	p, err := b.provider(next.Provider)
	if err != nil {
		return nil, err
	}
	for _, f := range configFields() {
		if value, named := in.common[f.name]; named {
			if err := f.set(next, value); err != nil {
				return nil, &providers.FieldError{Field: f.name, Problem: err.Error()}
			}
		}
	}
	if err := setOwn(next, p.spec, in.own); err != nil {
		return nil, err
	}
	if err := validate(next, p); err != nil {
		return nil, err
	}
	if old != nil {
		return next, guard(old, next, p.spec, in)
	}
	return next, nil
}

// setOwn puts the named values of the provider's own fields into c.
func setOwn(c *config, spec providers.Spec, named map[string]any) error {
	for _, name := range slices.Sorted(maps.Keys(named)) {
		i := slices.IndexFunc(spec.Fields, func(f providers.Field) bool { return f.Name == name })
		if i < 0 {
			return &providers.FieldError{Field: name, Problem: fmt.Sprintf(
				"is not a field of %s, which takes %s", spec.Name, strings.Join(fieldNames(spec), ", "))}
		}
		text, err := fieldText(spec.Fields[i], named[name])
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

// validate checks c as a whole against its provider.
func validate(c *config, p *provider) error {
	for _, f := range p.spec.Fields {
		if _, ok := c.Fields[f.Name]; !ok && f.Required {
			return &providers.FieldError{Field: f.Name, Problem: "is required by " + p.spec.Name}
		}
	}
	if err := validateEnvironment(c, p.spec); err != nil {
		return err
	}
	if c.tokenURL(p.spec) == "" {
		return &providers.FieldError{Field: "token_url", Problem: "is required by " + p.spec.Name}
	}
	if _, ok := p.Provider.(providers.Revoker); !ok && c.RevocationURL != "" {
		return &providers.FieldError{Field: "revocation_url", Problem: p.spec.Name + " cannot end tokens: leave it out"}
	}
	if c.Unshared && c.Leaseless {
		return &providers.FieldError{Field: "lease", Problem: "share=false gives each reader a token of its own, which ends with its lease: want lease=true"}
	}
	if v, ok := p.Provider.(providers.Validator); ok {
		return v.Validate(c.settings(p.spec))
	}
	return nil
}

func validateEnvironment(c *config, spec providers.Spec) error {
	if c.Environment == "" {
		return nil
	}
	if len(spec.Endpoints) < 2 {
		return &providers.FieldError{Field: "environment", Problem: fmt.Sprintf("%s has no environments to choose from: leave it out", spec.Name)}
	}
	var names []string
	for _, e := range spec.Endpoints {
		if e.Environment == c.Environment {
			return nil
		}
		names = append(names, e.Environment)
	}
	return &providers.FieldError{Field: "environment", Problem: fmt.Sprintf("want one of %s", strings.Join(names, ", "))}
}

// guard refuses a write that changes where or how a secret is sent without
// carrying that secret: whoever may edit the endpoint could otherwise have a
// password that they do not know sent to a host of theirs.
func guard(old, next *config, spec providers.Spec, in *configInput) error {
	field := steered(old, next, spec)
	if field == "" {
		return nil
	}
	for _, name := range next.secretsSet(spec) {
		if text, ok := in.own[name].(string); !ok || text == "" {
			return &providers.FieldError{Field: field, Problem: fmt.Sprintf(
				"changing it changes where or how %s is sent: write %s again in the same request", name, name)}
		}
	}
	return nil
}

// steered returns the name of a field that steers secrets and differs between two
// configs; "" if there is none.
func steered(old, next *config, spec providers.Spec) string {
	if old.environment(spec) != next.environment(spec) {
		return "environment"
	}
	for _, f := range configFields() {
		if f.steers && f.name != "environment" && f.show(old) != f.show(next) {
			return f.name
		}
	}
	before, after := old.settings(spec).Values, next.settings(spec).Values
	for _, f := range spec.Fields {
		if f.Steers && before[f.Name] != after[f.Name] {
			return f.Name
		}
	}
	return ""
}

// fieldValue returns the text of a provider's own field as a read shows it.
func fieldValue(f providers.Field, text string) any {
	switch f.Kind {
	case providers.List:
		return strings.Fields(text)
	case providers.Pairs:
		return pairs(text)
	}
	return text
}

// pairs returns the pairs that fieldText encoded.
func pairs(text string) map[string]string {
	values, _ := url.ParseQuery(text)
	decoded := make(map[string]string, len(values))
	for k := range values {
		decoded[k] = values.Get(k)
	}
	return decoded
}
