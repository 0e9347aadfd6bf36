// SPDX-License-Identifier: MPL-2.0

// Package messaging is a Vault secrets engine that keeps the long-lived credentials of
// messaging providers inside Vault and hands apps short-lived bearer tokens.
//
// Start at [Factory]. Each path has a file path_*.go with its schema, handlers and help.
// secret_token.go has the lease types, errors.go turns errors into responses, and systemview.go
// caches the node's replication state. These packages do the work:
//
//	internal/account     checks and stores what operators write
//	internal/tokencache  mints, caches and refreshes tokens
//	internal/revocation  revokes tokens before they expire
//	internal/telemetry   log lines, metrics and events
//	providers            talks to the providers
package messaging

import (
	"cmp"
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/hashicorp/vault/sdk/framework"
	"github.com/hashicorp/vault/sdk/helper/consts"
	"github.com/hashicorp/vault/sdk/helper/locksutil"
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

// Factory returns a function that Vault calls once per mount to make the mount's backend.
// Backends share no state.
func Factory(opts Options) logical.Factory {
	return func(ctx context.Context, conf *logical.BackendConfig) (logical.Backend, error) {
		b := newBackend(opts, conf)
		// Setup must not use storage or system view. Both are nil when Vault only asks for the
		// plugin's version and paths.
		caching := *conf
		caching.System = newCachingSystemView(conf.System, b.responder.clock)
		if err := b.Setup(ctx, &caching); err != nil {
			return nil, fmt.Errorf("setting up the messaging secrets engine: %w", err)
		}
		return b, nil
	}
}

// backend is one mount of the engine.
type backend struct {
	*framework.Backend

	log       *telemetry.Log
	responder *responder
	cache     *tokencache.Cache
	revoker   *revocation.Revoker
	clients   *providers.Clients
	registry  *account.Registry
}

func newBackend(opts Options, conf *logical.BackendConfig) *backend {
	opts.Version = cmp.Or(opts.Version, "v0.0.0-dev")
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
	revoker := revocation.NewRevoker(revocation.Options{
		Registry: registry, Storage: conf.StorageView, Clock: opts.Clock, Log: log.Logger,
		Tainted: func() bool { return fb.System().Tainted() },
	})
	cache := tokencache.New(tokencache.Options{
		Store: registry, Clock: opts.Clock,
		OnMint: func(r tokencache.MintResult) {
			events.OnMint(r)
			r.Account.(*account.Account).SettleKeys()
		},
		MayMint: func(a tokencache.Account, urgent bool) error {
			return mayExchange(fb.System(), a.(*account.Account), urgent)
		},
		OnUnused: func(a tokencache.Account, t token.Token) { revoker.Queue(revocation.New(a.(*account.Account), t)) },
	})
	metrics.Collect(cache, registry.BuiltinNames())
	responder := &responder{clock: opts.Clock, log: log.Logger}

	config := &configPath{responder: responder, registry: registry, cache: cache, revoker: revoker, events: events, locks: locksutil.CreateLocks()}
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
		// Each prefix ends in a slash. Vault treats a prefix without a slash as a single key.
		SealWrapStorage: []string{account.ConfigPrefix, account.KeyPrefix, account.TokenPrefix, account.RefreshPrefix, framework.WALPrefix},
		LocalStorage:    []string{account.TokenPrefix, framework.WALPrefix},
		Unauthenticated: []string{"jwks/+"}, // providers fetch public keys without a Vault token
	}
	fb.Secrets = []*framework.Secret{secretToken(), secretUnsharedToken(revoker, log.Logger)}

	b := &backend{Backend: fb, log: log, responder: responder, cache: cache, revoker: revoker, clients: clients, registry: registry}
	fb.PeriodicFunc, fb.Invalidate, fb.Clean = b.periodic, b.invalidate, b.clean
	return b
}

// HandleRequest implements [logical.Backend]. It checks the input first, because the framework's
// errors quote the input. It recovers panics, because a panic would end the process for all mounts.
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

