// SPDX-License-Identifier: MPL-2.0

// Package tokencache keeps one bearer token per account and serves the token to all readers.
// The provider gets one request per token lifetime.
//
//	|–––––––––––– fresh: serve ––––––––––––|–– refresh window: serve, refresh in the background ––|–– min TTL: wait ––|expired
//	minted                                 expiry − refresh window                                expiry − min TTL
//
// Start at [New]. Readers call [Cache.Get]. A config write calls [Cache.Put] or [Cache.Delete].
// An operator's rotate calls [Cache.Rotate]. A periodic function calls [Cache.Tick].
// The package knows neither Vault nor providers. An [Account] requests tokens, a [Store] keeps
// tokens, and a [clock.Clock] tells the time.
//
// # Terms
//
//   - A revision identifies the credentials and endpoints of an account. If a write changes
//     the revision, the cache drops the token.
//   - An entry is what the cache holds in memory for one account.
//   - A mint is a request to the provider for a token. A login is a mint with the long-lived
//     credential. Other mints use a refresh token.
//   - A background refresh is a mint for a token in its refresh window. Readers still get the
//     old token meanwhile.
//   - A mint is superseded if a config write or a more urgent mint takes its place. The cache
//     ignores the result, and waiting readers start over.
//   - A mint needs a slot. Slots limit how many mints run at once, per host and in all.
//   - An unshared account mints a token for each read. If the reader stops waiting, the cache
//     parks the token for the next reader.
//
// # Files
//
//	cache.go          Cache, and the writes that change accounts
//	storage.go        loading from storage, and saving tokens
//	entry.go          the entry of one account, and the copy of its state that readers see
//	read.go           Get: serve, refresh in the background, or wait
//	mint.go           one running mint, from its start to its result
//	rotate.go         Rotate
//	rejected.go       reports of rejected tokens
//	unshared.go       the mints of unshared accounts
//	timeline.go       the picture above in numbers
//	backoff.go        the waits after failed mints
//	refresh_queue.go  what a tick refreshes
//	limiter.go        the limits on concurrent mints and logins
//	status.go         what operators see
package tokencache

import (
	"context"
	"errors"
	"fmt"
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

	// ErrForwarded reports that another node answers the request. MayMint may return an error that
	// wraps ErrForwarded.
	ErrForwarded = errors.New("another node answers")
)

// Account is an account at a provider, at one revision. Its methods must be safe for concurrent
// use.
type Account interface {
	// Revision identifies the account's credentials and endpoints. A token of one revision
	// is never served or stored under another revision.
	Revision() string

	// Policy says how the account's tokens are kept.
	Policy() Policy

	// Share reports whether all readers share one token. If not, each read mints a token that is
	// neither cached nor stored. If the result changes, the revision must change too.
	Share() bool

	// Host names the host that issues the account's tokens. Mints at the same host share a limit.
	Host() string

	// SerialKey names the user whose logins must run one after another. If SerialKey is "", logins
	// may run at the same time.
	SerialKey() string

	// RateKey combines the host and the name of the client. A Retry-After lasts beyond a config
	// write if the RateKey stays the same.
	RateKey() string

	// Mint requests a token, and sets the token's Sent to the time of the request. refresh is the
	// refresh token to use. If refresh is "", Mint logs in with the long-lived credential. If force
	// is set, Mint asks for a token other than the current token. force is set only if the Policy
	// has CanForce. An error that wraps no [*token.Error] counts as [token.Unavailable].
	Mint(ctx context.Context, refresh secret.String, force bool) (token.Token, error)
}

// Options configure a Cache. All fields are required.
type Options struct {
	Store Store
	Clock clock.Clock

	// OnMint is called with the result of each mint, after a new shared token was cached. OnMint
	// must not block or call the Cache.
	OnMint func(MintResult)

	// MayMint returns an error if this node may not mint a shared token now. urgent is set if no
	// cached token has the min TTL left. It is also set for rotates and rejected tokens. If Vault
	// forwards the read to another node, the error wraps ErrForwarded, and the read does not count
	// as failed. MayMint must not block or call the Cache.
	MayMint func(a Account, urgent bool) error

	// OnUnused is called with each unshared token that no reader will get. OnUnused must not block
	// for long or call the Cache.
	OnUnused func(Account, token.Token)
}

// MaxWait is the longest time that a read waits for a mint. Vault waits for running reads before it
// reloads, moves or disables the mount.
const MaxWait = 3 * time.Second

// ErrStillMinting reports that a mint takes longer than MaxWait. The mint continues.
var ErrStillMinting error = &token.Error{Kind: token.Unavailable, Problem: fmt.Sprintf(
	"the provider has not issued a token within %s; the engine keeps trying, so read again", MaxWait)}

// Cache keeps the tokens of many accounts. A Cache is safe for concurrent use.
type Cache struct {
	opts  Options
	clock clock.Clock

	ctx    context.Context // ends with Close
	cancel context.CancelFunc

	entries sync.Map // name → *entry
	queue   *refreshQueue
	limiter *limiter

	// loads merges concurrent loads of the same account. Singleflight does not suit mints, because
	// readers could join a mint of an old revision.
	loads singleflight.Group

	// writing has a lock for each account name. Hold the lock from the access to the store until the
	// entry is updated, so that storage and memory agree. Take the lock before the entry's mu.
	writing *keyed[*sync.Mutex]
}

