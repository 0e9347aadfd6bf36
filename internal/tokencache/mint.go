// SPDX-License-Identifier: MPL-2.0

package tokencache

import (
	"context"
	"errors"
	"fmt"
	"time"

	"vault-plugin-secrets-messaging/internal/clock"
	"vault-plugin-secrets-messaging/internal/secret"
	"vault-plugin-secrets-messaging/internal/token"
)

// mintTimeout bounds a mint. An Account has timeouts of its own; mintTimeout is for an
// Account whose timeouts fail.
const mintTimeout = 2 * time.Minute

// purpose is why a mint was started.
type purpose int

const (
	foreground   purpose = iota // a reader waits for it
	background                  // a refresh for which no reader waits
	rotation                    // an operator wants another token: log in, do not refresh
	unsharedRead                // one reader waits for a token that it will not share
)

// mint is one running mint. It belongs to the cache: if the reader that started it gives
// up, the mint continues.
type mint struct {
	account Account
	purpose purpose
	started clock.Instant
	cancel  context.CancelFunc

	// demoted ends when promote is called. Until promoted, a mint is a background
	// refresh and also needs one of its host's background slots.
	demoted context.Context
	promote context.CancelFunc

	refresh  secret.String // the refresh token to use; "" to log in
	previous time.Duration // the lifetime of the token to be replaced; 0 if there is none

	// The fields below are set before done is closed.
	done       chan struct{}
	superseded bool     // the mint's account is no longer the current one
	failure    *Failure // nil if the mint succeeded
	ended      clock.Instant
	minted     token.Token  // of an unshared mint that succeeded
	replaced   *token.Token // the shared token that the new token replaced; nil if there was none
}

// MintResult is the outcome of a mint, for logs, metrics and events.
type MintResult struct {
	Name           string
	Account        Account
	Rotated        bool          // started by Rotate
	Unshared       bool          // for one reader
	Took           time.Duration // on the monotonic clock, including the wait for a slot
	Failure        *Failure      // nil if the mint succeeded
	FailuresBefore int           // consecutive failures before this mint
}

// startMint starts a mint for e; the caller holds e.mu. The caller has made sure that no
// other mint of a shared token runs.
func (c *Cache) startMint(e *entry, now clock.Instant, p purpose) *mint {
	ctx, cancel := context.WithTimeout(c.ctx, mintTimeout)
	m := &mint{account: e.account, purpose: p, started: now, cancel: cancel, done: make(chan struct{})}
	m.demoted, m.promote = context.WithCancel(ctx)
	if p != background {
		m.promote()
	}
	if p == foreground || p == background {
		if e.cached != nil {
			m.refresh, m.previous = e.cached.refreshToken(now), e.cached.Lifetime
		}
	}
	if p != unsharedRead {
		e.mint = m
		c.publish(e)
	}
	go func() {
		defer cancel()
		t, err := c.exchange(ctx, m)
		if result := c.finishMint(ctx, e, m, t, err); result != nil {
			c.report(*result)
		}
		if p == unsharedRead {
			close(m.done)
		}
	}()
	return m
}

// supersede gives up the running mint of e, if there is one; the caller holds e.mu.
// Readers that wait for the mint start over at once.
func (e *entry) supersede() {
	if m := e.mint; m != nil {
		m.superseded = true
		m.cancel()
		close(m.done)
		e.mint = nil
	}
}

// exchange asks the provider for a token, once the limiter allows it.
func (c *Cache) exchange(ctx context.Context, m *mint) (t token.Token, err error) {
	defer secret.RecoverTo(&err)
	release, err := c.limiter.acquire(ctx, m.demoted, m.account.Host())
	if err != nil {
		return token.Token{}, err
	}
	defer release()
	t, err = m.account.Mint(ctx, m.refresh)
	if err != nil {
		return token.Token{}, err
	}
	if took, life := c.clock().Since(t.Sent), m.account.Policy().timeline(t.Lifetime).lifetime; life <= took {
		return token.Token{}, &token.Error{Kind: token.Malformed, Problem: fmt.Sprintf(
			"the token lives %s and took %s to arrive", life, took.Round(time.Millisecond))}
	}
	// When a session nears its end, refreshes yield ever shorter tokens. Keycloak cuts
	// each token to what is left of the session, and may round by a second. The next mint
	// must then be a login.
	if m.refresh != "" && t.Lifetime <= m.previous/10*9 && t.Lifetime < m.previous-time.Second {
		t.Refresh = ""
	}
	return t, nil
}

// finishMint stores the token of m, shows it to readers and wakes the readers that wait.
// It returns nil if m was superseded or found no slot, because then nobody needs a report.
func (c *Cache) finishMint(ctx context.Context, e *entry, m *mint, t token.Token, err error) *MintResult {
	if m.purpose == unsharedRead {
		return c.finishUnshared(e, m, t, err)
	}
	stripe := c.stripe(e.name)
	stripe.Lock()
	defer stripe.Unlock()

	e.mu.Lock()
	current := e.mint == m && c.ctx.Err() == nil
	e.mu.Unlock()
	if !current {
		return nil
	}
	if err == nil {
		err = c.save(ctx, e.name, m.account, t)
	}

	// e.mint is still m, because only the holder of the stripe removes a mint.
	e.mu.Lock()
	defer e.mu.Unlock()
	if errors.Is(err, errNoSlot) && m.demoted.Err() == nil {
		// A background refresh found no slot. Nothing failed: the next read or tick tries
		// again.
		e.supersede()
		c.publish(e)
		return nil
	}
	m.ended = c.clock()
	result := e.result(m)
	if err == nil {
		if e.cached != nil {
			m.replaced = &e.cached.Token
		}
		e.minted(t)
	} else {
		m.failure = e.backoff.failed(m.ended, err)
		e.lastFailure, result.Failure = m.failure, m.failure
	}
	e.counts.mint(result)
	e.mint = nil
	c.publish(e)
	close(m.done)
	return &result
}

// result returns the result of m, which has ended, before its outcome is recorded; the
// caller holds e.mu.
func (e *entry) result(m *mint) MintResult {
	r := MintResult{Name: e.name, Account: m.account, Rotated: m.purpose == rotation, Unshared: m.purpose == unsharedRead,
		Took: m.ended.Mono - m.started.Mono}
	if last := e.backoff.last; last != nil {
		r.FailuresBefore = last.Failures
	}
	return r
}

// report calls OnMint. A panic of OnMint does not end the process.
func (c *Cache) report(r MintResult) {
	var err error
	defer secret.RecoverTo(&err)
	if c.opts.OnMint != nil {
		c.opts.OnMint(r)
	}
}

// save stores t. Its only error is a panic of the store, because the store reports its
// failures itself.
func (c *Cache) save(ctx context.Context, name string, a Account, t token.Token) (err error) {
	defer secret.RecoverTo(&err)

	// The save has its own timeout, because the mint may have used nearly all of its time.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), storeTimeout)
	defer cancel()
	defer context.AfterFunc(c.ctx, cancel)()
	c.opts.Store.Save(ctx, name, a, t)
	return nil
}
