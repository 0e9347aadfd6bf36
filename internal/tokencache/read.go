// SPDX-License-Identifier: MPL-2.0

package tokencache

import (
	"context"
	"errors"
	"sync/atomic"
	"time"

	"vault-plugin-secrets-messaging/internal/clock"
	"vault-plugin-secrets-messaging/internal/token"
)

// Grant is a token as one read gets it.
type Grant struct {
	Token   token.Token
	Account Account

	Left     time.Duration // how long the token may still be used; positive
	Lifetime time.Duration // of the token, cut to the account's MaxTTL
	Expires  time.Time     // when Left ends, on the wall clock
	MinTTL   time.Duration // the life that counted as enough for this read
	Served   Served        // how this read got the token

	// Short reports that Left is less than the read asked for, because no newer token is
	// available.
	Short bool

	// Memo lets a reader keep data that it derived from the token for later readers of the same
	// token. The cache does not use Memo.
	Memo *atomic.Value

	// Rejection is the result of the reader's report that the provider rejected the token.
	// RejectionNext is when the next report can be honored; zero means at once.
	Rejection     Rejection
	RejectionNext time.Time

	// Failure says why the token was not refreshed; nil if nothing failed.
	Failure *Failure
}

// Get returns a token of the named account with at least asked of life left (see
// [timeline.want] for the limits of asked). If no cached token has enough life, Get waits for a
// mint until ctx ends or MaxWait has passed. If no token can be had, the error is a *Failure.
// If the account does not exist, the error wraps ErrNotFound.
func (c *Cache) Get(ctx context.Context, name string, asked time.Duration) (Grant, error) {
	if v, ok := c.entries.Load(name); ok {
		e := v.(*entry)
		if s, now := e.snapshot.Load(), c.clock(); s.enough(now, asked) {
			c.refreshIfDue(e, s, now)
			g := s.grant(now, asked)
			e.counts.read(g.Served, nil)
			return g, nil
		}
	}
	e, err := c.entry(ctx, name)
	wait, cancel := c.bounded(ctx)
	defer cancel()
	for ; err == nil; e, err = c.entry(ctx, name) {
		g, err := c.get(wait, e, asked)
		if !errors.Is(err, errSuperseded) || wait.Err() != nil {
			return e.counted(wait, g, err)
		}
	}
	return Grant{}, err
}

// counted counts a read and returns its result. It replaces errSuperseded by the cause of ctx.
func (e *entry) counted(ctx context.Context, g Grant, err error) (Grant, error) {
	if errors.Is(err, errSuperseded) {
		err = context.Cause(ctx)
	}
	e.counts.read(g.Served, err)
	return g, err
}

// get returns a token of e, and waits for one until ctx ends.
func (c *Cache) get(ctx context.Context, e *entry, asked time.Duration) (Grant, error) {
	s, now := e.snapshot.Load(), c.clock()
	switch {
	case s.enough(now, asked):
		c.refreshIfDue(e, s, now)
		return s.grant(now, asked), nil
	case !s.share && !s.gone:
		return c.getUnshared(ctx, e, asked)
	}
	return c.wait(ctx, e, asked)
}

// refreshIfDue starts a background refresh of e if the snapshot s is due for a refresh.
func (c *Cache) refreshIfDue(e *entry, s *snapshot, now clock.Instant) {
	if s.cached.inRefreshWindow(now) && !s.minting && !s.failure.blocks(now) && now.Mono >= s.notBefore.Mono {
		c.refreshInBackground(e)
	}
}

// bounded returns a context that ends with ctx, when the cache closes, or after MaxWait. The
// cause of the context tells these apart.
func (c *Cache) bounded(ctx context.Context) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithTimeoutCause(ctx, MaxWait, ErrStillMinting)
	ctx, end := context.WithCancelCause(ctx)
	stop := context.AfterFunc(c.ctx, func() { end(ErrClosed) })
	return ctx, func() {
		stop()
		end(nil)
		cancel()
	}
}

// enough reports whether the cached token has enough life for a read that asks for
// asked.
func (s *snapshot) enough(now clock.Instant, asked time.Duration) bool {
	left := s.cached.left(now)
	if left <= 0 {
		return false
	}
	return left >= s.cached.timeline.want(asked) ||
		left >= s.cached.timeline.minTTL && now.Since(s.cached.Sent) < newest
}

// minTTL returns the least life with which the cached token is served; 0 without a token.
func (s *snapshot) minTTL() time.Duration {
	if s.cached == nil {
		return 0
	}
	return s.cached.timeline.minTTL
}

// grant counts a read of the cached token and returns what the reader gets.
func (s *snapshot) grant(now clock.Instant, asked time.Duration) Grant {
	s.cached.reads.Add(1)
	return s.peek(now, asked)
}

// peek is grant without counting a read.
func (s *snapshot) peek(now clock.Instant, asked time.Duration) (g Grant) {
	t := s.cached
	g.Token, g.Account, g.Failure, g.Memo = t.Token, s.account, s.failure, &t.memo
	g.Left, g.Lifetime, g.Expires = t.left(now), t.timeline.lifetime, t.expires(now)
	g.MinTTL = t.timeline.want(asked)
	g.Short = g.Left < max(asked, g.MinTTL)
	if t.inRefreshWindow(now) || g.Left < g.MinTTL {
		g.Served = ServedStale
	}
	return g
}

