// SPDX-License-Identifier: MPL-2.0

// Package tokencache keeps one bearer token for each of many accounts and serves the
// token to any number of readers, so that a provider sees one mint per token lifetime.
//
//	|–––––––––––– fresh: serve ––––––––––––|–– refresh window: serve, refresh in the background ––|–– min TTL: wait ––|expired
//	minted                                 expiry − refresh window                                expiry − min TTL
//
// Start at [New]. Readers call [Cache.Get]; a config write calls [Cache.Put] or
// [Cache.Delete]; an operator's rotate calls [Cache.Rotate]; a periodic function calls
// [Cache.Tick]. The package knows neither Vault nor providers: an [Account] mints, a
// [Store] keeps tokens, a [clock.Clock] tells the time. The package starts
// goroutines only for mints that a read, a rotate or a tick asked for.
//
//	cache.go          Cache, and the order between storage and memory
//	entry.go          the state of one account, and the snapshot of it that readers see
//	read.go           Get: serve, refresh in the background, or wait
//	mint.go           one running mint, from its start to its result
//	rotate.go         Rotate
//	unshared.go       mints for one reader each
//	timeline.go       the picture above in numbers
//	backoff.go        the waits after failed mints
//	refresh_queue.go  what a tick refreshes
//	limiter.go        how many mints run at once
//	status.go         what operators see
package tokencache

import (
	"context"
	"errors"
	"hash/maphash"
	"sync"
	"time"

	"golang.org/x/sync/singleflight"

	"vault-plugin-secrets-messaging/internal/clock"
	"vault-plugin-secrets-messaging/internal/secret"
	"vault-plugin-secrets-messaging/internal/token"
)

var (
	// ErrNotFound reports that the store has no account of that name.
	ErrNotFound = errors.New("no such account")

	// ErrClosed reports that the cache was closed.
	ErrClosed = errors.New("the token cache is closed")
)

// Account is one account with a provider, at one revision of its config. Its methods
// are called from many goroutines at once.
type Account interface {
	// Revision identifies the credentials and endpoints of the account. A token minted
	// under one revision is never served or stored under another.
	Revision() string

	// Policy says how the account's tokens are kept.
	Policy() Policy

	// Share reports whether all readers share one token. If not, each read mints a token,
	// which is neither kept nor refreshed. All accounts of one revision report the same.
	Share() bool

	// Host names the host at which the account mints. Mints at one host share a limit.
	Host() string

	// Mint gets a new token and sets its Sent. Mint uses the refresh token if refresh is
	// not "" and the provider accepts it. Otherwise Mint uses the long-lived credential.
	// An error that wraps no [*token.Error] counts as [token.Unavailable].
	Mint(ctx context.Context, refresh secret.String) (token.Token, error)
}

// Store keeps what must outlive the process. The Cache calls it for one name at a time,
// and never while it holds a lock that a reader of a valid token needs.
type Store interface {
	// Load returns the named account and the token that was saved under the account's
	// revision, or nil if there is none. The token's Sent has only a wall clock. The
	// error wraps ErrNotFound if there is no such account.
	Load(ctx context.Context, name string) (Account, *token.Token, error)

	// Save stores the newest token of an account. The store reports failures itself,
	// because the cache serves the token all the same.
	Save(ctx context.Context, name string, a Account, t token.Token)
}

// Options configure a Cache.
type Options struct {
	Store Store       // required
	Clock clock.Clock // nil means clock.System()

	// OnMint is called with the result of each mint, after its token can be read. It
	// must neither block nor call the Cache. May be nil.
	OnMint func(MintResult)
}

const (
	stripes = 256 // locks that order loads, saves and writes of a name

	storeTimeout = 10 * time.Second // for each use of the store by a mint or a load
)

// Cache holds the accounts that were read or written since it was made. It is safe for
// concurrent use.
type Cache struct {
	opts  Options
	clock clock.Clock

	ctx    context.Context // ends with Close
	cancel context.CancelFunc

	entries sync.Map // name → *entry
	queue   refreshQueue
	limiter *limiter

	// loads merges concurrent loads of one name. Mints do not use singleflight for three
	// reasons: a panic would end the process, a mint of an old revision would look like a
	// current mint, and nobody could join a mint without starting one.
	loads singleflight.Group

	// writing keeps storage and memory in the same order. Whoever reads or writes the
	// store for a name and then changes the name's entry holds the name's stripe
	// throughout. A stripe is locked before an entry's mu.
	writing [stripes]sync.Mutex
	seed    maphash.Seed
}

