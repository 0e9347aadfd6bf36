// SPDX-License-Identifier: MPL-2.0

// Package tokencache keeps one bearer token for each of many accounts and hands
// it to any number of readers, so that a provider sees one mint per token life.
//
//	|––––––––––––– fresh: serve ––––––––––––––|––– refresh window: serve, and refresh behind it –––|– min TTL: wait –|expired
//	minted                                 expiry − refresh window                          expiry − min TTL
//
// The way in is [New]; [Cache.Get] is what readers call, [Cache.Put] and
// [Cache.Delete] what a config write calls, and [Cache.Tick] what a periodic
// function calls. The package knows no Vault and no provider: an [Account] mints,
// a [Store] keeps, a [Clock] tells the time. It has no goroutine of its own: each
// belongs to a mint that a read, a rotate or a tick began.
//
// The parts: span (lifetimes.go) is the picture above in numbers, entry
// (entry.go) the state of one account, flight (flight.go) one mint under way,
// backoff (failure.go) the waits after failed ones, agenda (agenda.go) what a
// tick has to do, and gate (gate.go) how many mints run at once.
package tokencache

import (
	"context"
	"errors"
	"hash/maphash"
	"sync"
	"time"

	"golang.org/x/sync/singleflight"
)

var (
	// ErrNotFound says that the store has no account of that name.
	ErrNotFound = errors.New("no such account")

	// ErrClosed says that the cache was closed.
	ErrClosed = errors.New("the token cache is closed")
)

// Store keeps what must outlive the process. The Cache calls it for one name at
// a time, and never while it holds a lock that a reader of a valid token needs.
type Store interface {
	// Load returns the account of that name, and the token that was saved under
	// its revision; nil if there is none. Its error wraps ErrNotFound if there is
	// no such account. The token's Sent is a time of the wall clock only.
	Load(ctx context.Context, name string) (Account, *Token, error)

	// Save keeps the newest token of an account. A Save that fails is the
	// store's to report: the token is served all the same.
	Save(ctx context.Context, name string, a Account, t Token)
}

// Options are what a Cache is made of.
type Options struct {
	Store Store
	Clock Clock // nil means SystemClock

	// Flown is told of each mint that ended, after its token is served and
	// before anything else happens to the account; it must neither block nor call
	// the Cache. May be nil.
	Flown func(Flight)
}

// stripes is the number of locks that order loads, saves and writes of a name.
const stripes = 256

// storeTimeout bounds each use of the store by a flight or a load.
const storeTimeout = 10 * time.Second

// Cache holds the accounts that were read or written since it was made. It is
// safe for concurrent use.
type Cache struct {
	opts  Options
	clock Clock

	ctx    context.Context // ends with Close
	cancel context.CancelFunc

	entries sync.Map // name → *entry
	agenda  agenda
	gate    gate

	// loads makes one load out of many readers' at once. Flights do not use
	// singleflight: it lets a panic end the process, cannot tell a flight of an
	// older revision from a current one, and cannot be joined without starting.
	loads singleflight.Group

	// writing orders what is stored and what is in memory: whoever reads or
	// writes the store for a name, and then changes the name's entry, holds its
	// stripe from the one to the other. Taken before an entry's mu.
	writing [stripes]sync.Mutex
	seed    maphash.Seed
}

// New returns an empty Cache. It does nothing until it is called.
func New(opts Options) *Cache {
	if opts.Clock == nil {
		opts.Clock = SystemClock()
	}
	ctx, cancel := context.WithCancel(context.Background())
	c := &Cache{opts: opts, clock: opts.Clock, ctx: ctx, cancel: cancel, seed: maphash.MakeSeed()}
	c.gate.init()
	return c
}

// Close ends the mints under way and returns without waiting for them. Reads
// that wait for one get ErrClosed.
func (c *Cache) Close() { c.cancel() }

// stripe returns the lock that orders the stored and the held state of name.
func (c *Cache) stripe(name string) *sync.Mutex {
	return &c.writing[maphash.String(c.seed, name)%stripes]
}

