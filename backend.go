// SPDX-License-Identifier: MPL-2.0

// Package messaging is a Vault secrets engine that keeps the long-lived credentials of
// messaging providers inside Vault and hands apps short-lived bearer tokens.
//
// Start at [Factory]. Each path is a file, path_*.go, with its schema, handlers and help;
// secret_token.go has the leases, errors.go turns errors into responses, and systemview.go
// remembers what Vault says of the node. The work is done in these packages:
//
//	internal/account     what an operator wrote, and how it is checked and stored
//	internal/tokencache  when a token is minted, served and refreshed
//	internal/revocation  how tokens are ended before they expire
//	internal/telemetry   log lines, metrics and events
//	providers            what the engine and a provider say to each other
package messaging

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/hashicorp/vault/sdk/framework"
	"github.com/hashicorp/vault/sdk/helper/consts"
	"github.com/hashicorp/vault/sdk/logical"

	"vault-plugin-secrets-messaging/internal/account"
	"vault-plugin-secrets-messaging/internal/clock"
	"vault-plugin-secrets-messaging/internal/revocation"
	"vault-plugin-secrets-messaging/internal/telemetry"
	"vault-plugin-secrets-messaging/internal/token"
	"vault-plugin-secrets-messaging/internal/tokencache"
	"vault-plugin-secrets-messaging/providers"
)

const backendHelp = `
The messaging secrets engine keeps the long-lived credentials of messaging
providers (Sinch, EnableX, any OAuth 2 token endpoint) and hands out short-lived
bearer tokens.

Write one account with a provider to config/<name>, and read its token at
creds/<name>. The engine caches the token and shares it: all readers of a name
get the same token, as a lease that ends when the token does.
`

// Options configure a backend, besides what Vault gives it.
type Options struct {
	// Version is the plugin's version, such as v1.2.3. The plugin reports it to Vault and sends
	// it in its User-Agent. "" means v0.0.0-dev.
	Version string

	// Clock tells the time; nil means the machine's clock.
	Clock clock.Clock

	// Providers are the built-in providers; nil means [providers.All].
	Providers []providers.Provider
}

// Factory returns the factory of backends that Vault's plugin machinery needs. Each call of
// the factory makes the backend of one mount. Mounts share only the process.
func Factory(opts Options) logical.Factory {
	return func(ctx context.Context, conf *logical.BackendConfig) (logical.Backend, error) {
		b := newBackend(opts, conf)
		// Vault also sets up backends without storage and system view, to learn the plugin's
		// version and paths. So setup must not use them.
		caching := *conf
		caching.System = newCachingSystemView(conf.System, b.clock)
		if err := b.Setup(ctx, &caching); err != nil {
			return nil, fmt.Errorf("setting up the messaging secrets engine: %w", err)
		}
		return b, nil
	}
}

// backend is one mount of the engine.
type backend struct {
	*framework.Backend

	clock     clock.Clock
	log       *telemetry.Log
	responder *responder
	cache     *tokencache.Cache
	revoker   *revocation.Revoker
	clients   *providers.Clients
	registry  *account.Registry
}

