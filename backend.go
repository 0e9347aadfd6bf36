// SPDX-License-Identifier: MPL-2.0

// Package messaging is a Vault secrets engine that keeps the long-lived
// credentials of messaging providers inside Vault and hands apps only short-lived
// bearer tokens.
//
// The way in is [Factory]. Each path is a file, path_*.go, with its schema, its
// handlers and its help. What happens on a read of creds/ is decided in
// internal/tokencache; what is said to a provider, in providers. What joins them
// is account.go, what is stored config.go and store.go, and errors become answers
// in errors.go.
package messaging

import (
	"context"
	"fmt"
	"strings"
	"sync/atomic"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/vault/sdk/framework"
	"github.com/hashicorp/vault/sdk/helper/consts"
	"github.com/hashicorp/vault/sdk/helper/locksutil"
	"github.com/hashicorp/vault/sdk/logical"

	"vault-plugin-secrets-messaging/internal/tokencache"
	"vault-plugin-secrets-messaging/providers"
)

// operationPrefix begins the name of each operation in the OpenAPI document.
const operationPrefix = "messaging"

const backendHelp = `
The messaging secrets engine keeps the long-lived credentials of messaging
providers (Sinch, EnableX, any OAuth 2 token endpoint) and hands out short-lived
bearer tokens.

Write one account with a provider to config/<name>, and read its token at
creds/<name>. The token is cached and shared: all readers of a name get the same
one, as a lease that ends when the token does.
`

// Options are what a backend is made of, besides what Vault gives it.
type Options struct {
	// Version is the version that the plugin reports to Vault and names in its
	// User-Agent: semantic, with a leading v. "" means v0.0.0-dev.
	Version string

	// Clock tells the time, also to the token cache; nil means the machine's.
	Clock tokencache.Clock

	// Providers are the providers there are; nil means [providers.All].
	Providers []providers.Provider
}

// Factory returns the factory of backends that Vault's plugin machinery wants.
// Each call of it makes one mount's backend; they share nothing but the process.
func Factory(opts Options) logical.Factory {
	return func(ctx context.Context, conf *logical.BackendConfig) (logical.Backend, error) {
		b := newBackend(opts, conf)
		// Vault also sets a backend up to learn its version and its paths, with
		// neither a storage nor a system view: nothing here may touch them.
		withMemory := *conf
		withMemory.System = remembering(conf.System, b.clock)
		if err := b.Setup(ctx, &withMemory); err != nil {
			return nil, fmt.Errorf("setting up the messaging secrets engine: %w", err)
		}
		return b, nil
	}
}

// backend is one mount of the engine.
type backend struct {
	*framework.Backend

	clock     tokencache.Clock
	storage   logical.Storage // of the mount, for what outlives a request
	cache     *tokencache.Cache
	revoker   *revoker
	clients   *providers.Clients
	providers map[string]*provider
	metrics   *metrics

	configWrites []*locksutil.LockEntry // one writer of a config at a time; see configLock
	mount        atomic.Pointer[string] // as of the last request, for log lines
}

func newBackend(opts Options, conf *logical.BackendConfig) *backend {
	if opts.Version == "" {
		opts.Version = "v0.0.0-dev"
	}
	if opts.Clock == nil {
		opts.Clock = tokencache.SystemClock()
	}
	if opts.Providers == nil {
		opts.Providers = providers.All()
	}
	b := &backend{
		clock:        opts.Clock,
		storage:      conf.StorageView,
		clients:      providers.NewClients(opts.Version),
		providers:    map[string]*provider{},
		configWrites: locksutil.CreateLocks(),
	}
	b.metrics = newMetrics(b, opts.Version)
	for _, p := range opts.Providers {
		spec := p.Spec()
		b.providers[spec.Name] = &provider{p, spec, b.metrics.ofProvider(spec.Name)}
	}
	b.revoker = newRevoker(b)
	b.cache = tokencache.New(tokencache.Options{Store: &store{b}, Clock: opts.Clock, Flown: b.flown})
	b.Backend = &framework.Backend{
		Help:           backendHelp,
		BackendType:    logical.TypeLogical,
		RunningVersion: opts.Version,
		Paths: []*framework.Path{
			b.pathConfig(),
			b.pathConfigList(),
			b.pathCreds(),
			b.pathRotate(),
			b.pathStatus(),
			b.pathStatusList(),
			b.pathProviders(),
			b.pathProvidersList(),
			b.pathMetrics(),
		},
		PathsSpecial: &logical.Paths{
			// Prefixes end in a slash; without it they would match that one key.
			SealWrapStorage: []string{configPrefix, tokenPrefix, framework.WALPrefix},
			LocalStorage:    []string{tokenPrefix, framework.WALPrefix},
		},
		Secrets:      []*framework.Secret{b.secretToken(), b.secretOwnToken()},
		PeriodicFunc: b.periodic,
		Invalidate:   b.invalidate,
		Clean:        b.clean,
	}
	return b
}