// Get returns a token of the named account with at least asked of life left,
// minting one if there is none; see [span.want] for what asked counts at most. It
// waits for a mint only where there is no token that will do, and then no longer
// than ctx lives. Its error is a *Failure if there is no token and none can be
// had now; it wraps ErrNotFound if there is no such account.
func (c *Cache) Get(ctx context.Context, name string, asked time.Duration) (Grant, error) {
	for {
		e, err := c.entry(ctx, name)
		if err != nil {
			return Grant{}, err
		}
		g, err := c.get(ctx, e, asked)
		if err != errSuperseded {
			e.counts.read(g, err)
			return g, err
		}
	}
}

// entry returns the entry of the named account, from the store if need be.
func (c *Cache) entry(ctx context.Context, name string) (*entry, error) {
	if e, ok := c.entries.Load(name); ok {
		return e.(*entry), nil
	}
	loaded := c.loads.DoChan(name, func() (_ any, err error) {
		defer recovered(&err)
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

// Put makes a the named account's current one, and t, if not nil, the token in
// hand, which it also saves; t is what a.Mint has returned just now. commit, if not
// nil, runs first and stores whatever a was made of; if it fails, Put returns its
// error and forgets what is in memory, since commit may have been carried out in
// part.
//
// An account of the same revision as before keeps its token, its flight and its
// failures, unless t takes their place; otherwise all of them are gone, but for a
// Retry-After that still runs, and readers who wait get a token of the new
// revision.
func (c *Cache) Put(ctx context.Context, name string, a Account, t *Minted, commit func() error) error {
	now := c.clock() // before anything that takes time, for the sake of t
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
		t.Sent = now.Add(-t.Took)
		c.opts.Store.Save(ctx, name, a, t.Token)
	}
	e := newEntry(name)
	if old, ok := c.entries.Load(name); ok {
		e = old.(*entry)
	} else if t == nil { // there may be a token in the store: the next read loads both
		c.loads.Forget(name)
		return nil
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.account != nil && e.account.Revision() != a.Revision() {
		e.ground()
		e.held, e.rotation, e.own.proven = nil, nil, false
		e.backoff.clear(now)
		e.lastFailure = e.backoff.last
	}
	e.account = a
	switch {
	case t != nil: // no one need wait any longer
		e.ground()
		e.minted(t.Token)
	case e.held != nil: // the policy may have changed
		e.hold(e.held.Token, e.held.reads)
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

// Invalidate drops what is in memory of the named account: the store has changed
// under it. A mint under way for it is given up.
func (c *Cache) Invalidate(name string) {
	stripe := c.stripe(name)
	stripe.Lock()
	defer stripe.Unlock()
	c.forget(name)
}

// forget takes the entry of name out of memory; the caller holds its stripe.
func (c *Cache) forget(name string) {
	c.loads.Forget(name) // one that has ended, but is not yet known to have
	old, ok := c.entries.LoadAndDelete(name)
	if !ok {
		return
	}
	e := old.(*entry)
	e.mu.Lock()
	defer e.mu.Unlock()
	e.gone = true
	e.ground()
	e.held = nil
	c.publish(e)
}

// Due reports whether Tick has anything to do. It costs one lock, however many
// accounts there are.
func (c *Cache) Due() bool { return c.agenda.due(c.clock()) }

// Tick starts a refresh of each token that is in its refresh window and was read
// since it was minted, and returns without waiting for any. Its cost follows the
// tokens that are due, not the accounts there are. A token that nobody has read
// is let go: the next read that finds it in its window refreshes it.
func (c *Cache) Tick() {
	now := c.clock()
	for e := c.agenda.next(now); e != nil; e = c.agenda.next(now) {
		e.mu.Lock()
		switch {
		case e.held == nil || e.held.reads.Load() == 0:
		case e.due(now):
			c.takeOff(e, now, behind)
		default: // it has changed since, or a clock was set
			c.schedule(e, now)
		}
		e.mu.Unlock()
	}
}
