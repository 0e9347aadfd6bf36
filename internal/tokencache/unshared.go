// SPDX-License-Identifier: MPL-2.0

package tokencache

import (
	"context"
	"sync/atomic"
	"time"

	"golang.org/x/sync/semaphore"

	"vault-plugin-secrets-messaging/internal/token"
)

// maxUnsharedMints is how many mints of one unshared account run at once. When a password
// becomes wrong, that many logins may fail, so the number is well below what locks accounts.
const maxUnsharedMints = 4

// unshared is what an entry knows of its unshared mints.
type unshared struct {
	slots  *semaphore.Weighted // maxUnsharedMints of them
	proven bool                // the last unshared mint of this revision succeeded
}

// getUnshared mints a token for one reader. The token is neither kept nor stored; the
// backoff is the account's. Until a mint of the revision succeeds, and after a mint
// fails, one mint runs at a time and other readers wait for its result.
//
// If ctx ends during the mint, getUnshared still returns the token, because only its
// caller can revoke the token.
func (c *Cache) getUnshared(ctx context.Context, e *entry, asked time.Duration) (Grant, error) {
	e.mu.Lock()
	if e.unshared.slots == nil {
		e.unshared.slots = semaphore.NewWeighted(maxUnsharedMints)
	}
	slots, wanted := e.unshared.slots, int64(1)
	if !e.unshared.proven {
		wanted = maxUnsharedMints
	}
	e.mu.Unlock()

	if err := slots.Acquire(ctx, wanted); err != nil {
		return Grant{}, err
	}
	defer slots.Release(wanted)

	e.mu.Lock()
	if e.gone {
		e.mu.Unlock()
		return Grant{}, errSuperseded
	}
	now := c.clock()
	if failure := e.backoff.blocked(now); failure != nil {
		e.mu.Unlock()
		return Grant{}, failure
	}
	m := c.startMint(e, now, unsharedRead)
	e.mu.Unlock()

	<-m.done
	switch {
	case m.superseded:
		return Grant{}, ErrClosed
	case m.failure != nil:
		return Grant{}, m.failure
	}
	t := &cachedToken{Token: m.minted, timeline: m.account.Policy().timeline(m.minted.Lifetime), reads: new(atomic.Int64)}
	g := (&snapshot{account: m.account, cached: t}).peek(c.clock(), asked)
	g.Served = ServedWaited
	return g, nil
}

// finishUnshared ends m, a mint for one reader, and records its outcome. It returns nil if
// the cache was closed meanwhile.
func (c *Cache) finishUnshared(e *entry, m *mint, t token.Token, err error) *MintResult {
	if err != nil && c.ctx.Err() != nil {
		m.superseded = true
		return nil
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	m.ended, m.minted = c.clock(), t
	result := e.result(m)
	current := !e.gone && e.account.Revision() == m.account.Revision()
	switch {
	case !current && err == nil: // the account changed after the reader asked
		return &result
	case !current:
		m.failure = new(backoff).failed(m.ended, err)
	case err == nil:
		e.mints++
		e.unshared.proven = true
		e.backoff = backoff{}
	case e.backoff.blocked(m.ended) != nil: // a concurrent mint failed first
		e.unshared.proven = false
		m.failure = e.backoff.last
	default:
		e.unshared.proven = false
		m.failure = e.backoff.failed(m.ended, err)
		e.lastFailure = m.failure
	}
	result.Failure = m.failure
	e.counts.mint(result)
	if current {
		c.publish(e)
	}
	return &result
}