// hasInvalidName reports whether a path has a name such as a..b. Vault's storage refuses such
// names, but [framework.GenericNameRegex] accepts them.
func (b *backend) hasInvalidName(path string) bool {
	return strings.Contains(path, "..") && b.Route(path) != nil
}

// HandleExistenceCheck implements [logical.Backend]. It hides the request's data from the
// framework. Otherwise Vault would log the values of invalid fields.
func (b *backend) HandleExistenceCheck(ctx context.Context, req *logical.Request) (checkFound, exists bool, err error) {
	defer b.responder.recover(req, new(*logical.Response), &err)
	if b.hasInvalidName(req.Path) {
		return false, false, nil // HandleRequest reports the name
	}
	bare := *req
	bare.Data = nil
	return b.Backend.HandleExistenceCheck(ctx, &bare)
}

// periodic starts the refreshes and revocations that are due, and returns at once, because Vault
// holds a lock. Vault calls periodic about once a minute. If nothing is due, periodic makes no call
// to Vault.
func (b *backend) periodic(ctx context.Context, _ *logical.Request) error {
	refreshes, revocations, unsaved := b.cache.Due(), b.revoker.Pending(), b.registry.RefreshTokens().HasUnsaved()
	if !refreshes && !revocations && !unsaved || b.System().Tainted() || !b.mayMint() {
		return nil
	}
	b.cache.Tick()
	if unsaved {
		go b.registry.RefreshTokens().StoreUnsaved(context.WithoutCancel(ctx))
	}
	if revocations {
		go b.revoker.Drain()
	}
	return nil
}

// mayMint reports whether this node may refresh tokens in the background. Standbys and DR
// secondaries may not. Performance secondaries may, because each cluster has its own tokens.
func (b *backend) mayMint() bool {
	state := b.System().ReplicationState()
	return !state.HasState(consts.ReplicationPerformanceStandby) && !state.HasState(consts.ReplicationDRSecondary)
}

// mayExchange returns an error if the account's refresh token must not be used now. urgent is true
// if readers need a new token now. On a performance secondary, the error wraps ErrReadOnly, so
// Vault forwards the request to the primary. A local mount may use its own refresh tokens on every
// cluster.
func mayExchange(system logical.SystemView, a *account.Account, urgent bool) error {
	switch {
	case !a.SpendsRefresh():
		return nil
	case system.ReplicationState().HasState(consts.ReplicationPerformanceSecondary) && !system.LocalMount():
		return errOnPrimary
	case !a.MayExchange(urgent):
		return errUnknownExchange
	}
	return nil
}

// errOnPrimary reports that only the primary cluster uses the refresh token.
var errOnPrimary = fmt.Errorf("%w: %w", tokencache.ErrForwarded, logical.ErrReadOnly)

// errUnknownExchange reports that the last use of the refresh token has an unknown outcome.
var errUnknownExchange error = &token.Error{Kind: token.Unavailable, Problem: "the last use of the refresh token has an unknown outcome; the engine uses the refresh token again when the access token is about to end"}

// invalidate forgets a storage key that another node has changed. Vault does not call invalidate
// for this node's own writes.
func (b *backend) invalidate(_ context.Context, key string) {
	prefix, name, _ := strings.Cut(key, "/")
	switch prefix + "/" {
	case account.DefinitionPrefix:
		b.registry.Forget(key)
	case account.KeyPrefix:
		b.registry.Keyrings().Invalidate(name)
	case account.RefreshPrefix:
		b.registry.RefreshTokens().Forget(name)
		b.cache.Invalidate(name)
	case account.ConfigPrefix, account.TokenPrefix:
		b.cache.Invalidate(name)
	}
}

// maxCleanWait is how long a closing mount waits for answers to requests with a refresh token. If
// such an answer is lost, a person has to consent again.
const maxCleanWait = 3 * time.Second

// clean cancels running mints and revocations. While clean waits, all mounts of the process are
// blocked. So clean waits only for requests with refresh tokens.
func (b *backend) clean(context.Context) {
	b.cache.Close()
	b.registry.RefreshTokens().Wait(maxCleanWait)
	b.revoker.Close()
	b.clients.CloseIdle()
}
