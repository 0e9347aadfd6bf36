// SPDX-License-Identifier: MPL-2.0

package tokencache

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"time"
)

// errSuperseded tells Get and Rotate that the entry has another account by now,
// or is gone, and that they have to begin again.
var errSuperseded = errors.New("superseded")

// entry is the state of one account. Readers of a token that will do take no
// lock: they read its view, which whoever changes the entry publishes anew.
type entry struct {
	name string
	view atomic.Pointer[view]

	mu          sync.Mutex
	gone        bool // out of the cache; the store may have another account
	account     Account
	held        *held   // nil if there is no token
	flight      *flight // nil if no mint is under way
	backoff     backoff
	lastFailure *Failure // of this revision; stays when mints succeed again
	mints       int64    // that succeeded, since the entry was made

	rotation *flight // the last one that a rotate began or joined
	own      own

	slot slot // what the agenda knows of the entry; guarded by the agenda

	counts counts
}

func newEntry(name string) *entry {
	e := &entry{name: name}
	e.slot.entry = e
	return e
}

// view is an entry as readers see it. It does not change once published.
type view struct {
	gone    bool
	account Account
	held    *held
	flying  bool
	own     bool     // the account's tokens are not shared
	failure *Failure // the last one, if nothing succeeded since
}

// publish shows readers the entry as it is now, and tells the agenda; the caller
// holds e.mu.
func (c *Cache) publish(e *entry) {
	e.view.Store(&view{
		gone:    e.gone,
		account: e.account,
		own:     e.account.Policy().Unshared,
		held:    e.held,
		flying:  e.flight != nil,
		failure: e.backoff.last,
	})
	c.schedule(e, c.clock())
}

// hold takes t in hand, whose reads are counted in reads; the caller holds e.mu.
func (e *entry) hold(t Token, reads *atomic.Int64) {
	e.held = &held{Token: t, span: e.account.Policy().span(t.Lifetime), reads: reads}
}

// minted takes a token in hand that was minted just now; the caller holds e.mu.
func (e *entry) minted(t Token) {
	e.hold(t, new(atomic.Int64))
	e.mints++
	e.backoff = backoff{}
}

// restore takes a token in hand that was stored; the caller holds e.mu. A token
// from the future (a clock was set back, or another node's is ahead) may be dead
// without our clock telling, so it is dropped.
func (e *entry) restore(now Instant, t Token) {
	t.Sent = now.At(t.Sent.Wall)
	if now.Since(t.Sent) >= -leastMinTTL {
		e.hold(t, new(atomic.Int64))
	}
}

// enough reports whether the token in hand will do for a read that asks for so
// much life.
func (v *view) enough(now Instant, asked time.Duration) bool {
	left := v.held.left(now)
	if left <= 0 {
		return false
	}
	return left >= v.held.span.want(asked) ||
		left >= v.held.span.minTTL && now.Since(v.held.Sent) < newest
}

// grant counts a read of the token in hand and returns what it gets.
func (v *view) grant(now Instant, asked time.Duration) Grant {
	v.held.reads.Add(1)
	return v.peek(now, asked)
}

// peek is grant, uncounted.
func (v *view) peek(now Instant, asked time.Duration) Grant {
	h := v.held
	g := Grant{
		Token:    h.Token,
		Account:  v.account,
		Left:     h.left(now),
		Lifetime: h.span.lifetime,
		Expires:  h.expires(now),
		MinTTL:   h.span.want(asked),
	}
	g.Short = g.Left < max(asked, g.MinTTL)
	due := now.Since(h.Sent) >= h.span.refreshAt
	if g.Short || due {
		g.Failure = v.failure
	}
	if due || g.Left < g.MinTTL {
		g.Served = ServedStale
	}
	return g
}

// fallback serves what is in hand, though it is less than the read wanted, since
// no better token can be had: err says why.
func (v *view) fallback(now Instant, asked time.Duration, err error) (Grant, error) {
	if v.held.left(now) < leastMinTTL {
		return Grant{}, err
	}
	return v.grant(now, asked), nil
}

func (c *Cache) get(ctx context.Context, e *entry, asked time.Duration) (Grant, error) {
	v, now := e.view.Load(), c.clock()
	if v.gone {
		return Grant{}, errSuperseded
	}
	if v.own {
		return c.own(ctx, e, asked)
	}
	if !v.enough(now, asked) {
		return c.wait(ctx, e, asked)
	}
	if now.Since(v.held.Sent) >= v.held.span.refreshAt && !v.flying && !v.failure.blocks(now) {
		c.refreshBehind(e)
	}
	return v.grant(now, asked), nil
}

// refreshBehind begins a refresh that no one waits for, unless someone was faster.
func (c *Cache) refreshBehind(e *entry) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if now := c.clock(); e.due(now) {
		c.takeOff(e, now, behind)
	}
}

// due reports whether the token in hand is in its refresh window and nothing
// stands in the way of a refresh; the caller holds e.mu.
func (e *entry) due(now Instant) bool {
	return e.flight == nil && e.backoff.blocked(now) == nil &&
		e.held.left(now) > 0 && now.Since(e.held.Sent) >= e.held.span.refreshAt
}

// wait joins the flight of e, or begins one, and waits for it: as long as ctx
// lives, or until a token in hand is about to be too old to be served at all.
func (c *Cache) wait(ctx context.Context, e *entry, asked time.Duration) (Grant, error) {
	e.mu.Lock()
	v, now := e.view.Load(), c.clock()
	if v.gone {
		e.mu.Unlock()
		return Grant{}, errSuperseded
	}
	if v.enough(now, asked) { // someone was faster
		e.mu.Unlock()
		return v.grant(now, asked), nil
	}
	f := e.flight
	if f == nil {
		if failure := e.backoff.blocked(now); failure != nil {
			e.mu.Unlock()
			return v.fallback(now, asked, failure)
		}
		f = c.takeOff(e, now, awaited)
	}
	f.hurry()
	e.mu.Unlock()

	var lastCall <-chan time.Time
	if spare := v.held.left(now) - leastMinTTL; spare > 0 {
		timer := time.NewTimer(spare)
		defer timer.Stop()
		lastCall = timer.C
	}
	select {
	case <-f.done:
		return c.landed(e, f, asked)
	case <-lastCall:
		// A token with a little life is better than a provider that takes its time.
		if v, now := e.view.Load(), c.clock(); v.held.left(now) > 0 {
			return v.grant(now, asked), nil
		}
		return Grant{}, errSuperseded // by a write, or the wall clock was set: begin again
	case <-ctx.Done():
		return e.view.Load().fallback(c.clock(), asked, ctx.Err())
	case <-c.ctx.Done():
		return Grant{}, ErrClosed
	}
}

// landed returns what a read gets that has waited for f.
func (c *Cache) landed(e *entry, f *flight, asked time.Duration) (Grant, error) {
	v, now := e.view.Load(), c.clock()
	switch {
	case f.superseded || v.gone:
		return Grant{}, errSuperseded
	case f.failure != nil:
		return v.fallback(now, asked, f.failure)
	case v.held.left(now) <= 0: // between the landing and now: begin again
		return Grant{}, errSuperseded
	}
	g := v.grant(now, asked)
	g.Served = ServedWaited
	return g, nil
}