func newBackend(opts Options, conf *logical.BackendConfig) *backend {
	if opts.Version == "" {
		opts.Version = "v0.0.0-dev"
	}
	if opts.Clock == nil {
		opts.Clock = clock.System()
	}
	if opts.Providers == nil {
		opts.Providers = providers.All()
	}
	fb := &framework.Backend{
		Help:           backendHelp,
		BackendType:    logical.TypeLogical,
		RunningVersion: opts.Version,
	}
	log := telemetry.NewLog(conf.Logger)
	metrics := telemetry.NewMetrics(opts.Version)
	events := &telemetry.Events{Sender: fb, Log: log.Logger}
	clients := providers.NewClients(providers.ClientOptions{
		Version: opts.Version, Clock: opts.Clock, MaxConnsPerHost: tokencache.MaxMintsPerHost})
	registry := account.NewRegistry(account.RegistryOptions{
		Builtin: opts.Providers, Clients: clients, Observe: metrics.Observe, Log: log.Logger, Storage: conf.StorageView, Clock: opts.Clock})
	store := &account.Store{Storage: conf.StorageView, Registry: registry, Log: log.Logger}
	revoker := revocation.NewRevoker(revocation.Options{
		Store: store, Clock: opts.Clock, Log: log.Logger,
		Tainted: func() bool { return fb.System().Tainted() },
	})
	cache := tokencache.New(tokencache.Options{Store: store, Clock: opts.Clock, OnMint: func(r tokencache.MintResult) {
		events.OnMint(r)
		r.Account.(*account.Account).SettleKeys()
	},
		MayMint: func(a tokencache.Account, urgent bool) error {
			return mayExchange(fb.System(), a.(*account.Account), urgent)
		},
		OnUnused: func(a tokencache.Account, t token.Token) { revoker.Queue(revocation.New(a.(*account.Account), t)) }})
	metrics.Collect(cache, registry.BuiltinNames())
	responder := &responder{clock: opts.Clock, log: log.Logger}

	config := newConfigPath(responder, registry, store, cache, revoker, events)
	creds := &credsPath{responder: responder, cache: cache, revoker: revoker}
	rotate := &rotatePath{responder: responder, cache: cache, revoker: revoker}
	keys := &keysPath{responder: responder, registry: registry}
	jwks := &jwksPath{responder: responder, keyrings: registry.Keyrings()}
	status := &statusPath{responder: responder, registry: registry, cache: cache}
	provider := &providersPath{responder: responder, registry: registry}
	metricsPath := &metricsPath{responder: responder, metrics: metrics}

	fb.Paths = []*framework.Path{
		config.path(),
		config.listPath(),
		creds.path(),
		creds.listPath(),
		rotate.path(),
		keys.path(),
		keys.rotatePath(),
		keys.activatePath(),
		jwks.path(),
		status.path(),
		status.listPath(),
		provider.path(),
		provider.listPath(),
		metricsPath.path(),
	}
	fb.PathsSpecial = &logical.Paths{
		// A prefix must end in a slash, because without the slash it matches only one key.
		SealWrapStorage: []string{account.ConfigPrefix, account.KeyPrefix, account.TokenPrefix, account.RefreshPrefix, framework.WALPrefix},
		LocalStorage:    []string{account.TokenPrefix, framework.WALPrefix},
		Unauthenticated: []string{"jwks/+"}, // providers fetch public keys without a Vault token
	}
	fb.Secrets = []*framework.Secret{secretToken(), secretUnsharedToken(revoker, log.Logger)}

	b := &backend{Backend: fb, clock: opts.Clock, log: log, responder: responder, cache: cache, revoker: revoker, clients: clients, registry: registry}
	fb.PeriodicFunc, fb.Invalidate, fb.Clean = b.periodic, b.invalidate, b.clean
	return b
}

// HandleRequest implements [logical.Backend]. It checks the input first, because the
// framework's own errors would quote it. It also recovers panics, which would end the process
// and so every mount.
func (b *backend) HandleRequest(ctx context.Context, req *logical.Request) (resp *logical.Response, err error) {
	defer b.responder.recover(req, &resp, &err)
	b.log.SetMount(req.MountPoint)
	if b.hasInvalidName(req.Path) {
		return b.responder.respond(req, &providers.FieldError{Field: "name", Problem: "must not contain two dots in a row"})
	}
	if len(req.Data) > 0 {
		if path := b.Route(req.Path); path != nil {
			checked := *req
			if checked.Data, err = account.CheckTypes(path.Fields, req.Data); err != nil {
				return b.responder.respond(req, err)
			}
			req = &checked
		}
	}
	return b.Backend.HandleRequest(ctx, req)
}

// hasInvalidName reports whether a path has a name such as a..b, which Vault's storage
// refuses although [framework.GenericNameRegex] accepts it.
func (b *backend) hasInvalidName(path string) bool {
	return strings.Contains(path, "..") && b.Route(path) != nil
}

