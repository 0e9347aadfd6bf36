// SPDX-License-Identifier: MPL-2.0

package account

import (
	"context"
	"fmt"
	"maps"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/hashicorp/vault/sdk/framework"

	"vault-plugin-secrets-messaging/internal/secret"
	"vault-plugin-secrets-messaging/providers"
)

// Write holds the fields that a write to config/<name> sets. A nil value restores the default.
type Write struct {
	provider       string
	adopt          string         // the digest of the definition to adopt; "" keeps the current one
	verify         *bool          // verify_connection; nil if the write does not set it
	configFields   map[string]any // the fields that every config has, decoded
	providerFields map[string]any // the provider's fields, as they were written
}

// DecodeWrite decodes the data of a write against the schema of the path. The error is a
// [*providers.FieldError].
func DecodeWrite(data map[string]any, schema map[string]*framework.FieldSchema) (*Write, error) {
	w := &Write{configFields: map[string]any{}, providerFields: map[string]any{}}
	for _, name := range slices.Sorted(maps.Keys(data)) {
		s := schema[name]
		if s == nil {
			w.providerFields[name] = data[name]
			continue
		}
		value, err := decodeField(name, s, data[name])
		if err != nil {
			return nil, err
		}
		switch name {
		case "name": // set by the path
		case "provider":
			if w.provider, _ = value.(string); w.provider == "" {
				return nil, &providers.FieldError{Field: name, Problem: "is required"}
			}
		case "adopt_definition":
			w.adopt, _ = value.(string)
		case "verify_connection":
			if v, ok := value.(bool); ok {
				w.verify = new(v)
			}
		default:
			w.configFields[name] = value
		}
	}
	return w, nil
}

// Verify reports whether to mint a token before the write is stored. A verify_connection in the
// write takes precedence over the parameter changed, which says whether credentials, endpoints or
// share change.
func (w *Write) Verify(changed bool) bool {
	if w.verify != nil {
		return *w.verify
	}
	return changed
}

// Patched converts a patch of c to an equivalent update. It merges key=value pairs into the stored
// pairs, key by key (RFC 7396). Other values replace the stored values.
func (c *Config) Patched(data map[string]any) map[string]any {
	update := maps.Clone(data)
	for _, f := range c.provider.spec.Fields {
		raw := data[f.Name]
		if f.Kind != providers.Pairs || raw == nil || raw == "" {
			continue
		}
		if changed, ok := decodePairs(raw); ok { // Merge refuses other values
			pairs := storedPairs(c.Fields[f.Name].Reveal())
			maps.Copy(pairs, changed)
			update[f.Name] = pairs
		}
	}
	return update
}

// Merge applies w to a copy of old, and validates the result. If w changes where or how secrets are
// sent, w must repeat the secrets. For a new config, old is nil. If the user made a mistake,
// the error is a [*providers.FieldError].
func (r *Registry) Merge(ctx context.Context, old *Config, w *Write) (*Config, error) {
	p, err := r.choose(ctx, old, w)
	if err != nil {
		return nil, err
	}
	next := &Config{Fields: map[string]secret.String{}, Lease: true, Share: true}
	if old != nil {
		next = old.clone()
	}
	next.use(p)
	for _, f := range configFields() {
		if value, ok := w.configFields[f.name]; ok {
			if err := f.set(next, value); err != nil {
				return nil, &providers.FieldError{Field: f.name, Problem: err.Error()}
			}
		}
	}
	repeated := map[string]bool{} // by field that w sets: whether its new value is not empty
	if _, ok := w.configFields[clientKey]; ok {
		repeated[clientKey] = next.ClientKey != ""
	}
	for _, name := range slices.Sorted(maps.Keys(w.providerFields)) {
		text, err := p.decode(name, w.providerFields[name])
		if err != nil {
			return nil, err
		}
		if repeated[name] = text != ""; repeated[name] {
			next.Fields[name] = text
		} else {
			delete(next.Fields, name)
		}
	}
	if err := next.validate(); err != nil {
		return nil, err
	}
	if !next.generatesKey() {
		next.KeyOwner = ""
	}
	if old == nil && len(next.secretsSet()) > 0 || old != nil && !next.SameSecrets(old) {
		next.Written = r.opts.Clock().Wall.UTC().Truncate(time.Second)
	}
	if old != nil {
		return next, guard(old, next, repeated)
	}
	return next, nil
}

// use makes p the provider of c. It drops field values that do not fit the definition of p.
func (c *Config) use(p *provider) {
	before := c.provider
	c.provider, c.Provider, c.Definition = p, p.spec.Name, ""
	if p.own {
		c.Definition = p.digest
	}
	if before == nil || before == p {
		return
	}
	maps.DeleteFunc(c.Fields, func(name string, text secret.String) bool {
		f, g := before.field(name), p.field(name)
		return f == nil || g == nil || f.Kind != g.Kind || len(g.Allowed) > 0 && !slices.Contains(g.Allowed, text.Reveal())
	})
}