// fallback serves the cached token although the read asked for more life, because no better token
// is available. If the cached token has too little life to be served, fallback returns err.
func (s *snapshot) fallback(now clock.Instant, asked time.Duration, err error) (Grant, error) {
	if s.cached.left(now) < leastMinTTL {
		return Grant{}, err
	}
	return s.grant(now, asked), nil
}

// refreshInBackground starts a refresh, unless another reader already did.
func (c *Cache) refreshInBackground(e *entry) {
	e.mu.Lock()
	if now := c.clock(); e.due(now) {
		c.refresh(e, now)
	}
	waits, host := e.waiting, e.account.Host()
	e.mu.Unlock()
	if waits { // the slot may have become free before the refresh began to wait
		c.startWaiting(host)
	}
}

// due reports whether the cached token is in its refresh window and nothing prevents a
// refresh; the caller holds e.mu.
func (e *entry) due(now clock.Instant) bool {
	return e.mint == nil && !e.waiting && e.backoff.blocked(now) == nil && e.cached.left(now) > 0 &&
		e.cached.inRefreshWindow(now) && now.Mono >= e.notBefore.Mono
}

// wait joins or starts the mint of e, and waits for its result. It gives up when ctx ends, or
// when the cached token would soon have too little life to be served.
func (c *Cache) wait(ctx context.Context, e *entry, asked time.Duration) (Grant, error) {
	for {
		e.mu.Lock()
		s, now := e.snapshot.Load(), c.clock()
		if s.gone || !s.share {
			e.mu.Unlock()
			return Grant{}, errSuperseded
		}
		if s.enough(now, asked) { // another reader's mint brought it
			e.mu.Unlock()
			return s.grant(now, asked), nil
		}
		if e.mint == nil {
			if retry, err := e.postponed(now); retry > 0 {
				e.mu.Unlock()
				if s.cached.left(now) >= leastMinTTL || !s.cached.ending(now) || retry > MaxWait {
					return s.fallback(now, asked, err)
				}
				if !sleep(ctx, retry) {
					return Grant{}, gaveUp(ctx, err)
				}
				continue
			}
			if err := c.mayMint(e, s.cached.left(now) < s.minTTL()); err != nil {
				e.mu.Unlock()
				return s.fallback(now, asked, err)
			}
			c.startMint(e, now, foreground, nil)
		}
		m := e.mint
		e.mu.Unlock()
		if g, err := c.await(ctx, e, m, s, asked); !errors.Is(err, errSuperseded) || ctx.Err() != nil {
			return g, err
		}
	}
}

// postponed returns how long no mint may start, and the reason. The caller holds e.mu.
func (e *entry) postponed(now clock.Instant) (time.Duration, error) {
	if f := e.backoff.blocked(now); f != nil {
		return now.Until(f.next), f
	}
	return now.Until(e.notBefore), ErrStillMinting
}

// ending reports whether the token is about to end or has just ended. A provider may still
// return that token then, so readers wait for the next token instead of failing.
func (t *cachedToken) ending(now clock.Instant) bool {
	return t != nil && t.left(now) > -2*leastMinTTL
}

// sleep waits for d and reports whether ctx did not end first.
func sleep(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// gaveUp returns the error of a reader whose ctx ended while the reader waited because of err.
func gaveUp(ctx context.Context, err error) error {
	if cause := context.Cause(ctx); !errors.Is(cause, ErrStillMinting) {
		return cause
	}
	return err
}

// await waits for m; s is the entry as the reader found it.
func (c *Cache) await(ctx context.Context, e *entry, m *mint, s *snapshot, asked time.Duration) (Grant, error) {
	var lastCall <-chan time.Time
	if spare := s.cached.left(c.clock()) - leastMinTTL; spare > 0 {
		timer := time.NewTimer(spare)
		defer timer.Stop()
		lastCall = timer.C
	}
	select {
	case <-m.done:
		return c.waited(e, m, asked)
	case <-lastCall:
		// A token with a little life is better than none.
		if s, now := e.snapshot.Load(), c.clock(); s.cached.left(now) > 0 {
			return s.grant(now, asked), nil
		}
		return Grant{}, errSuperseded // by a config write, or the wall clock was set
	case <-ctx.Done():
		return e.snapshot.Load().fallback(c.clock(), asked, context.Cause(ctx))
	}
}

// waited returns the result of a read that waited for m.
func (c *Cache) waited(e *entry, m *mint, asked time.Duration) (Grant, error) {
	s, now := e.snapshot.Load(), c.clock()
	switch {
	case m.superseded || s.gone || !s.share:
		return Grant{}, errSuperseded
	case m.noSlot:
		return s.fallback(now, asked, ErrStillMinting)
	case m.failure != nil:
		return s.fallback(now, asked, m.failure)
	case s.cached.left(now) <= 0, m.again && s.cached.left(now) < leastMinTTL: // wait for the next token
		return Grant{}, errSuperseded
	}
	g := s.grant(now, asked)
	g.Served = ServedWaited
	return g, nil
}
