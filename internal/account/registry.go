// SPDX-License-Identifier: MPL-2.0

package account

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"vault-plugin-secrets-messaging/providers"
)

// Registry holds the providers and joins configs to them. It does not change once made,
// and is safe for concurrent use.
type Registry struct {
	providers map[string]*provider
	names     []string // sorted
	clients   *providers.Clients
}

// provider is a provider with its spec, which many accounts share.
type provider struct {
	providers.Provider
	spec    providers.Spec
	observe func() (end func())
}

func (p *provider) canRevoke() bool {
	_, ok := p.Provider.(providers.Revoker)
	return ok
}

// NewRegistry returns a registry of ps, whose accounts reach their endpoints through
// clients. For each provider it calls observe once; the accounts of the provider call the
// result before each mint, and what that returns after the mint.
func NewRegistry(ps []providers.Provider, clients *providers.Clients, observe func(provider string) func() (end func())) *Registry {
	r := &Registry{providers: make(map[string]*provider, len(ps)), clients: clients}
	for _, p := range ps {
		spec := p.Spec()
		r.providers[spec.Name] = &provider{p, spec, observe(spec.Name)}
	}
	r.names = slices.Sorted(maps.Keys(r.providers))
	return r
}

// Names returns the names of the providers, sorted. The caller must not change the result.
func (r *Registry) Names() []string { return r.names }

// Spec returns the spec of the named provider, and whether there is such a provider.
func (r *Registry) Spec(name string) (providers.Spec, bool) {
	p, ok := r.providers[name]
	if !ok {
		return providers.Spec{}, false
	}
	return p.spec, true
}

// lookup returns the named provider. The error is a [*providers.FieldError].
func (r *Registry) lookup(name string) (*provider, error) {
	if p, ok := r.providers[name]; ok {
		return p, nil
	}
	return nil, &providers.FieldError{Field: "provider", Problem: "must be one of " + strings.Join(r.names, ", ")}
}

// Account joins a config to its provider, which must exist. The error is a
// [*providers.FieldError] of ca_cert.
func (r *Registry) Account(name string, c *Config) (*Account, error) {
	p := r.providers[c.Provider]
	if p == nil {
		return nil, fmt.Errorf("this plugin has no provider %q", c.Provider)
	}
	client, err := r.clients.For(c.CACert)
	if err != nil {
		return nil, err
	}
	return &Account{Name: name, Config: c, provider: p, client: client, settings: c.settings(p.spec)}, nil
}