// New returns an empty Cache.
func New(opts Options) *Cache {
	ctx, cancel := context.WithCancel(context.Background())
	c := &Cache{
		opts: opts, clock: opts.Clock, ctx: ctx, cancel: cancel, queue: newRefreshQueue(),
		writing: newKeyed(func() *sync.Mutex { return new(sync.Mutex) }),
	}
	c.limiter = newLimiter(c.freed)
	return c
}

// Close cancels the running mints, and does not wait for them. Waiting readers get ErrClosed. Close
// calls OnUnused for the unshared tokens that still wait for a reader.
func (c *Cache) Close() {
	c.cancel()
	c.entries.Range(func(_, v any) bool {
		e := v.(*entry)
		e.mu.Lock()
		parked := e.unshared.unpark()
		e.mu.Unlock()
		c.discard(parked)
		return true
	})
}

// inMemory returns the named account's entry, or nil if the account is not in memory.
func (c *Cache) inMemory(name string) *entry {
	v, _ := c.entries.Load(name)
	e, _ := v.(*entry)
	return e
}

// entry returns the named account's entry. If the account is not in memory, entry loads the
// account.
func (c *Cache) entry(ctx context.Context, name string) (*entry, error) {
	if e := c.inMemory(name); e != nil {
		return e, nil
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

// Put adds the account a, or replaces the account of that name by a. If commit is not nil, Put
// first calls commit to store the config. If commit fails, Put returns the error and forgets the
// account in memory, because storage may have changed.
//
// If t is not nil, t is a token that a.Mint just returned. Put saves and serves t. If t is nil and
// a is unshared, Put removes the stored token. If the save or the removal fails, unsaved says why,
// and a later tick tries again.
//
// If the revision stays the same, the account keeps its token, running mint and failures, unless t
// replaces them. If the revision changes, the account loses all three, and waiting readers get a
// token of the new revision. Only a Retry-After that has not passed stays, if the RateKey is the
// same.
func (c *Cache) Put(ctx context.Context, name string, a Account, t *token.Token, commit func() error) (unsaved, err error) {
	now := c.clock()
	defer c.lock(name)()
	if commit != nil {
		if err := commit(); err != nil {
			c.forget(name)
			return nil, err
		}
	}
	switch {
	case t != nil:
		unsaved = c.replace(ctx, name, a, *t)
	case !a.Share(): // a shared token of an earlier config may be stored
		unsaved = c.persist(ctx, name, a, nil)
	}
	e := c.inMemory(name)
	if e == nil && t == nil && a.Share() { // the store may have a token: the next read loads account and token
		c.loads.Forget(name)
		return nil, nil
	}
	if e == nil {
		e = &entry{name: name}
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.account != nil && e.account.Revision() != a.Revision() {
		e.supersedeAndDrop()
		c.discardLater(e.unshared.unpark())
		e.rotation, e.rejections, e.unshared = nil, rejections{}, unshared{}
		e.notBefore, e.unsaved = clock.Instant{}, false
		if e.account.RateKey() == a.RateKey() {
			e.backoff.clear(now)
		} else {
			e.backoff = backoff{}
		}
		e.lastFailure = e.backoff.last
	}
	e.account = a
	switch {
	case t != nil: // nobody needs to wait any longer
		e.supersedeAndDrop()
		e.minted(*t)
		e.unsaved = unsaved != nil
	case !a.Share():
		e.unsaved = unsaved != nil
	case e.cached != nil: // the policy may have changed
		e.keep(e.cached.Token, e.cached.reads)
	}
	c.publish(e)
	c.entries.Store(name, e)
	return unsaved, nil
}

// Cached returns the named account's token, if the token is in memory and has not ended. Cached
// neither loads nor mints.
func (c *Cache) Cached(name string) (t token.Token, ok bool) {
	e := c.inMemory(name)
	if e == nil {
		return token.Token{}, false
	}
	cached := e.published.Load().cached
	if cached.left(c.clock()) <= 0 {
		return token.Token{}, false
	}
	return cached.Token, true
}

// Delete calls commit to delete the config from storage, and returns the error of commit. Delete
// then forgets the named account in memory, even if commit failed.
func (c *Cache) Delete(name string, commit func() error) error {
	defer c.lock(name)()
	defer c.forget(name)
	return commit()
}

// Invalidate forgets the named account, because another node changed the account in storage.
// Invalidate also cancels a running mint of a shared token, and waiting readers start over.
func (c *Cache) Invalidate(name string) {
	defer c.lock(name)()
	c.forget(name)
}

// forget removes the named account's entry from memory. The caller holds the name's lock.
func (c *Cache) forget(name string) {
	c.loads.Forget(name) // a load may have ended without singleflight noticing yet
	e := c.inMemory(name)
	if e == nil {
		return
	}
	c.entries.Delete(name)
	e.mu.Lock()
	defer e.mu.Unlock()
	e.gone = true
	e.supersede()
	c.discardLater(e.unshared.unpark())
	e.cached = nil
	c.publish(e)
}

// discardLater is discard for a caller that holds locks.
func (c *Cache) discardLater(tokens []parkedToken) {
	if len(tokens) > 0 {
		go c.discard(tokens)
	}
}

// discard calls OnUnused for each token.
func (c *Cache) discard(tokens []parkedToken) {
	for _, p := range tokens {
		try(func() { c.opts.OnUnused(p.account, p.Token) })
	}
}

// try calls f, and recovers from its panics.
func try(f func()) {
	var err error
	defer secret.RecoverTo(&err)
	f()
}