// New returns an empty Cache.
func New(opts Options) *Cache {
	if opts.Clock == nil {
		opts.Clock = clock.System()
	}
	ctx, cancel := context.WithCancel(context.Background())
	return &Cache{opts: opts, clock: opts.Clock, ctx: ctx, cancel: cancel, limiter: newLimiter(), seed: maphash.MakeSeed()}
}

// Close cancels the running mints and returns without waiting for them. Readers that
// wait for a mint get ErrClosed.
func (c *Cache) Close() { c.cancel() }

// stripe returns the lock that orders storage and memory for name.
func (c *Cache) stripe(name string) *sync.Mutex {
	return &c.writing[maphash.String(c.seed, name)%stripes]
}

// entry returns the entry of the named account, loading it if it is not in memory.
func (c *Cache) entry(ctx context.Context, name string) (*entry, error) {
	if e, ok := c.entries.Load(name); ok {
		return e.(*entry), nil
	}
	loaded := c.loads.DoChan(name, func() (_ any, err error) {
		defer secret.RecoverTo(&err)
		return c.load(name)
	})
	select {
	case r := <-loaded:
		if r.Err != nil {
			return nil, r.Err
		}
		return r.Val.(*entry), nil
	case <-ctx.Done():
		return nil, ctx.Err()
	case <-c.ctx.Done():
		return nil, ErrClosed
	}
}

func (c *Cache) load(name string) (*entry, error) {
	stripe := c.stripe(name)
	stripe.Lock()
	defer stripe.Unlock()
	if e, ok := c.entries.Load(name); ok {
		return e.(*entry), nil
	}
	ctx, cancel := context.WithTimeout(c.ctx, storeTimeout)
	defer cancel()
	a, t, err := c.opts.Store.Load(ctx, name)
	if err != nil {
		return nil, err
	}
	e := newEntry(name)
	e.mu.Lock()
	defer e.mu.Unlock()
	e.account = a
	if t != nil {
		e.restore(c.clock(), *t)
	}
	c.publish(e)
	c.entries.Store(name, e)
	return e, nil
}

// Put makes account a the current account of that name. If t is not nil, t is a token
// that a.Mint just returned, and Put saves and serves t. commit, if not nil, runs first and
// stores the config behind a. If commit fails, Put returns its error and forgets what is
// in memory, because commit may have taken effect in part.
//
// An account of the same revision as before keeps its token, its running mint and its
// failures, unless t replaces them. An account of another revision keeps only a
// Retry-After that has not passed, and waiting readers get a token of the new revision.
func (c *Cache) Put(ctx context.Context, name string, a Account, t *token.Token, commit func() error) error {
	now := c.clock()
	stripe := c.stripe(name)
	stripe.Lock()
	defer stripe.Unlock()
	if commit != nil {
		if err := commit(); err != nil {
			c.forget(name)
			return err
		}
	}
	if t != nil {
		c.opts.Store.Save(ctx, name, a, *t)
	}
	e := newEntry(name)
	if old, ok := c.entries.Load(name); ok {
		e = old.(*entry)
	} else if t == nil { // the store may have a token: the next read loads account and token
		c.loads.Forget(name)
		return nil
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.account != nil && e.account.Revision() != a.Revision() {
		e.supersede()
		e.cached, e.rotation, e.unshared.proven = nil, nil, false
		e.backoff.clear(now)
		e.lastFailure = e.backoff.last
	}
	e.account = a
	switch {
	case t != nil: // nobody needs to wait any longer
		e.supersede()
		e.minted(*t)
	case e.cached != nil: // the policy may have changed
		e.keep(e.cached.Token, e.cached.reads)
	}
	c.publish(e)
	c.entries.Store(name, e)
	return nil
}

// Delete forgets the named account. commit runs first, as in Put.
func (c *Cache) Delete(name string, commit func() error) error {
	stripe := c.stripe(name)
	stripe.Lock()
	defer stripe.Unlock()
	defer c.forget(name)
	return commit()
}

// Invalidate forgets the named account, because another node changed it in storage. A
// running mint is superseded.
func (c *Cache) Invalidate(name string) {
	stripe := c.stripe(name)
	stripe.Lock()
	defer stripe.Unlock()
	c.forget(name)
}

// forget removes the entry of name from memory; the caller holds its stripe.
func (c *Cache) forget(name string) {
	c.loads.Forget(name) // a load may have ended without singleflight noticing yet
	old, ok := c.entries.LoadAndDelete(name)
	if !ok {
		return
	}
	e := old.(*entry)
	e.mu.Lock()
	defer e.mu.Unlock()
	e.gone = true
	e.supersede()
	e.cached = nil
	c.publish(e)
}
