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
	// maxUnsharedMints limits how many mints of an unshared account run at once. If the password
	// becomes wrong, this many logins may fail together. Providers lock an account only after more
	// failures.
	maxUnsharedMints = 4

	// maxParked is how long a token is parked.
	maxParked = time.Minute
)

// unshared is the part of an entry that only unshared accounts use. The entry's mu guards it.
type unshared struct {
	slots  *semaphore.Weighted // maxUnsharedMints of them; nil before the first read
	proven bool                // the last mint of this revision succeeded
	probe  *mint               // the only mint that runs while proven is false; may be nil
	parked []parkedToken       // oldest first
}

// parkedToken is a token that arrived after its reader stopped waiting. The next reader gets the
// token, so a repeated read succeeds even if logins are slow.
type parkedToken struct {
	token.Token
	account Account
	at      clock.Instant
}

// unpark removes all parked tokens and returns them.
func (u *unshared) unpark() []parkedToken {
	parked := u.parked
	u.parked = nil
	return parked
}

// unparkOlder removes and returns the tokens that no reader took within maxParked.
func (u *unshared) unparkOlder(now clock.Instant) []parkedToken {
	n := 0
	for n < len(u.parked) && now.Since(u.parked[n].at) >= maxParked {
		n++
	}
	old := u.parked[:n:n]
	u.parked = u.parked[n:]
	return old
}

// takeParked removes and returns a token that another reader left and that has enough life.
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

// getUnshared mints a token for one reader. The token is neither cached nor stored. Failures count
// in the account's backoff. Before the first success and after a failure, only one mint runs at a
// time. If the reader stops waiting, the mint continues, and the next reader gets the token.
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
		if m.minted.Access != "" { // the token arrived at the same moment
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

// startUnshared waits until a mint may run, and starts the mint. If another reader left an unused
// token, startUnshared returns that token and a nil mint.
func (c *Cache) startUnshared(ctx context.Context, e *entry, asked time.Duration) (m *mint, p parkedToken, err error) {
	var slots *semaphore.Weighted // from which one slot is taken; nil if no slot is taken
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

// unsharedGrant returns the Grant of an unshared token.
func (c *Cache) unsharedGrant(a Account, t token.Token, asked time.Duration) Grant {
	cached := &cachedToken{Token: t, timeline: a.Policy().timeline(t.Lifetime), reads: new(atomic.Int64)}
	g := (&state{account: a, cached: cached}).peek(c.clock(), asked)
	g.Served = ServedWaited
	return g
}

// park keeps the token for the next reader, because the reader that started m has gone. If the
// account's revision has changed, park discards the token. The caller holds e.mu.
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

// finishUnshared records the outcome of m, a mint of an unshared account. The result is for OnMint;
// nil means that OnMint is not called.
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
	if result.Failure = m.failure; m.failure != nil {
		e.counts.failed[m.failure.Kind].Add(1)
	}
	if current {
		c.publish(e)
	}
	return &result
}
