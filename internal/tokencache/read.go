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

	// Short reports that Left is less than the read asked for, and that no newer token
	// can be had.
	Short bool

	// Memo lets a reader keep what it derives from the token for the next reader of the
	// token. The cache does not use Memo.
	Memo *atomic.Value

	// Replaced is, after Rotate, the token that Token replaced; nil if there was none.
	Replaced *token.Token

	// Failure says why the token was not refreshed; nil if nothing failed.
	Failure *Failure
}

// Get returns a token of the named account with at least asked of life left, minting
// one if there is none; see [timeline.want] for how much of asked counts. Get waits for a
// mint only if no token with enough life is cached, and at most until ctx ends. The error
// is a *Failure if there is no token and none can be had now. It wraps ErrNotFound if
// there is no such account.
func (c *Cache) Get(ctx context.Context, name string, asked time.Duration) (Grant, error) {
	for {
		e, err := c.entry(ctx, name)
		if err != nil {
			return Grant{}, err
		}
		g, err := c.get(ctx, e, asked)
		if !errors.Is(err, errSuperseded) {
			e.counts.read(g, err)
			return g, err
		}
	}
}

func (c *Cache) get(ctx context.Context, e *entry, asked time.Duration) (Grant, error) {
	s, now := e.snapshot.Load(), c.clock()
	if s.gone {
		return Grant{}, errSuperseded
	}
	if !s.share {
		return c.getUnshared(ctx, e, asked)
	}
	if !s.enough(now, asked) {
		return c.wait(ctx, e, asked)
	}
	if s.cached.inRefreshWindow(now) && !s.minting && !s.failure.blocks(now) {
		c.refreshInBackground(e)
	}
	return s.grant(now, asked), nil
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

// grant counts a read of the cached token and returns what the reader gets.
func (s *snapshot) grant(now clock.Instant, asked time.Duration) Grant {
	s.cached.reads.Add(1)
	return s.peek(now, asked)
}

// peek is grant without counting a read.
func (s *snapshot) peek(now clock.Instant, asked time.Duration) Grant {
	t := s.cached
	g := Grant{
		Token:    t.Token,
		Account:  s.account,
		Left:     t.left(now),
		Lifetime: t.timeline.lifetime,
		Expires:  t.expires(now),
		MinTTL:   t.timeline.want(asked),
		Memo:     &t.memo,
	}
	g.Short = g.Left < max(asked, g.MinTTL)
	due := t.inRefreshWindow(now)
	if g.Short || due {
		g.Failure = s.failure
	}
	if due || g.Left < g.MinTTL {
		g.Served = ServedStale
	}
	return g
}

// fallback serves the cached token although the read asked for more life, because no
// better token can be had. If the token has too little life, fallback returns err, which
// says why.
func (s *snapshot) fallback(now clock.Instant, asked time.Duration, err error) (Grant, error) {
	if s.cached.left(now) < leastMinTTL {
		return Grant{}, err
	}
	return s.grant(now, asked), nil
}

// refreshInBackground starts a refresh, unless another reader already did.
func (c *Cache) refreshInBackground(e *entry) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if now := c.clock(); e.due(now) {
		c.startMint(e, now, background)
	}
}

// due reports whether the cached token is in its refresh window and nothing prevents a
// refresh; the caller holds e.mu.
func (e *entry) due(now clock.Instant) bool {
	return e.mint == nil && e.backoff.blocked(now) == nil && e.cached.left(now) > 0 && e.cached.inRefreshWindow(now)
}

// wait joins the running mint of e, or starts one, and waits for its result. It gives up
// when ctx ends, or when the cached token is about to have too little life to be served.
func (c *Cache) wait(ctx context.Context, e *entry, asked time.Duration) (Grant, error) {
	e.mu.Lock()
	s, now := e.snapshot.Load(), c.clock()
	if s.gone {
		e.mu.Unlock()
		return Grant{}, errSuperseded
	}
	if s.enough(now, asked) { // another reader's mint brought a token
		e.mu.Unlock()
		return s.grant(now, asked), nil
	}
	m := e.mint
	if m == nil {
		if failure := e.backoff.blocked(now); failure != nil {
			e.mu.Unlock()
			return s.fallback(now, asked, failure)
		}
		m = c.startMint(e, now, foreground)
	}
	m.promote()
	e.mu.Unlock()

	var lastCall <-chan time.Time
	if spare := s.cached.left(now) - leastMinTTL; spare > 0 {
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
		return e.snapshot.Load().fallback(c.clock(), asked, ctx.Err())
	case <-c.ctx.Done():
		return Grant{}, ErrClosed
	}
}

// waited returns the result of a read that waited for m.
func (c *Cache) waited(e *entry, m *mint, asked time.Duration) (Grant, error) {
	s, now := e.snapshot.Load(), c.clock()
	switch {
	case m.superseded || s.gone:
		return Grant{}, errSuperseded
	case m.failure != nil:
		return s.fallback(now, asked, m.failure)
	case s.cached.left(now) <= 0: // the token ended meanwhile
		return Grant{}, errSuperseded
	}
	g := s.grant(now, asked)
	g.Served = ServedWaited
	return g, nil
}
