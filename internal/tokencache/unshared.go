// SPDX-License-Identifier: MPL-2.0

package tokencache

import (
	"context"
	"errors"
	"slices"
	"sync/atomic"
	"time"

	"golang.org/x/sync/semaphore"

	"vault-plugin-secrets-messaging/internal/clock"
	"vault-plugin-secrets-messaging/internal/token"
)

const (
	// maxUnsharedMints limits the concurrent mints of one unshared account. If the password is
	// wrong, the provider sees up to this many logins before the first refusal is known. The
	// limit is well below what locks accounts.
	maxUnsharedMints = 4

	// maxParked is how long a token whose reader is gone waits for another reader.
	maxParked = time.Minute
)

// unshared is what an entry knows of its unshared mints.
type unshared struct {
	slots  *semaphore.Weighted // maxUnsharedMints of them; nil before the first read
	proven bool                // the last unshared mint of this revision succeeded
	probe  *mint               // the mint that runs alone until one is proven
	parked []parkedToken       // oldest first
}

// parkedToken is an unshared token whose reader stopped waiting. The next reader gets the
// token, so a client that repeats its read succeeds even if logins are slow.
type parkedToken struct {
	token.Token
	account Account
	at      clock.Instant
}

// unpark removes the parked tokens and returns them; the caller holds e.mu.
func (u *unshared) unpark() []parkedToken {
	parked := u.parked
	u.parked = nil
	return parked
}

// unparkOlder removes the tokens that have been parked for maxParked and returns them; the
// caller holds e.mu.
func (u *unshared) unparkOlder(now clock.Instant) []parkedToken {
	i := slices.IndexFunc(u.parked, func(p parkedToken) bool { return now.Since(p.at) < maxParked })
	if i < 0 {
		return u.unpark()
	}
	old := u.parked[:i:i]
	u.parked = u.parked[i:]
	return old
}

// takeParked removes a parked token with enough life and returns it; the caller holds e.mu.
func (u *unshared) takeParked(now clock.Instant, asked time.Duration) (parkedToken, bool) {
	for i, p := range u.parked {
		timeline := p.account.Policy().timeline(p.Lifetime)
		if timeline.lifetime-now.Since(p.Sent) >= timeline.want(asked) {
			u.parked = slices.Delete(u.parked, i, i+1)
			return p, true
		}
	}
	return parkedToken{}, false
}

// getUnshared mints a token for one reader. The token is not cached or stored, but failures
// count in the account's backoff. Before the first success and after a failure, only one mint
// runs, and other readers wait for its result. If ctx ends first, the mint continues and its
// token is parked for the next reader.
func (c *Cache) getUnshared(ctx context.Context, e *entry, asked time.Duration) (Grant, error) {
	m, p, err := c.startUnshared(ctx, e, asked)
	switch {
	case err != nil:
		return Grant{}, err
	case m == nil:
		return c.unsharedGrant(p.account, p.Token, asked), nil
	}
	select {
	case <-m.done:
	case <-ctx.Done():
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if ctx.Err() != nil {
		m.abandoned = true
		if m.minted.Access != "" { // it arrived at the same moment
			c.park(e, m)
		}
		return Grant{}, context.Cause(ctx)
	}
	switch {
	case m.superseded:
		return Grant{}, errSuperseded
	case m.failure != nil:
		return Grant{}, m.failure
	case m.noSlot:
		return Grant{}, ErrStillMinting
	}
	return c.unsharedGrant(m.account, m.minted, asked), nil
}

// startUnshared waits until the reader's mint may run, and starts it. If a token is parked, it
// returns that token instead.
func (c *Cache) startUnshared(ctx context.Context, e *entry, asked time.Duration) (m *mint, p parkedToken, err error) {
	var slots *semaphore.Weighted // one of them is taken; nil if none is
	defer func() {
		if slots != nil && m == nil {
			slots.Release(1)
		}
	}()
	for {
		e.mu.Lock()
		if e.unshared.slots == nil {
			e.unshared.slots = semaphore.NewWeighted(maxUnsharedMints)
		}
		now := c.clock()
		if e.gone || e.account.Share() {
			e.mu.Unlock()
			return nil, p, errSuperseded
		}
		if p, ok := e.unshared.takeParked(now, asked); ok {
			e.mu.Unlock()
			return nil, p, nil
		}
		if failure := e.backoff.blocked(now); failure != nil {
			e.mu.Unlock()
			return nil, p, failure
		}
		all, probe := e.unshared.slots, e.unshared.probe
		if slots == all && (e.unshared.proven || probe == nil) {
			m = c.startMint(e, now, unsharedRead, func() { all.Release(1) })
			if !e.unshared.proven {
				e.unshared.probe = m
			}
			e.mu.Unlock()
			return m, p, nil
		}
		e.mu.Unlock()
		if slots != all {
			if slots != nil { // of an old revision
				slots.Release(1)
			}
			if slots = nil; all.Acquire(ctx, 1) == nil {
				slots = all
			}
		} else if probe != nil {
			select {
			case <-probe.done:
			case <-ctx.Done():
			}
		}
		if ctx.Err() != nil {
			return nil, p, context.Cause(ctx)
		}
	}
}

// unsharedGrant returns the grant of a token to its one reader.
func (c *Cache) unsharedGrant(a Account, t token.Token, asked time.Duration) Grant {
	cached := &cachedToken{Token: t, timeline: a.Policy().timeline(t.Lifetime), reads: new(atomic.Int64)}
	g := (&snapshot{account: a, cached: cached}).peek(c.clock(), asked)
	g.Served = ServedWaited
	return g
}

// park keeps the token of m for the next reader, if the account is still the same, and
// otherwise gives it up; the caller holds e.mu.
func (c *Cache) park(e *entry, m *mint) {
	p := parkedToken{m.minted, m.account, c.clock()}
	m.minted = token.Token{}
	if e.gone || c.ctx.Err() != nil || e.account.Revision() != m.account.Revision() {
		c.discardLater([]parkedToken{p})
		return
	}
	e.unshared.parked = append(e.unshared.parked, p)
	c.publish(e)
}

// finishUnshared ends m, a mint for one reader, and records its outcome. It returns nil if
// there is nothing to report.
func (c *Cache) finishUnshared(e *entry, m *mint, t token.Token, err error) *MintResult {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.unshared.probe == m {
		e.unshared.probe = nil
	}
	current := !e.gone && e.account.Revision() == m.account.Revision() && c.ctx.Err() == nil
	m.ended, m.noSlot = c.clock(), errors.Is(err, errNoSlot)
	if m.superseded = err != nil && !current; m.superseded || m.noSlot {
		return nil
	}
	result := e.result(m)
	switch {
	case err == nil:
		m.minted = t
		if m.abandoned {
			c.park(e, m)
		}
		if current {
			e.mints++
			e.unshared.proven = true
			e.backoff = backoff{}
		}
	case e.backoff.blocked(m.ended) != nil: // a concurrent mint failed first
		m.failure = e.backoff.last
	default:
		m.failure = e.backoff.failed(m.ended, err)
		e.lastFailure = m.failure
		e.unshared.proven = false
	}
	result.Failure = m.failure
	e.counts.mint(result)
	if current {
		c.publish(e)
	}
	return &result
}