// HandleRequest implements [logical.Backend]: the framework's, which it shields
// from input that the framework would quote in its errors, and which it keeps
// from ending the process, and every mount in it, by a panic.
func (b *backend) HandleRequest(ctx context.Context, req *logical.Request) (resp *logical.Response, err error) {
	defer b.recovered(req, &resp, &err)
	b.noteMount(req)
	if b.unstorable(req.Path) {
		return b.answer(req, &providers.FieldError{Field: "name", Problem: "want one without two dots in a row"})
	}
	if len(req.Data) > 0 {
		if path := b.Route(req.Path); path != nil {
			checked := *req
			if checked.Data, err = checkTypes(path.Fields, req.Data); err != nil {
				return b.answer(req, err)
			}
			req = &checked
		}
	}
	return b.Backend.HandleRequest(ctx, req)
}

// unstorable reports whether a path has a name that Vault's storage refuses, though
// [framework.GenericNameRegex] lets it through: one like a..b.
func (b *backend) unstorable(path string) bool {
	return strings.Contains(path, "..") && b.Route(path) != nil
}

// HandleExistenceCheck implements [logical.Backend]. Whether a config exists
// depends on its name alone; the framework would refuse bad fields here already,
// as an error that Vault logs with their values.
func (b *backend) HandleExistenceCheck(ctx context.Context, req *logical.Request) (checkFound, exists bool, err error) {
	defer b.recovered(req, new(*logical.Response), &err)
	if b.unstorable(req.Path) {
		return false, false, nil // HandleRequest says why
	}
	bare := *req
	bare.Data = nil
	return b.Backend.HandleExistenceCheck(ctx, &bare)
}

// periodic starts the refreshes and the revocations that are due and returns.
// Vault calls it about once a minute, holding a lock of its own. An idle mount
// asks Vault for nothing.
func (b *backend) periodic(context.Context, *logical.Request) error {
	refreshes, revocations := b.cache.Due(), b.revoker.waiting.Load()
	if !refreshes && !revocations || b.System().Tainted() || !b.mayMint() {
		return nil
	}
	b.cache.Tick()
	if revocations {
		go b.revoker.drain()
	}
	return nil
}

// mayMint reports whether this node mints by itself. A performance secondary
// does: its tokens are its cluster's own. Standbys forward what would mint.
func (b *backend) mayMint() bool {
	state := b.System().ReplicationState()
	return !state.HasState(consts.ReplicationPerformanceStandby) && !state.HasState(consts.ReplicationDRSecondary)
}

// invalidate drops what is in memory of an account that was changed in storage
// by another node. Vault does not call it for this node's own writes.
func (b *backend) invalidate(_ context.Context, key string) {
	for _, prefix := range []string{configPrefix, tokenPrefix} {
		if name, ok := strings.CutPrefix(key, prefix); ok {
			b.cache.Invalidate(name)
		}
	}
}

// clean ends the mints under way. It returns at once: the process holds a lock
// of all its mounts meanwhile.
func (b *backend) clean(context.Context) {
	b.cache.Close()
	b.revoker.close()
	b.clients.CloseIdle()
}

// noteMount remembers where the backend is mounted, which a remount changes.
func (b *backend) noteMount(req *logical.Request) {
	if m := b.mount.Load(); req.MountPoint != "" && (m == nil || *m != req.MountPoint) {
		mount := req.MountPoint
		b.mount.Store(&mount)
	}
}

// log returns the logger for lines about this mount. A process that serves many
// mounts logs under the name of the first, so each line names its own.
func (b *backend) log() hclog.Logger {
	mount := ""
	if m := b.mount.Load(); m != nil {
		mount = *m
	}
	return b.Logger().With("mount", mount)
}

// flown logs a mint that ended, and has an event sent, which no one waits for.
func (b *backend) flown(f tokencache.Flight) {
	go func() {
		defer b.survived()
		b.send(context.Background(), flightEvent(f))
	}()
	log := b.log().With("config", f.Name, "provider", f.Account.(*account).config.Provider, "took", f.Took.Round(time.Millisecond).String())
	switch {
	case f.Failure == nil && f.After > 0:
		log.Info("minted a token again", "failures_before", f.After)
	case f.Failure == nil:
		log.Debug("minted a token", "rotated", f.Rotated, "own", f.Own)
	default:
		log.Warn("minting a token failed", "kind", f.Failure.Kind.String(), "error", f.Failure.Error(),
			"failures", f.Failure.Failures, "next_attempt", showTime(f.Failure.Next))
		b.logPanic(f.Failure.Err)
	}
}
