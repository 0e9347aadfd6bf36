// SPDX-License-Identifier: MPL-2.0

package account

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/hashicorp/vault/sdk/framework"

	"vault-plugin-secrets-messaging/internal/secret"
	"vault-plugin-secrets-messaging/providers"
)

// Write is what a write to config/<name> sets, decoded. A value of nil restores a default.
type Write struct {
	provider       string
	configFields   map[string]any // the fields that every config has
	providerFields map[string]any // the fields that the provider adds

	verify *bool // verify_connection; nil if the write does not set it
}

// DecodeWrite decodes the data of a write against the schema of the path. The error is a
// [*providers.FieldError].
func DecodeWrite(data map[string]any, schema map[string]*framework.FieldSchema) (*Write, error) {
	w := &Write{configFields: map[string]any{}, providerFields: map[string]any{}}
	common := map[string]bool{}
	for _, f := range configFields() {
		common[f.name] = true
	}
	for _, name := range slices.Sorted(maps.Keys(data)) {
		s := schema[name]
		if s == nil {
			return nil, &providers.FieldError{Field: name, Problem: fmt.Sprintf(
				"is not a field of configs; the fields are %s", strings.Join(slices.Sorted(maps.Keys(schema)), ", "))}
		}
		value, err := Decode(name, s, data[name])
		if err != nil {
			return nil, err
		}
		switch {
		case name == "name": // set by the path
		case name == "provider":
			if w.provider, _ = value.(string); w.provider == "" {
				return nil, &providers.FieldError{Field: name, Problem: "is required"}
			}
		case name == "verify_connection":
			if v, ok := value.(bool); ok {
				w.verify = &v
			}
		case common[name]:
			w.configFields[name] = value
		default:
			w.providerFields[name] = value
		}
	}
	return w, nil
}

// Verify reports whether to verify the write, given whether it changes what tokens the
// account gets.
func (w *Write) Verify(changed bool) bool {
	if w.verify != nil {
		return *w.verify
	}
	return changed
}

// Patched returns the data of a patch of old in the form of an update. Pairs are merged key
// by key into the stored pairs (RFC 7396), whatever the form in which they come. Every other
// value replaces the stored value.
func (r *Registry) Patched(old *Config, data map[string]any) map[string]any {
	whole := maps.Clone(data)
	for _, f := range r.providers[old.Provider].spec.Fields {
		if raw := data[f.Name]; f.Kind != providers.Pairs || raw == nil || raw == "" {
			continue
		}
		if p, ok := decodePairs(data[f.Name]); ok { // DecodeWrite refuses other values
			whole[f.Name] = p.over(storedPairs(old.Fields[f.Name].Reveal()))
		}
	}
	return whole
}

// Merge returns old, or a new config if old is nil, with the changes of w, validated as a
// whole. It does not change old. The error is a [*providers.FieldError].
func (r *Registry) Merge(old *Config, w *Write) (*Config, error) {
	next := &Config{Provider: w.provider, Fields: map[string]secret.String{}, Lease: true, Share: true}
	if old != nil {
		next = old.clone()
		if w.provider != "" && w.provider != old.Provider {
			return nil, &providers.FieldError{Field: "provider", Problem: fmt.Sprintf(
				"cannot be changed from %q; delete the config and write it again", old.Provider)}
		}
	}
	if next.Provider == "" {
		return nil, &providers.FieldError{Field: "provider", Problem: "is required; must be one of " + strings.Join(r.names, ", ")}
	}
	p, err := r.lookup(next.Provider)
	if err != nil {
		return nil, err
	}
	for _, f := range configFields() {
		if value, ok := w.configFields[f.name]; ok {
			if err := f.set(next, value); err != nil {
				return nil, &providers.FieldError{Field: f.name, Problem: err.Error()}
			}
		}
	}
	if err := setProviderFields(next, p.spec, w.providerFields); err != nil {
		return nil, err
	}
	if err := validate(next, p); err != nil {
		return nil, err
	}
	if old != nil {
		return next, guard(old, next, p.spec, w)
	}
	return next, nil
}

// validate checks c as a whole against its provider.
func validate(c *Config, p *provider) error {
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
	if !p.canRevoke() && c.RevocationURL != "" {
		return &providers.FieldError{Field: "revocation_url", Problem: fmt.Sprintf("%s cannot revoke tokens; remove the field", p.spec.Name)}
	}
	if !c.Share && !c.Lease {
		return &providers.FieldError{Field: "lease", Problem: "must be true with share=false, because an unshared token ends with its lease"}
	}
	if v, ok := p.Provider.(providers.Validator); ok {
		return v.Validate(c.settings(p.spec))
	}
	return nil
}

func validateEnvironment(c *Config, spec providers.Spec) error {
	if c.Environment == "" {
		return nil
	}
	if len(spec.Endpoints) < 2 {
		return &providers.FieldError{Field: "environment", Problem: fmt.Sprintf("%s has a single environment; remove the field", spec.Name)}
	}
	var names []string
	for _, e := range spec.Endpoints {
		if e.Environment == c.Environment {
			return nil
		}
		names = append(names, e.Environment)
	}
	return &providers.FieldError{Field: "environment", Problem: "must be one of " + strings.Join(names, ", ")}
}

// guard refuses a write that changes where or how a secret is sent and does not repeat
// that secret. Otherwise whoever may edit the endpoint could have a password that they do
// not know sent to a host of theirs. The secrets that the write removes count too: whoever
// does not know a secret may not change its endpoint by removing the secret.
func guard(old, next *Config, spec providers.Spec, w *Write) error {
	field := redirected(old, next, spec)
	if field == "" {
		return nil
	}
	kept := next.secretsSet(spec)
	for _, name := range kept {
		if text, ok := w.providerFields[name].(string); !ok || text == "" {
			return &providers.FieldError{Field: field, Problem: fmt.Sprintf(
				"this change affects where or how %s is sent; write %s again in the same request", name, name)}
		}
	}
	for _, name := range old.secretsSet(spec) {
		if !slices.Contains(kept, name) {
			return &providers.FieldError{Field: field, Problem: fmt.Sprintf(
				"a request that removes %s cannot change where or how secrets are sent; write %s again in this request, and remove it in a later request", name, name)}
		}
	}
	return nil
}

// redirected returns the name of a field that differs between two configs and decides
// where or how secrets are sent; "" if there is none.
func redirected(old, next *Config, spec providers.Spec) string {
	if old.environment(spec) != next.environment(spec) {
		return "environment"
	}
	for _, f := range configFields() {
		if f.requiresSecrets && f.name != "environment" && f.show(old) != f.show(next) {
			return f.name
		}
	}
	before, after := old.settings(spec).Values, next.settings(spec).Values
	for _, f := range spec.Fields {
		if f.RequiresSecrets && before[f.Name] != after[f.Name] {
			return f.Name
		}
	}
	return ""
}
