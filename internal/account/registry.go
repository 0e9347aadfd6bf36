// SPDX-License-Identifier: MPL-2.0

package account

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"sync"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/vault/sdk/logical"

	"vault-plugin-secrets-messaging/internal/clock"
	"vault-plugin-secrets-messaging/providers"
)

// Registry stores configs and tokens, and makes accounts from configs. It knows the built-in
// providers and the providers that operators define. It implements [tokencache.Store], and is safe
// for concurrent use.
type Registry struct {
	opts     RegistryOptions
	storage  logical.Storage // of the mount
	builtin  map[string]*provider
	refresh  *RefreshTokens
	keyrings *Keyrings // the keys that the engine made

	// Hold this lock while you change stored definitions, or a config's definition. Otherwise a
	// definition could be removed while a config starts to use it.
	writing sync.Mutex

	own sync.Map // ownKey → *provider: the operators' definitions in use, which configs share
}

type ownKey struct{ name, digest string }

// provider is a provider and what its accounts share.
type provider struct {
	providers.Provider
	spec    providers.Spec
	observe func() (end func())

	text, digest string // of the definition; "" if the provider is Go code
	own          bool   // an operator wrote the definition
}

// RegistryOptions configure a Registry.
type RegistryOptions struct {
	Builtin []providers.Provider
	Clients *providers.Clients // through which accounts reach their endpoints
	Log     func() hclog.Logger
	Storage logical.Storage // of the mount
	Clock   clock.Clock     // nil means the machine's clock

	// Observe returns a function for the mints of the named provider. A mint calls this function
	// first, and calls the returned function end last.
	Observe func(provider string) func() (end func())
}

// NewRegistry returns a registry.
func NewRegistry(opts RegistryOptions) *Registry {
	if opts.Clock == nil {
		opts.Clock = clock.System()
	}
	r := &Registry{
		opts:     opts,
		storage:  opts.Storage,
		builtin:  map[string]*provider{},
		refresh:  newRefreshTokens(opts.Storage, opts.Clock, opts.Log),
		keyrings: &Keyrings{storage: opts.Storage, clock: opts.Clock, log: opts.Log},
	}
	for _, p := range opts.Builtin {
		made := r.provider(p)
		r.builtin[made.spec.Name] = made
	}
	return r
}

// provider returns p with what its accounts share.
func (r *Registry) provider(p providers.Provider) *provider {
	made := &provider{Provider: p, spec: p.Spec()}
	made.observe = r.opts.Observe(made.spec.Name)
	if d, ok := p.(*providers.Definition); ok {
		made.text, made.digest = string(d.Text()), d.Digest()
	}
	return made
}

// BuiltinNames returns the names of the built-in providers, sorted.
func (r *Registry) BuiltinNames() []string { return slices.Sorted(maps.Keys(r.builtin)) }

// named returns the provider that a new config gets by this name, or nil. An operator's definition
// takes precedence over a built-in provider of the same name.
func (r *Registry) named(ctx context.Context, name string) (*provider, error) {
	digest, err := readName(ctx, r.storage, name)
	if err != nil {
		return nil, err
	}
	if digest == "" {
		return r.builtin[name], nil
	}
	return r.definition(ctx, name, digest)
}

// choose returns the provider for the config that w writes. old is the stored config; nil for a new
// config. Without adopt_definition in w, an existing config keeps its definition. If the user made
// a mistake, the error is a [*providers.FieldError].
func (r *Registry) choose(ctx context.Context, old *Config, w *Write) (*provider, error) {
	name := w.provider
	switch {
	case old == nil && name == "":
		return nil, &providers.FieldError{Field: "provider", Problem: "is required; list providers/ for the names"}
	case old != nil && name != "" && name != old.Provider:
		return nil, &providers.FieldError{Field: "provider", Problem: fmt.Sprintf(
			"cannot be changed from %q; delete the config and write it again", old.Provider)}
	case old != nil && (w.adopt == "" || w.adopt == old.provider.digest):
		return old.provider, nil
	case old != nil:
		name = old.Provider
	}
	current, err := r.named(ctx, name)
	if err != nil {
		return nil, err
	}
	problem := "providers/" + name + " has no definition to adopt"
	switch b := r.builtin[name]; {
	case current == nil && w.adopt == "":
		return nil, &providers.FieldError{Field: "provider", Problem: "there is no provider of this name; list providers/ for the names"}
	case current != nil && (w.adopt == "" || w.adopt == current.digest):
		return current, nil
	case b != nil && w.adopt == b.digest:
		return b, nil
	case current != nil && current.digest != "":
		problem = "must be the digest of the definition that providers/" + name + " shows, " + current.digest
	}
	return nil, &providers.FieldError{Field: "adopt_definition", Problem: problem}
}

// Keyrings returns the keys that the engine made.
func (r *Registry) Keyrings() *Keyrings { return r.keyrings }

// RefreshTokens returns the refresh tokens that are the credentials of accounts.
func (r *Registry) RefreshTokens() *RefreshTokens { return r.refresh }

// Account returns the account of a config. The error is a [*providers.FieldError] for ca_cert,
// client_cert or client_key.
func (r *Registry) Account(name string, c *Config) (*Account, error) {
	client, err := r.opts.Clients.For(providers.TLS{CACert: c.CACert, ClientCert: c.ClientCert, ClientKey: c.ClientKey})
	if err != nil {
		return nil, err
	}
	a := &Account{Name: name, Config: c, provider: c.provider, client: client, settings: c.settings(), refresh: r.refresh, keyrings: r.keyrings}
	if c.KeyOwner != "" {
		a.ring = r.keyrings.ring(name)
	}
	return a, nil
}

// Current reports whether a new config of the same provider would get the definition of c.
func (r *Registry) Current(ctx context.Context, c *Config) (bool, error) {
	digest, err := readName(ctx, r.storage, c.Provider)
	return digest == c.Definition, err
}

// Provider is a provider as users see it.
type Provider struct {
	providers.Spec
	Definition, Digest string // "" if the provider is Go code
	Own                bool   // an operator wrote the definition
	HidesBuiltin       bool   // a built-in provider has the same name as this operator's provider
}

// Provider returns the named provider; nil if there is none.
func (r *Registry) Provider(ctx context.Context, name string) (*Provider, error) {
	p, err := r.named(ctx, name)
	if err != nil || p == nil {
		return nil, err
	}
	return &Provider{p.spec, p.text, p.digest, p.own, p.own && r.builtin[name] != nil}, nil
}

// HasProvider reports whether there is a provider with the given name.
func (r *Registry) HasProvider(ctx context.Context, name string) (bool, error) {
	digest, err := readName(ctx, r.storage, name)
	if isUnusable(err) {
		return true, nil
	}
	return digest != "" || r.builtin[name] != nil, err
}

// ListProviders returns the names of all providers, sorted.
func (r *Registry) ListProviders(ctx context.Context) ([]string, error) {
	own, err := list(ctx, r.storage, namePrefix)
	if err != nil {
		return nil, err
	}
	all := append(own, r.BuiltinNames()...)
	slices.Sort(all)
	return slices.Compact(all), nil
}
