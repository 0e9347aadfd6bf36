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
	Lifetime time.Duration // of the token, but at most the policy's MaxTTL
	Expires  time.Time     // when Left ends, on the wall clock
	MinTTL   time.Duration // the life that was enough for this read; see [timeline.want]
	Served   Served        // how this read got the token

	// Short is set if the token has less life than the read asked for, or less than MinTTL.
	Short bool

	// Memo is for data that all readers of the token share. The cache does not use Memo.
	Memo *atomic.Value

	// Rejection is the outcome of the reader's report of a rejected token. If a limit or the
	// backoff prevented a login, RejectionNext is the earliest time at which another report can
	// cause a login. Otherwise RejectionNext is zero.
	Rejection     Rejection
	RejectionNext time.Time

	// Failure says why the token was not refreshed; nil if nothing failed.
	Failure *Failure
}

// Get returns a token of the named account. asked is the remaining life that the caller needs. The
// cache raises asked to the min TTL, and lowers asked to half the token's lifetime. If the cached
// token has less life, Get waits for a mint until ctx ends or MaxWait has passed. If the mint fails
// and no token can be served, the error is a *Failure. If the account does not exist, the error
// wraps ErrNotFound.
func (c *Cache) Get(ctx context.Context, name string, asked time.Duration) (Grant, error) {
	// This code repeats the method get, because a call would make the read about 8 % slower.
	if v, ok := c.entries.Load(name); ok {
		e := v.(*entry)
		if s, now := e.published.Load(), c.clock(); s.enough(now, asked) {
			if s.due(now) {
				c.refreshInBackground(e)
			}
			g := s.grant(now, asked)
			e.counts.reads[g.Served].Add(1)
			return g, nil
		}
	}
	return c.read(ctx, name, func(ctx context.Context, e *entry) (Grant, error) {
		return c.get(ctx, e, asked)
	})
}

// read gets the named account's entry, calls try with the entry, and counts the read. If try
// returns errSuperseded, read gets the new entry and calls try again. The context of try ends with
// ctx, at Close, or after MaxWait. context.Cause tells why.
func (c *Cache) read(ctx context.Context, name string, try func(context.Context, *entry) (Grant, error)) (Grant, error) {
	e, err := c.entry(ctx, name)
	wait, cancel := context.WithTimeoutCause(ctx, MaxWait, ErrStillMinting)
	defer cancel()
	wait, end := context.WithCancelCause(wait)
	defer end(nil)
	defer context.AfterFunc(c.ctx, func() { end(ErrClosed) })()
	for ; err == nil; e, err = c.entry(ctx, name) {
		g, err := try(wait, e)
		if errors.Is(err, errSuperseded) {
			if wait.Err() == nil {
				continue
			}
			err = context.Cause(wait)
		}
		switch {
		case err == nil:
			e.counts.reads[g.Served].Add(1)
		case !errors.Is(err, ErrForwarded): // another node counts a forwarded read
			e.counts.reads[ServedNot].Add(1)
		}
		return g, err
	}
	return Grant{}, err
}

// get returns a token of e. Any wait ends with ctx.
func (c *Cache) get(ctx context.Context, e *entry, asked time.Duration) (Grant, error) {
	s, now := e.published.Load(), c.clock()
	switch {
	case s.enough(now, asked):
		if s.due(now) {
			c.refreshInBackground(e)
		}
		return s.grant(now, asked), nil
	case !s.account.Share() && !s.gone:
		return c.getUnshared(ctx, e, asked)
	}
	return c.wait(ctx, e, asked)
}

// enough reports whether a read gets the cached token at once. asked is the life that the read
// asked for.
func (s *state) enough(now clock.Instant, asked time.Duration) bool {
	left := s.cached.left(now)
	if left <= 0 {
		return false
	}
	return left >= s.cached.timeline.want(asked) ||
		left >= s.cached.timeline.minTTL && now.Since(s.cached.Sent) < newest
}

// grant returns the cached token's Grant, and counts the read.
func (s *state) grant(now clock.Instant, asked time.Duration) Grant {
	s.cached.reads.Add(1)
	return s.peek(now, asked)
}

