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
//	rejected.go       tokens that the provider rejected before their time
//	unshared.go       mints for one reader each
//	timeline.go       the picture above in numbers
//	backoff.go        the waits after failed mints
//	refresh_queue.go  what a tick refreshes
//	limiter.go        how many mints run at once, and logins one after another
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
)

// Account is one account with a provider, at one revision of its config. Its methods
// are called from many goroutines at once.
type Account interface {
	// Revision identifies the credentials and endpoints of the account. A token of one revision
	// is never served or stored under another revision.
	Revision() string

	// Policy says how the account's tokens are kept.
	Policy() Policy

	// Share reports whether all readers share one token. If not, each read mints a token,
	// which is neither kept nor refreshed. All accounts of one revision report the same.
	Share() bool

	// Host names the host at which the account mints. Mints at the same host share a limit.
	Host() string

	// SerialKey names the user whose logins must run one after another; "" if logins of
	// the account may run at the same time.
	SerialKey() string

	// RateKey identifies the client to which a Retry-After applies: the host and the client's
	// name at the provider.
	RateKey() string

	// Mint gets a new token and sets its Sent. It uses the refresh token if refresh is not "",
	// and the long-lived credential otherwise. force demands a token other than the current
	// token, and is set only if the Policy has CanForce. An error that wraps no [*token.Error]
	// counts as [token.Unavailable].
	Mint(ctx context.Context, refresh secret.String, force bool) (token.Token, error)
}

// Store keeps accounts and tokens in storage, so that they outlive the process. The Cache makes
// one call per name at a time. During a call it holds no lock that a reader of a valid token
// needs.
type Store interface {
	// Load returns the named account and its token. The token is nil if none was saved under the
	// account's revision. Of the token's Sent, only the wall clock is set. If the account does
	// not exist, the error wraps ErrNotFound.
	Load(ctx context.Context, name string) (Account, *token.Token, error)

	// Save stores the newest token of an account. If Save fails, the cache still serves the
	// token, and a later tick saves it.
	Save(ctx context.Context, name string, a Account, t token.Token) error

	// Remove removes the stored token of an account, if there is one.
	Remove(ctx context.Context, name string) error
}

// Options configure a Cache.
type Options struct {
	Store Store       // required
	Clock clock.Clock // nil means clock.System()

	// OnMint is called with the result of each mint, after its token can be read. It
	// must neither block nor call the Cache. May be nil.
	OnMint func(MintResult)

	// MayMint returns why this node may not mint a shared token of the account now, or nil if it
	// may. urgent says that the cached token has too little life, or that somebody demands
	// another token. MayMint must not block. May be nil.
	MayMint func(a Account, urgent bool) error

	// OnUnused is called with a token that no reader got or will get. It must not block for
	// long or call the Cache. May be nil.
	OnUnused func(Account, token.Token)
}

const (
	// MaxWait is how long a read waits for a mint. No read may wait longer, because Vault waits
	// for a mount's requests before it reloads, moves or disables the mount.
	MaxWait = 3 * time.Second

	storeTimeout = 10 * time.Second // for the uses of the store by one mint or load
)

// ErrStillMinting reports that a mint takes longer than MaxWait. The mint continues.
var ErrStillMinting error = &token.Error{Kind: token.Unavailable, Problem: fmt.Sprintf(
	"the provider has not issued a token within %s; the engine keeps trying, so read again", MaxWait)}

// Cache holds the accounts that were read or written since the start. It is safe for concurrent
// use.
type Cache struct {
	opts  Options
	clock clock.Clock

	ctx    context.Context // ends with Close
	cancel context.CancelFunc

	entries sync.Map // name → *entry
	queue   *refreshQueue
	limiter *limiter

	// loads merges concurrent loads of the same name. Mints do not use singleflight, because
	// there a panic would end the process, and a caller could join a mint of an old revision or
	// start a mint unintentionally.
	loads singleflight.Group

	// writing keeps storage and memory consistent. A goroutine that reads or writes the store
	// for a name, and then changes the name's entry, holds the name's lock all the time. Take
	// this lock before an entry's mu.
	writing *keyed[*sync.Mutex]
}

// New returns an empty Cache.
func New(opts Options) *Cache {
	if opts.Clock == nil {
		opts.Clock = clock.System()
	}
	ctx, cancel := context.WithCancel(context.Background())
	c := &Cache{
		opts: opts, clock: opts.Clock, ctx: ctx, cancel: cancel, queue: newRefreshQueue(),
		writing: newKeyed(func() *sync.Mutex { return new(sync.Mutex) }),
	}
	c.limiter = newLimiter(c.freed)
	return c
}

