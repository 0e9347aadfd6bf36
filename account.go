// SPDX-License-Identifier: MPL-2.0

package messaging

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"

	"vault-plugin-secrets-messaging/internal/secret"
	"vault-plugin-secrets-messaging/internal/tokencache"
	"vault-plugin-secrets-messaging/providers"
)

// account is a config joined to its provider: the [tokencache.Account] of one
// revision. It does not change once made, but for what it remembers.
type account struct {
	name     string
	config   *config
	provider *provider
	client   *providers.Client
	settings providers.Settings

	answered atomic.Pointer[answerParts] // of the token that was read last
}

// account joins the named config to its provider, which is there.
func (b *backend) account(name string, c *config) (*account, error) {
	p := b.providers[c.Provider]
	client, err := b.clients.For(c.CACert)
	if err != nil {
		return nil, err
	}
	return &account{name: name, config: c, provider: p, client: client, settings: c.settings(p.spec)}, nil
}

// provider is a provider with its spec, which many accounts share.
type provider struct {
	providers.Provider
	spec  providers.Spec
	mints mintMetrics
}

// provider returns the provider of that name.
func (b *backend) provider(name string) (*provider, error) {
	if p, ok := b.providers[name]; ok {
		return p, nil
	}
	return nil, &providers.FieldError{Field: "provider", Problem: "want one of " + strings.Join(b.providerNames(), ", ")}
}

// providerNames returns the names of the providers there are, sorted.
func (b *backend) providerNames() []string {
	names := make([]string, 0, len(b.providers))
	for name := range b.providers {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

// Revision implements [tokencache.Account].
func (a *account) Revision() string { return a.config.Revision }

// Policy implements [tokencache.Account].
func (a *account) Policy() tokencache.Policy {
	return tokencache.Policy{
		RefreshWindow: a.config.RefreshWindow.pointer(),
		MinTTL:        a.config.MinTTL.pointer(),
		MaxTTL:        a.config.MaxTTL.duration(),
		Unshared:      a.config.Unshared,
	}
}

// Host implements [tokencache.Account].
func (a *account) Host() string { return host(a.settings.TokenURL) }

// Mint implements [tokencache.Account].
func (a *account) Mint(ctx context.Context, refresh secret.String) (tokencache.Minted, error) {
	defer a.provider.mints.begin()()
	t, err := providers.Renew(ctx, a.provider.Provider, a.client, a.settings, refresh)
	if err != nil {
		err = fmt.Errorf("config %q: %w", a.name, err)
		if e := (*providers.Error)(nil); errors.As(err, &e) {
			err = &tokencache.MintError{Kind: cacheKind(e.Kind), RetryAfter: e.RetryAfter, Err: err}
		}
		return tokencache.Minted{}, err
	}
	return tokencache.Minted{
		Took: t.Took,
		Token: tokencache.Token{
			Access:          t.Access,
			Type:            t.Type,
			Lifetime:        t.Lifetime,
			Refresh:         t.Refresh,
			RefreshLifetime: t.RefreshLifetime,
		},
	}, nil
}

// cacheKind returns what a provider's error means for the next attempt.
func cacheKind(k providers.Kind) tokencache.Kind {
	switch k {
	case providers.Refused:
		return tokencache.Refused
	case providers.RateLimited:
		return tokencache.RateLimited
	case providers.Malformed:
		return tokencache.Malformed
	}
	return tokencache.Unavailable
}