// HandleExistenceCheck implements [logical.Backend]. It uses only the config's name. If it
// passed on the request's data, the framework would refuse invalid fields here, and Vault would
// log the refusal with the values.
func (b *backend) HandleExistenceCheck(ctx context.Context, req *logical.Request) (checkFound, exists bool, err error) {
	defer b.responder.recover(req, new(*logical.Response), &err)
	if b.hasInvalidName(req.Path) {
		return false, false, nil // HandleRequest reports the name
	}
	bare := *req
	bare.Data = nil
	return b.Backend.HandleExistenceCheck(ctx, &bare)
}

// periodic starts the refreshes and revocations that are due, and returns. Vault calls it
// about once a minute and holds a lock meanwhile. An idle mount asks Vault for nothing.
func (b *backend) periodic(ctx context.Context, _ *logical.Request) error {
	refreshes, revocations, unsaved := b.cache.Due(), b.revoker.Pending(), b.registry.HasUnsavedRefreshTokens()
	if !refreshes && !revocations && !unsaved || b.System().Tainted() || !b.mayMint() {
		return nil
	}
	b.cache.Tick()
	if unsaved {
		go b.registry.StoreUnsavedRefreshTokens(context.WithoutCancel(ctx))
	}
	if revocations {
		go b.revoker.Drain()
	}
	return nil
}

// mayMint reports whether this node may mint without a request. A performance secondary may,
// because its tokens belong to its own cluster. A standby may not; it forwards requests that
// mint.
func (b *backend) mayMint() bool {
	state := b.System().ReplicationState()
	return !state.HasState(consts.ReplicationPerformanceStandby) && !state.HasState(consts.ReplicationDRSecondary)
}

// mayExchange returns why a must not use its refresh token now, or nil if it may. Only the primary
// cluster uses refresh tokens. Other clusters return ErrReadOnly, so that Vault forwards the
// request to the primary. A local mount has no primary and may use them. Accounts without a
// refresh token as credential are not limited.
func mayExchange(system logical.SystemView, a *account.Account, urgent bool) error {
	switch {
	case !a.SpendsRefresh():
		return nil
	case system.ReplicationState().HasState(consts.ReplicationPerformanceSecondary) && !system.LocalMount():
		return logical.ErrReadOnly
	case !a.MayExchange(urgent):
		return errUnknownExchange
	}
	return nil
}

// errUnknownExchange reports that the engine does not use a refresh token early, because the
// outcome of the token's last use is unknown.
var errUnknownExchange error = &token.Error{Kind: token.Unavailable, Problem: "the outcome of the last use of the refresh token is unknown; the engine uses it again when the current token is about to end"}

// invalidate forgets an account or a definition that another node changed in storage. Vault does not call
// it for writes of this node.
func (b *backend) invalidate(_ context.Context, key string) {
	if strings.HasPrefix(key, account.DefinitionPrefix) {
		b.registry.Forget(key)
	}
	if name, ok := strings.CutPrefix(key, account.KeyPrefix); ok {
		b.registry.Keyrings().Invalidate(name)
	}
	if name, ok := strings.CutPrefix(key, account.RefreshPrefix); ok {
		b.registry.ForgetRefreshTokens(name)
	}
	for _, prefix := range []string{account.ConfigPrefix, account.TokenPrefix, account.RefreshPrefix} {
		if name, ok := strings.CutPrefix(key, prefix); ok {
			b.cache.Invalidate(name)
		}
	}
}

// maxCleanWait limits how long clean waits for running exchanges of refresh tokens. If the answer
// to an exchange is not stored, a person has to consent again.
const maxCleanWait = 3 * time.Second

// clean cancels running mints and revocations without waiting for them, because the process blocks
// all its mounts meanwhile. It waits only for running exchanges of refresh tokens.
func (b *backend) clean(context.Context) {
	b.cache.Close()
	b.registry.WaitForExchanges(maxCleanWait)
	b.revoker.Close()
	b.clients.CloseIdle()
}