// validate checks c as a whole against its provider.
func (c *Config) validate() error {
	p := c.provider
	settings := c.settings()
	if err := c.validateFields(settings); err != nil {
		return err
	}
	if err := c.validateEnvironment(); err != nil {
		return err
	}
	if err := p.Validate(settings); err != nil {
		return err
	}
	selfSigned := "cannot be set for " + p.spec.Name + ", because the engine signs the tokens itself; remove the field"
	address := c.tokenURL()
	parsed, err := url.Parse(address)
	for _, rule := range []struct {
		broken         bool
		field, problem string
	}{
		{p.spec.SelfSigned && c.TokenURL != "", "token_url", selfSigned},
		{p.spec.SelfSigned && c.ClientCert != "", "client_cert", selfSigned},
		{!c.Share && p.spec.MinimumAge > 0, "share",
			fmt.Sprintf("must be true for %s, because the provider refuses a new token until the last token is %s old", p.spec.Name, p.spec.MinimumAge)},
		{address == "" && !p.spec.SelfSigned, "token_url", "is required by " + p.spec.Name},
		{c.ClientCert != "" && err == nil && parsed.Scheme == "http", "client_cert",
			"needs an https token_url, because a client presents its certificate in the TLS handshake"},
		{!p.spec.CanRevoke && c.RevocationURL != "", "revocation_url", p.spec.Name + " cannot revoke tokens; remove the field"},
		{c.spendsRefresh() && !c.Share, "share", "must be true for a refresh token, because each unshared token would spend it"},
		{c.spendsRefresh() && c.RevocationURL != "", "revocation_url",
			"cannot be set with a refresh token, because a provider that revokes an access token may also revoke the refresh token (RFC 7009 section 2.1); remove the field"},
		{!c.Share && !c.Lease, "lease", "must be true with share=false, because an unshared token ends with its lease"},
	} {
		if rule.broken {
			return &providers.FieldError{Field: rule.field, Problem: rule.problem}
		}
	}
	return nil
}

// validateFields checks that all required fields are set. It refuses a field that is set both
// directly and in a JSON file such as service_account.
func (c *Config) validateFields(settings providers.Settings) error {
	for _, f := range c.provider.spec.Fields {
		if _, ok := c.Fields[f.Name]; !ok {
			continue
		}
		for _, name := range slices.Sorted(maps.Keys(f.Sets)) {
			if _, twice := c.Fields[name]; twice {
				return &providers.FieldError{Field: name, Problem: "cannot be set beside " + f.Name + ", which contains it; remove one of the two"}
			}
		}
	}
	for _, f := range c.provider.spec.Fields {
		_, ok := c.Fields[f.Name]
		if _, set := settings.Values[f.Name]; !ok && (!set || f.Default != "") && f.Required {
			return c.requiredError(f.Name, settings)
		}
	}
	return nil
}

// requiredError reports a missing required field. If a JSON file such as service_account should
// contain the field, the error says what is wrong with the file.
func (c *Config) requiredError(name string, settings providers.Settings) error {
	problem := "is required by " + c.provider.spec.Name
	for _, f := range c.provider.spec.Fields {
		if _, sets := f.Sets[name]; sets {
			if _, ok := c.Fields[f.Name]; ok {
				if err := c.provider.Validate(settings); err != nil {
					return err
				}
			}
			problem += "; or set " + f.Name
		}
	}
	return &providers.FieldError{Field: name, Problem: problem}
}

// validateEnvironment checks that the provider has the environment.
func (c *Config) validateEnvironment() error {
	var names []string
	for _, e := range c.provider.spec.Endpoints {
		names = append(names, e.Environment)
	}
	switch {
	case c.Environment == "":
		return nil
	case len(names) < 2:
		return &providers.FieldError{Field: "environment", Problem: c.provider.spec.Name + " has a single environment; remove the field"}
	case !slices.Contains(names, c.Environment):
		return &providers.FieldError{Field: "environment", Problem: "must be one of " + strings.Join(names, ", ")}
	}
	return nil
}

// If a write changes where or how secrets are sent, guard requires that the write repeats all
// secrets. The write also cannot remove a secret. Otherwise a person who may edit configs could
// have the stored secrets sent to their own host.
//
// A field is secret if the old or the new definition says so. Otherwise a new definition could make
// an old secret public.
func guard(old, next *Config, repeated map[string]bool) error {
	field := redirected(old, next)
	if field == "" {
		return nil
	}
	if old.KeyOwner != "" {
		return &providers.FieldError{Field: field, Problem: "a config with a generated key cannot change where or how signatures are sent; " +
			"to change this field, delete the config and write it again, which makes a new key"}
	}
	kept := next.secretsSet()
	for name := range next.Fields {
		if old.provider.isSecret(name) && !next.provider.isSecret(name) {
			kept = append(kept, name)
		}
	}
	slices.Sort(kept)
	for _, name := range kept {
		if !repeated[name] {
			return &providers.FieldError{Field: field, Problem: fmt.Sprintf(
				"this change affects where or how %s is sent; write %s again in the same request", name, name)}
		}
	}
	for _, name := range old.secretsSet() {
		if !slices.Contains(kept, name) && (name == clientKey || next.provider.field(name) != nil) {
			return &providers.FieldError{Field: field, Problem: fmt.Sprintf(
				"a request that removes %s cannot change where or how secrets are sent; write %s again in this request, and remove it in a later request", name, name)}
		}
	}
	return nil
}

// redirected returns the name of a changed field that affects where or how secrets are sent; "" if
// no such field has changed.
func redirected(old, next *Config) string {
	if old.provider != next.provider {
		return "adopt_definition"
	}
	if old.ShownEnvironment() != next.ShownEnvironment() {
		return "environment"
	}
	for _, f := range configFields() {
		if f.requiresSecrets && f.name != "environment" && f.show(old) != f.show(next) {
			return f.name
		}
	}
	before, after := old.settings().Values, next.settings().Values
	for _, f := range old.provider.spec.Fields {
		if f.RequiresSecrets && before[f.Name] != after[f.Name] {
			return f.Name
		}
	}
	return ""
}
