// SPDX-License-Identifier: MPL-2.0

package account

import (
	"maps"
	"slices"
	"time"

	"vault-plugin-secrets-messaging/internal/secret"
	"vault-plugin-secrets-messaging/providers"
)

// Config holds an operator's settings for one account with a provider. A Config in use never
// changes. The JSON names are for configRecord, the stored form.
type Config struct {
	// Revision identifies the credentials and endpoints. Each write that changes them sets a
	// new, unique revision.
	Revision string `json:"revision"`

	Provider      string `json:"provider"`
	Definition    string `json:"definition,omitempty"`     // digest of an operator's definition; "" for a built-in provider
	Environment   string `json:"environment,omitempty"`    // "" means the provider's default
	TokenURL      string `json:"token_url,omitempty"`      // "" means the URL of the environment
	RevocationURL string `json:"revocation_url,omitempty"` // "" leaves tokens to expire
	CACert        string `json:"ca_cert,omitempty"`        // PEM; "" means the certificates of the system

	// ClientCert and ClientKey are the PEM of the engine's client certificate and its private
	// key (RFC 8705). Both are "" without a client certificate.
	ClientCert string        `json:"client_cert,omitempty"`
	ClientKey  secret.String `json:"-"`

	// Fields holds the values of the provider's fields by name. Credentials are among them.
	Fields map[string]secret.String `json:"-"`

	// Durations; nil means the default.
	RequestTimeout *seconds `json:"request_timeout,omitempty"`
	RefreshWindow  *seconds `json:"refresh_window,omitempty"`
	MinTTL         *seconds `json:"min_ttl,omitempty"`
	MaxTTL         *seconds `json:"max_ttl,omitempty"`
	DefaultTTL     *seconds `json:"default_ttl,omitempty"`
	LeaseTTL       *seconds `json:"lease_ttl,omitempty"`

	Expire  string    `json:"credentials_expire,omitempty"` // when the credentials end, as it was written; "" if unknown
	Written time.Time `json:"credentials_written,omitzero"` // when a secret last changed; zero if unknown, or if there is no secret

	Lease bool `json:"-"` // reads of creds make a lease
	Share bool `json:"-"` // all readers of creds share one token

	// KeyOwner links the config to its generated keys; "" if it has none. A later config of the
	// same name has another KeyOwner and cannot use these keys.
	KeyOwner string `json:"key_owner,omitempty"`

	newKeys  *keySet   // the first keys, until they are stored
	provider *provider // nil only in a config that was just decoded
}

// seconds is a duration in whole seconds, as it is stored and shown.
type seconds int64

// duration returns s as a duration; 0 for nil.
func (s *seconds) duration() time.Duration {
	if s == nil {
		return 0
	}
	return time.Duration(*s) * time.Second
}

// pointer returns s as a pointer to a duration; nil for nil.
func (s *seconds) pointer() *time.Duration {
	if s == nil {
		return nil
	}
	return new(s.duration())
}

// clone returns a copy of c that can be changed.
func (c *Config) clone() *Config {
	d := *c
	d.Fields = maps.Clone(c.Fields)
	return &d
}

// tokenURL returns where c mints.
func (c *Config) tokenURL() string {
	if c.TokenURL != "" {
		return c.TokenURL
	}
	for _, e := range c.provider.spec.Endpoints {
		if c.Environment == "" || e.Environment == c.Environment {
			return e.URL(c.provider.spec.WithDefaults(c.Fields))
		}
	}
	return ""
}

// ShownEnvironment returns the name of c's environment; "" if the provider has only one
// environment.
func (c *Config) ShownEnvironment() string {
	if endpoints := c.provider.spec.Endpoints; c.Environment == "" && len(endpoints) > 1 {
		return endpoints[0].Environment
	}
	return c.Environment
}

// settings returns the part of c that its provider needs.
func (c *Config) settings() providers.Settings {
	return providers.Settings{
		TokenURL:      c.tokenURL(),
		RevocationURL: c.RevocationURL,
		DefaultTTL:    c.DefaultTTL.duration(),
		MaxTTL:        c.MaxTTL.duration(),
		Timeout:       c.RequestTimeout.duration(),
		Values:        c.provider.spec.WithDefaults(c.Fields), // may be c.Fields itself: do not change it
	}
}

// secretsSet returns the names of the secret fields that are set, sorted.
func (c *Config) secretsSet() []string {
	set := []string{}
	for name := range c.Fields {
		if c.provider.isSecret(name) {
			set = append(set, name)
		}
	}
	if c.ClientKey != "" {
		set = append(set, clientKey)
	}
	slices.Sort(set)
	return set
}

// MaxLease returns lease_ttl. 0 means that leases last as long as their token.
func (c *Config) MaxLease() time.Duration { return c.LeaseTTL.duration() }

// ClientCertValidity returns when the client certificate becomes valid, and when it expires. Both
// times are zero if the config has no client certificate.
func (c *Config) ClientCertValidity() (from, until time.Time) {
	return providers.CertificateValidity(c.ClientCert)
}

// SameTokens reports whether c and d can use each other's tokens. Credentials, share and all
// endpoints must be equal. That includes revocation_url, because the engine sends tokens there.
func (c *Config) SameTokens(d *Config) bool {
	return c.Provider == d.Provider && c.Definition == d.Definition && c.Environment == d.Environment && c.TokenURL == d.TokenURL &&
		c.RevocationURL == d.RevocationURL && c.CACert == d.CACert &&
		c.ClientCert == d.ClientCert && c.ClientKey == d.ClientKey && c.Share == d.Share && maps.Equal(c.Fields, d.Fields)
}

// Show returns what a read of the config shows: all fields except secrets.
func (c *Config) Show() map[string]any {
	data := map[string]any{"provider": c.Provider, "secrets_set": c.secretsSet()}
	for _, f := range configFields() {
		if v := f.show(c); v != nil {
			data[f.name] = v
		}
	}
	c.ShowAge(data)
	if e := c.ShownEnvironment(); e != "" {
		data["environment"] = e
	}
	if address := c.tokenURL(); address != "" {
		data["token_url"] = address
	}
	values := c.settings().Values
	for _, f := range c.provider.spec.Fields {
		if text, ok := values[f.Name]; ok && !f.Secret {
			data[f.Name] = fieldValue(f, text.Reveal())
		}
	}
	return data
}
