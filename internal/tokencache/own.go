// SPDX-License-Identifier: MPL-2.0

package tokencache

import (
	"context"
	"sync/atomic"
	"time"

	"golang.org/x/sync/semaphore"
)

// mostOwn is how many mints of one unshared account run at once. It is also how
// many logins with a password that has just gone wrong a provider may see before
// the first refusal is known, so it is well under what locks accounts.
const mostOwn = 4

// own is what an entry knows of mints for one reader alone.
type own struct {
	slots  *semaphore.Weighted // mostOwn of them
	proven bool                // the last such mint succeeded, with this revision
}

// own mints a token for one reader alone, as an account with [Policy.Unshared]
// wants it: it is neither kept nor stored. Failures and their waits are those of
// the account. Until a mint of a revision has succeeded, and after one has
// failed, one at a time tries, and the others wait for what comes of it.
//
// The mint is seen through though ctx ends, since a token that no one waits for
// would live on with no one to end it.
func (c *Cache) own(ctx context.Context, e *entry, asked time.Duration) (Grant, error) {
	e.mu.Lock()
	if e.own.slots == nil {
		e.own.slots = semaphore.NewWeighted(mostOwn)
	}
	slots, wanted := e.own.slots, int64(1)
	if !e.own.proven {
		wanted = mostOwn
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
	f := &flight{account: e.account, purpose: awaited, began: now}
	e.mu.Unlock()

	ctx, f.cancel = context.WithTimeout(c.ctx, flightTimeout)
	defer f.cancel()
	f.patience, f.hurry = context.WithCancel(ctx)
	f.hurry()
	m, err := c.mint(ctx, f)
	if err != nil && c.ctx.Err() != nil {
		return Grant{}, ErrClosed
	}
	ended := c.landOwn(e, f, m, err)
	e.counts.mint(ended)
	c.tell(ended)
	if ended.Failure != nil {
		return Grant{}, ended.Failure
	}
	h := &held{Token: m.Token, span: f.account.Policy().span(m.Lifetime), reads: new(atomic.Int64)}
	g := (&view{account: f.account, held: h}).peek(c.clock(), asked)
	g.Served = ServedWaited
	return g, nil
}

// landOwn counts the outcome of a mint for one reader.
func (c *Cache) landOwn(e *entry, f *flight, m Minted, err error) Flight {
	e.mu.Lock()
	defer e.mu.Unlock()
	now := c.clock()
	ended := Flight{Name: e.name, Account: f.account, Own: true, Took: now.Mono - f.began.Mono}
	if last := e.backoff.last; last != nil {
		ended.After = last.Failures
	}
	current := !e.gone && e.account.Revision() == f.account.Revision()
	switch {
	case !current && err == nil:
		return ended // it was asked for before the account changed
	case !current:
		ended.Failure = new(backoff).failed(now, err)
		return ended
	case err == nil:
		e.mints++
		e.own.proven = true
		e.backoff = backoff{}
	case e.backoff.blocked(now) != nil: // one of those that ran beside it was faster
		e.own.proven = false
		ended.Failure = e.backoff.last
	default:
		e.own.proven = false
		ended.Failure = e.backoff.failed(now, err)
		e.lastFailure = ended.Failure
	}
	c.publish(e)
	return ended
}