// Close cancels the running mints and returns without waiting for them. Readers that
// wait for a mint get ErrClosed. Close calls OnUnused for each parked token.
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

// lock locks the order of storage and memory for name.
func (c *Cache) lock(name string) (unlock func()) {
	mu := c.writing.join(name)
	mu.Lock()
	return func() {
		mu.Unlock()
		c.writing.leave(name)
	}
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
	defer c.lock(name)()
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
// in memory, because commit may have taken effect in part. unsaved says why t was not
// saved; a tick saves it later.
//
// An account of the same revision as before keeps its token, its running mint and its
// failures, unless t replaces them. An account of another revision keeps only a
// Retry-After that has not passed, if the same host asked the same client for it. Waiting
// readers get a token of the new revision.
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
		unsaved = c.remove(ctx, name)
	}
	e := newEntry(name)
	if old, ok := c.entries.Load(name); ok {
		e = old.(*entry)
	} else if t == nil && a.Share() { // the store may have a token: the next read loads account and token
		c.loads.Forget(name)
		return nil, nil
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

// Cached returns the token that readers of the named account share, if it is in memory and
// has not ended. It neither loads nor mints.
func (c *Cache) Cached(name string) (t token.Token, ok bool) {
	v, ok := c.entries.Load(name)
	if !ok {
		return token.Token{}, false
	}
	cached := v.(*entry).snapshot.Load().cached
	if cached.left(c.clock()) <= 0 {
		return token.Token{}, false
	}
	return cached.Token, true
}

// Delete forgets the named account. commit runs first, as in Put.
func (c *Cache) Delete(name string, commit func() error) error {
	defer c.lock(name)()
	defer c.forget(name)
	return commit()
}

// Invalidate forgets the named account, because another node changed it in storage. A
// running mint is superseded.
func (c *Cache) Invalidate(name string) {
	defer c.lock(name)()
	c.forget(name)
}

// forget removes the entry of name from memory; the caller holds the lock of name.
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

// discard hands tokens that nobody will read to OnUnused.
func (c *Cache) discard(tokens []parkedToken) {
	for _, p := range tokens {
		if c.opts.OnUnused != nil {
			var err error
			func() {
				defer secret.RecoverTo(&err)
				c.opts.OnUnused(p.account, p.Token)
			}()
		}
	}
}

// replace stores t in place of an older token. If the store refuses t, replace removes the
// older token, because that token may have leaked and must not be served after a restart. The
// error says why t is not stored.
func (c *Cache) replace(ctx context.Context, name string, a Account, t token.Token) error {
	// The context is not cancelled with the mint, so that a slow mint can still store its
	// token.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), storeTimeout)
	defer cancel()
	defer context.AfterFunc(c.ctx, cancel)()
	err := c.save(ctx, name, a, t)
	if err == nil {
		return nil
	}
	if removeErr := c.remove(ctx, name); removeErr != nil {
		return fmt.Errorf("%w; an older token may still be stored: %w", err, removeErr)
	}
	return err
}

// save stores t. A panic of the store is an error of save.
func (c *Cache) save(ctx context.Context, name string, a Account, t token.Token) (err error) {
	defer secret.RecoverTo(&err)
	return c.opts.Store.Save(ctx, name, a, t)
}

// remove removes the stored token. A panic of the store is an error of remove.
func (c *Cache) remove(ctx context.Context, name string) (err error) {
	defer secret.RecoverTo(&err)
	return c.opts.Store.Remove(ctx, name)
}

// resave stores or removes the token of an unsaved entry, so that storage agrees with memory.
func (c *Cache) resave(e *entry) {
	defer c.lock(e.name)()
	e.mu.Lock()
	a, t, unsaved := e.account, e.cached, e.unsaved && !e.gone && c.ctx.Err() == nil
	e.mu.Unlock()
	if !unsaved {
		return
	}
	ctx, cancel := context.WithTimeout(c.ctx, storeTimeout)
	defer cancel()
	var err error
	if t != nil {
		err = c.save(ctx, e.name, a, t.Token)
	} else {
		err = c.remove(ctx, e.name)
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	e.unsaved = err != nil
	c.publish(e)
}
