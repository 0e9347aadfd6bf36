// SPDX-License-Identifier: MPL-2.0

// Package account checks and stores the configs that operators write, and mints tokens with them.
//
// A config write passes through these files, in this order:
//
//	input.go            decodes untyped input; pairs.go decodes key=value pairs
//	text.go             refuses characters that no text may have
//	write.go            decodes a write, merges it into the stored config, checks the result, guards the secrets
//	config_fields.go    the fields that every config has
//	provider_fields.go  the fields that a provider adds
//	config.go           Config, the result
//	age.go              when credentials were written, and when they end
//	stored_config.go    stores the config
//
// Other files:
//
//	account.go          Account: a config that can mint
//	registry.go         knows the providers, and makes the Account of a Config
//	definitions.go      stores the providers that operators define
//	stored_token.go     stores tokens, for the token cache
//	records.go          what all stored records have in common
//	refresh.go          refresh tokens that are credentials; refresh_exchange.go uses them, refresh_record.go stores them
//	keyrings.go         keys that the engine makes; keyring.go chooses one, keyrecord.go stores them
//	publickey.go        keys as users see them
package account

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"maps"
	"time"

	"vault-plugin-secrets-messaging/internal/secret"
	"vault-plugin-secrets-messaging/internal/token"
	"vault-plugin-secrets-messaging/internal/tokencache"
	"vault-plugin-secrets-messaging/providers"
)

// Account is one revision of a config, with its provider. It implements [tokencache.Account]. It
// never changes, and is safe for concurrent use.
type Account struct {
	Name   string
	Config *Config

	provider *provider
	client   *providers.Client
	settings providers.Settings
	refresh  *RefreshTokens
	keyrings *Keyrings
	ring     *keyring // the keys that the engine made; nil if it made none
}

// Provider returns the name of the account's provider.
func (a *Account) Provider() string { return a.Config.Provider }

// RevocationURL returns the URL at which the account's tokens are revoked; "" if tokens are left to
// expire.
func (a *Account) RevocationURL() string { return a.settings.RevocationURL }

// RevocationEndpoint identifies where and how the account's tokens are revoked. It is a hash of the
// provider, its definition, the environment, the revocation URL, the trusted CA and the client ID.
// Only the client that got a token may revoke the token (RFC 7009 §2.1). Secrets are left out,
// because tokens stay valid after a secret changes.
func (a *Account) RevocationEndpoint() string {
	h := sha256.New()
	for _, part := range []string{
		a.Config.Provider, a.Config.ShownEnvironment(), a.settings.RevocationURL, a.Config.CACert, a.settings.Value("client_id"),
	} {
		fmt.Fprintf(h, "%d:%s,", len(part), part)
	}
	fmt.Fprint(h, a.Config.Definition)
	return hex.EncodeToString(h.Sum(nil))
}

// Revision implements [tokencache.Account].
func (a *Account) Revision() string { return a.Config.Revision }

// Share implements [tokencache.Account].
func (a *Account) Share() bool { return a.Config.Share }

// Policy implements [tokencache.Account].
func (a *Account) Policy() tokencache.Policy {
	window, spec := a.Config.RefreshWindow.pointer(), a.provider.spec
	if window == nil && spec.Exclusive {
		window = new(time.Duration) // an early refresh would end the token that readers have
	}
	return tokencache.Policy{
		RefreshWindow: window,
		MinTTL:        a.Config.MinTTL.pointer(),
		MaxTTL:        a.Config.MaxTTL.duration(),

		Sliding:         spec.Sliding,
		MinimumAge:      spec.MinimumAge,
		CanForce:        spec.CanForce,
		ForceInterval:   spec.ForceInterval,
		ForceDailyLimit: spec.ForceDailyLimit,
	}
}

// Host implements [tokencache.Account].
func (a *Account) Host() string { return a.settings.Host() }

// SerialKey identifies the user whose logins must run one after another. It is "" if logins may
// run at the same time.
func (a *Account) SerialKey() string { return providers.SerialKey(a.provider.spec, a.settings) }

// RateKey identifies the client to which a Retry-After of the token endpoint applies. The
// Retry-After outlasts a config write that keeps the RateKey. See [providers.RateKey].
func (a *Account) RateKey() string { return providers.RateKey(a.provider.spec, a.settings) }

// Mint implements [tokencache.Account]. It uses the given refresh token, or logs in if refresh is
// "".
func (a *Account) Mint(ctx context.Context, refresh secret.String, force bool) (token.Token, error) {
	defer a.provider.observe()()
	settings := a.settings
	settings.Force = force
	ask := func(ctx context.Context) (token.Token, error) {
		return a.withKey(ctx, func(key *providers.Key) (token.Token, error) {
			settings.Key = key
			return providers.Renew(ctx, a.provider.Provider, a.client, settings, refresh)
		})
	}
	var t token.Token
	var err error
	if a.Config.spendsRefresh() {
		t, err = a.refresh.exchange(ctx, a, func(ctx context.Context, current secret.String) (token.Token, error) {
			settings.Values = maps.Clone(settings.Values)
			settings.Values[providers.RefreshField] = current
			return ask(ctx)
		})
	} else {
		t, err = ask(ctx)
	}
	if err != nil {
		return token.Token{}, fmt.Errorf("config %q: %w", a.Name, err)
	}
	return t, nil
}

// SpendsRefresh reports whether the account's credential is a refresh token, which a mint may use
// up.
func (a *Account) SpendsRefresh() bool { return a.Config.spendsRefresh() }

// withKey calls mint with the account's generated key, or with nil if the account has none. If the
// provider refuses the key, withKey may call mint again with another key.
func (a *Account) withKey(ctx context.Context, mint func(*providers.Key) (token.Token, error)) (token.Token, error) {
	if a.ring == nil {
		return mint(nil)
	}
	keys, err := a.ring.owned(ctx, a.Config.KeyOwner)
	switch {
	case err != nil && a.Config.newKeys != nil: // the config is not stored yet
		return mint(a.Config.newKeys.current.Key)
	case err != nil:
		return token.Token{}, err
	case a.provider.spec.SelfSigned: // no provider's answer says whether the key is accepted
		return mint(a.ring.inUse(keys).current.Key)
	}
	return a.ring.mint(a.keyrings.clock(), keys, mint)
}

// CanRevoke reports whether the account's provider can revoke tokens.
func (a *Account) CanRevoke() bool { return a.provider.spec.CanRevoke }

// Revoke revokes an access token and a refresh token at the provider; the refresh token may be "".
// Call Revoke only if CanRevoke is true. If the request fails, the error is a [*token.Error].
func (a *Account) Revoke(ctx context.Context, access, refresh secret.String) error {
	settings := a.settings
	if a.ring != nil {
		keys, err := a.ring.owned(ctx, a.Config.KeyOwner)
		if err != nil {
			return err
		}
		settings.Key = a.ring.inUse(keys).current.Key
	}
	return a.provider.Provider.Revoke(ctx, a.client, settings, access, refresh)
}
