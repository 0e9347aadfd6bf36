// SPDX-License-Identifier: MPL-2.0

package messaging

import (
	"context"
	"fmt"
	"maps"
	"net/url"
	"slices"
	"time"

	"github.com/hashicorp/vault/sdk/logical"

	"vault-plugin-secrets-messaging/internal/secret"
	"vault-plugin-secrets-messaging/providers"
)

// configPrefix is where configs lie in storage, by name.
const configPrefix = "config/"

// configVersion is the version of the stored form of a config. It goes up when an
// older plugin would misread what a newer one stored.
const configVersion = 1

// config is one account with a provider, as an operator wrote it. It is not
// changed once it is in use.
type config struct {
	// Revision names the credentials and the endpoint: it is new with each write
	// that changes one of them, and never the same again.
	Revision string `json:"revision"`

	Provider    string `json:"provider"`
	Environment string `json:"environment,omitempty"` // "" is the provider's default
	TokenURL    string `json:"token_url,omitempty"`   // "" is the environment's
	CACert      string `json:"ca_cert,omitempty"`     // "" is the system's roots

	RevocationURL string `json:"revocation_url,omitempty"` // "" leaves tokens to expire

	// Fields holds the provider's own fields, credentials among them, by name:
	// those that were written.
	Fields map[string]secret.String `json:"-"`

	// Lifetimes, nil where the default holds.
	RequestTimeout *seconds `json:"request_timeout,omitempty"`
	RefreshWindow  *seconds `json:"refresh_window,omitempty"`
	MinTTL         *seconds `json:"min_ttl,omitempty"`
	MaxTTL         *seconds `json:"max_ttl,omitempty"`
	DefaultTTL     *seconds `json:"default_ttl,omitempty"`

	// Leaseless says that reads of the creds make no lease.
	Leaseless bool `json:"leaseless,omitempty"`

	// Unshared says that each read of the creds mints a token of its own.
	Unshared bool `json:"unshared,omitempty"`
}

// seconds is a duration in whole seconds, which is how it is stored and shown.
type seconds int64

// duration returns s as a duration; 0 for nil.
func (s *seconds) duration() time.Duration {
	if s == nil {
		return 0
	}
	return time.Duration(*s) * time.Second
}

// pointer returns s as a pointer to a duration, nil for nil.
func (s *seconds) pointer() *time.Duration {
	if s == nil {
		return nil
	}
	d := s.duration()
	return &d
}

// configRecord is a config as it is stored.
type configRecord struct {
	Version int `json:"version"`
	config
	Fields map[string]string `json:"fields"`
}

// clone returns a copy of c that shares nothing that can be changed.
func (c *config) clone() *config {
	d := *c
	d.Fields = maps.Clone(c.Fields)
	return &d
}

// tokenURL returns where c mints, given its provider.
func (c *config) tokenURL(spec providers.Spec) string {
	if c.TokenURL != "" {
		return c.TokenURL
	}
	for _, e := range spec.Endpoints {
		if c.Environment == "" || e.Environment == c.Environment {
			return e.TokenURL
		}
	}
	return ""
}

// environment returns the environment of c by name; "" for a provider that has
// none to choose from.
func (c *config) environment(spec providers.Spec) string {
	if c.Environment == "" && len(spec.Endpoints) > 1 {
		return spec.Endpoints[0].Environment
	}
	return c.Environment
}

// settings returns the part of c that its provider sees.
func (c *config) settings(spec providers.Spec) providers.Settings {
	values := c.Fields
	for _, f := range spec.Fields {
		if _, ok := c.Fields[f.Name]; !ok && f.Default != "" {
			if len(values) == len(c.Fields) { // a config is not changed, and its fields are shared where they can be
				values = maps.Clone(c.Fields)
			}
			values[f.Name] = secret.String(f.Default)
		}
	}
	return providers.Settings{
		TokenURL: c.tokenURL(spec),

		RevocationURL: c.RevocationURL,

		DefaultTTL: c.DefaultTTL.duration(),
		Timeout:    c.RequestTimeout.duration(),
		Values:     values,
	}
}

// secretsSet returns the names of the secret fields that are set, sorted.
func (c *config) secretsSet(spec providers.Spec) []string {
	set := []string{}
	for _, f := range spec.Fields {
		if _, ok := c.Fields[f.Name]; ok && f.Secret {
			set = append(set, f.Name)
		}
	}
	slices.Sort(set)
	return set
}

// identityEqual reports whether c and d have the same credentials and endpoints,
// and share their tokens alike, so that a token of the one is a token of the other.
// The revocation endpoint counts: it is sent tokens, and whoever names another is
// not to be sent those that others hold, also of an account without secrets.
func (c *config) identityEqual(d *config) bool {
	return c.Provider == d.Provider && c.Environment == d.Environment && c.TokenURL == d.TokenURL &&
		c.RevocationURL == d.RevocationURL &&
		c.CACert == d.CACert && c.Unshared == d.Unshared && maps.Equal(c.Fields, d.Fields)
}

// host returns the host and port that rawURL names, "" if it is none.
func host(rawURL string) string {
	u, err := url.Parse(rawURL)
	if err != nil {
		return ""
	}
	return u.Host
}

// readConfig returns the named config, or nil if there is none. Its provider is
// one of those there are. Its error is a [*recordError] if there is one that
// cannot be used.
func (b *backend) readConfig(ctx context.Context, s logical.Storage, name string) (*config, error) {
	entry, err := s.Get(ctx, configPrefix+name)
	if err != nil {
		return nil, fmt.Errorf("reading %s%s from storage: %w", configPrefix, name, err)
	}
	if entry == nil {
		return nil, nil
	}
	c, err := decodeConfig(entry.Value)
	if err == nil && b.providers[c.Provider] == nil {
		err = fmt.Errorf("this plugin has no provider %q", c.Provider)
	}
	if err != nil {
		return nil, &recordError{key: configPrefix + name, err: err}
	}
	return c, nil
}

// decodeConfig reads the stored form of a config. Its errors quote none of it.
func decodeConfig(stored []byte) (*config, error) {
	var r configRecord
	if err := decodeRecord(stored, configVersion, &r); err != nil {
		return nil, err
	}
	if r.Revision == "" || r.Provider == "" {
		return nil, errDamaged
	}
	c := r.config
	c.Fields = make(map[string]secret.String, len(r.Fields))
	for name, text := range r.Fields {
		c.Fields[name] = secret.String(text)
	}
	return &c, nil
}

// writeConfig stores the named config.
func writeConfig(ctx context.Context, s logical.Storage, name string, c *config) error {
	r := configRecord{Version: configVersion, config: *c, Fields: make(map[string]string, len(c.Fields))}
	for field, text := range c.Fields {
		r.Fields[field] = text.Reveal()
	}
	entry, err := logical.StorageEntryJSON(configPrefix+name, r)
	if err != nil {
		return fmt.Errorf("encoding %s%s: %w", configPrefix, name, err)
	}
	if err := s.Put(ctx, entry); err != nil {
		return fmt.Errorf("storing %s%s: %w", configPrefix, name, err)
	}
	return nil
}