// peek returns the cached token's Grant, and counts no read.
func (s *state) peek(now clock.Instant, asked time.Duration) (g Grant) {
	t := s.cached
	g.Token, g.Account, g.Failure, g.Memo = t.Token, s.account, s.backoff.last, &t.memo
	g.Left, g.Lifetime, g.Expires = t.left(now), t.timeline.lifetime, t.expires(now)
	g.MinTTL = t.timeline.want(asked)
	g.Short = g.Left < max(asked, g.MinTTL)
	if t.inRefreshWindow(now) || g.Left < g.MinTTL {
		g.Served = ServedStale
	}
	return g
}

// fallback serves the cached token, because no newer token is available. If the cached token has
// too little life, fallback returns err.
func (s *state) fallback(now clock.Instant, asked time.Duration, err error) (Grant, error) {
	if s.cached.left(now) < leastMinTTL {
		return Grant{}, err
	}
	return s.grant(now, asked), nil
}

// refreshInBackground starts a background refresh of an entry that is due.
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

// wait joins the running mint of e, or starts a mint. The wait ends when ctx ends. If the mint
// takes too long, the reader gets the cached token 2 s before that token ends.
func (c *Cache) wait(ctx context.Context, e *entry, asked time.Duration) (Grant, error) {
	for {
		e.mu.Lock()
		s, now := e.published.Load(), c.clock()
		if s.gone || !s.account.Share() {
			e.mu.Unlock()
			return Grant{}, errSuperseded
		}
		if s.enough(now, asked) { // another reader's mint brought the token
			e.mu.Unlock()
			return s.grant(now, asked), nil
		}
		m, retry, err := c.joinMint(e, now)
		e.mu.Unlock()
		left := s.cached.left(now)
		switch {
		case m != nil:
			if g, err := c.await(ctx, e, m, left-leastMinTTL, asked); !errors.Is(err, errSuperseded) || ctx.Err() != nil {
				return g, err
			}
		case retry > 0 && retry <= MaxWait && left < leastMinTTL && s.cached.ending(now):
			select {
			case <-time.After(retry):
				continue
			case <-ctx.Done():
			}
			if cause := context.Cause(ctx); !errors.Is(cause, ErrStillMinting) {
				err = cause
			}
			return Grant{}, err
		default:
			return s.fallback(now, asked, err)
		}
	}
}

// joinMint returns the running mint of e, or starts a mint. If no mint may start now, err says why.
// retry is then the wait until a mint may start. If the wait is unknown, retry is 0. The caller
// holds e.mu.
func (c *Cache) joinMint(e *entry, now clock.Instant) (m *mint, retry time.Duration, err error) {
	if e.mint != nil {
		return e.mint, 0, nil
	}
	if f := e.backoff.blocked(now); f != nil {
		return nil, now.Until(f.next), f
	}
	if retry := now.Until(e.notBefore); retry > 0 {
		return nil, retry, ErrStillMinting
	}
	if err := c.opts.MayMint(e.account, e.cached.lacksLife(now)); err != nil {
		return nil, 0, err
	}
	return c.startMint(e, now, foreground, nil), 0, nil
}

// ending reports whether the token is still valid, or ended less than 4 s ago. Just after the end,
// the provider may still return this token, so readers wait for the next token.
func (t *cachedToken) ending(now clock.Instant) bool {
	return t != nil && t.left(now) > -2*leastMinTTL
}

// await waits for m. If spare is positive and m takes longer than spare, the reader gets the cached
// token.
func (c *Cache) await(ctx context.Context, e *entry, m *mint, spare, asked time.Duration) (Grant, error) {
	var lastCall <-chan time.Time
	if spare > 0 {
		lastCall = time.After(spare)
	}
	select {
	case <-m.done:
		return c.waited(e, m, asked)
	case <-lastCall:
		// A token with a little life is better than none.
		if s, now := e.published.Load(), c.clock(); s.cached.left(now) > 0 {
			return s.grant(now, asked), nil
		}
		return Grant{}, errSuperseded // a config write dropped the token, or the wall clock was set
	case <-ctx.Done():
		return e.published.Load().fallback(c.clock(), asked, context.Cause(ctx))
	}
}

// waited returns the result of a read that waited for m.
func (c *Cache) waited(e *entry, m *mint, asked time.Duration) (Grant, error) {
	s, now := e.published.Load(), c.clock()
	switch {
	case m.superseded || s.gone || !s.account.Share():
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
