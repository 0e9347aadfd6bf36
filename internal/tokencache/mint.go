// SPDX-License-Identifier: MPL-2.0

package tokencache

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"vault-plugin-secrets-messaging/internal/clock"
	"vault-plugin-secrets-messaging/internal/secret"
	"vault-plugin-secrets-messaging/internal/token"
)

// mintTimeout limits a mint in case the timeouts of the Account fail.
const mintTimeout = 2 * time.Minute

// purpose is why a mint was started.
type purpose int

const (
	foreground   purpose = iota // a reader waits for it
	background                  // a refresh for which no reader waits
	rotation                    // an operator wants another token: log in, do not refresh
	rejection                   // the provider rejected the token: log in, do not refresh
	unsharedRead                // one reader waits for a token that it will not share
)

// mint is one running mint. It belongs to the cache and continues if its reader gives up.
type mint struct {
	account Account
	purpose purpose
	started clock.Instant
	cancel  context.CancelFunc

	refresh  secret.String // the refresh token to use; "" to log in
	force    bool          // demand a token other than the cached token
	previous time.Duration // the lifetime of the token to be replaced; 0 if there is none

	// Set under the entry's mu before done is closed.
	done       chan struct{}
	superseded bool     // the mint was given up: whoever waits for it starts over
	finishing  bool     // the mint has its result and must not be superseded without the name's lock
	again      bool     // the token is the token that was cached
	failure    *Failure // nil if the mint succeeded
	noSlot     bool     // the mint gave up waiting for a slot; nothing failed
	unsaved    error    // why the new token was not saved
	ended      clock.Instant
	replaced   *token.Token // the shared token that is no longer served; nil if there was none

	// The mint's goroutine sets these fields before it closes done. Do not read them if the
	// mint is superseded.
	refreshErr error // why the refresh token brought no token
	loggedIn   bool  // the mint tried to log in

	// Of an unshared mint, guarded by the entry's mu.
	minted    token.Token
	abandoned bool // its reader is gone: park the token
}

// MintResult is the outcome of a mint, for logs, metrics and events.
type MintResult struct {
	Name           string
	Account        Account
	Rotated        bool          // started by Rotate
	Rejected       bool          // started because the provider rejected the token
	Unshared       bool          // for one reader
	Took           time.Duration // on the monotonic clock, including the wait for a slot
	Failure        *Failure      // nil if the mint succeeded
	FailuresBefore int           // consecutive failures before this mint
	Unsaved        error         // why the new token was not saved; a tick tries again
}

// Mint mints a token for an account outside the cache. It obeys the limits of the account's
// host and user. The cache does not keep the token.
func (c *Cache) Mint(ctx context.Context, a Account) (token.Token, error) {
	return c.ask(ctx, a, "", false, false)
}

// mayMint returns why no mint of e may start now, or nil. See Options.MayMint. The caller holds
// e.mu.
func (c *Cache) mayMint(e *entry, urgent bool) error {
	if c.opts.MayMint == nil {
		return nil
	}
	return c.opts.MayMint(e.account, urgent)
}

// startMint starts a mint for e. A background mint has already acquired a slot; other mints wait
// for a slot. If release is not nil, the mint calls release at its end. The caller holds e.mu,
// and has checked that no other mint of a shared token runs.
func (c *Cache) startMint(e *entry, now clock.Instant, p purpose, release func()) *mint {
	ctx, cancel := context.WithTimeout(c.ctx, mintTimeout)
	m := &mint{account: e.account, purpose: p, started: now, cancel: cancel, done: make(chan struct{})}
	if e.cached != nil {
		m.previous = e.cached.Lifetime
		if p == foreground || p == background {
			m.refresh = e.cached.refreshToken(now)
		}
	}
	if p == rotation || p == rejection {
		m.force = e.demand(now)
	}
	if p != unsharedRead {
		e.mint = m
		c.publish(e)
	}
	go func() {
		defer cancel()
		if release != nil { // last, so that a slow store cannot pile up goroutines
			defer release()
		}
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

// demand reports whether a mint may demand a new token, and counts the demand. Without a
// demand, the provider may return the cached token again. The caller holds e.mu.
func (e *entry) demand(now clock.Instant) bool {
	p := e.account.Policy()
	e.forced = slices.DeleteFunc(e.forced, func(at clock.Instant) bool { return at.Until(now) >= 24*time.Hour })
	n := len(e.forced)
	if !p.CanForce || p.ForceDailyLimit > 0 && n >= p.ForceDailyLimit || n > 0 && e.forced[n-1].Until(now) < p.ForceInterval {
		return false
	}
	e.forced = append(e.forced, now)
	return true
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

// supersedeAndDrop is supersede for a write that also drops the cached token. A waiting rotate
// still receives the dropped token, in order to revoke it.
func (e *entry) supersedeAndDrop() {
	if e.mint != nil && e.mint == e.rotation && e.cached != nil {
		e.mint.replaced = &e.cached.Token
	}
	e.supersede()
	e.cached = nil
}

// exchange gets the token of m. If the provider refuses the refresh token, exchange logs in,
// because the session has ended but the credential may be valid. If that login must wait for
// its user's turn, a background mint does not wait; finishMint queues it.
func (c *Cache) exchange(ctx context.Context, m *mint) (token.Token, error) {
	hasSlot := m.purpose == background
	if m.refresh != "" {
		t, err := c.ask(ctx, m.account, m.refresh, hasSlot, false)
		if err == nil {
			// Near the end of a session, a refresh returns shorter tokens: Keycloak limits each
			// token to the rest of the session. Rounding may cost a second too. If the lifetime
			// shrank by more than that, the next mint is a login.
			if t.Lifetime <= m.previous/10*9 && t.Lifetime < m.previous-time.Second {
				t.Refresh = ""
			}
			return t, nil
		}
		m.refreshErr = err
		if kindOf(err) != token.Refused || hasSlot && m.account.SerialKey() != "" {
			return token.Token{}, err
		}
	}
	m.loggedIn = true
	return c.ask(ctx, m.account, "", hasSlot, m.force)
}

// ask requests a token from the provider. It waits for a slot, unless the caller already has
// one.
func (c *Cache) ask(ctx context.Context, a Account, refresh secret.String, hasSlot, force bool) (t token.Token, err error) {
	defer secret.RecoverTo(&err)
	if !hasSlot {
		at := lane{host: a.Host()}
		if refresh == "" {
			at.serialKey = a.SerialKey()
		}
		release, err := c.limiter.acquire(ctx, at)
		if err != nil {
			return token.Token{}, err
		}
		defer release()
	}
	t, err = a.Mint(ctx, refresh, force)
	if err != nil {
		return token.Token{}, err
	}
	return t, c.arrived(a, t)
}

// arrived returns an error if t has already ended.
func (c *Cache) arrived(a Account, t token.Token) error {
	if took, life := c.clock().Since(t.Sent), a.Policy().timeline(t.Lifetime).lifetime; life <= took {
		return &token.Error{Kind: token.Malformed, Problem: fmt.Sprintf(
			"the token lives %s and took %s to arrive", life, took.Round(time.Millisecond))}
	}
	return nil
}

// kindOf returns the kind of a mint's error.
func kindOf(err error) token.Kind {
	if e := (*token.Error)(nil); errors.As(err, &e) {
		return e.Kind
	}
	return token.Unavailable
}

// finishMint stores and publishes the token of m, and wakes waiting readers. It returns nil if
// there is nothing to report.
func (c *Cache) finishMint(ctx context.Context, e *entry, m *mint, t token.Token, err error) *MintResult {
	if m.purpose == unsharedRead {
		return c.finishUnshared(e, m, t, err)
	}
	defer c.lock(e.name)()

	e.mu.Lock()
	m.finishing = e.mint == m && c.ctx.Err() == nil
	current, old := m.finishing, e.cached
	e.mu.Unlock()
	if !current {
		return nil
	}
	again := err == nil && old != nil && old.Access == t.Access
	if again && !old.ending(c.clock()) && !m.account.Policy().Sliding {
		err = &token.Error{Kind: token.Malformed, Problem: "the provider returned the previous token again, which has ended"}
	}
	if err == nil && !again {
		m.unsaved = c.replace(ctx, e.name, m.account, t)
		err = c.arrived(m.account, t) // storing may take longer than the token lives
	}

	// Here e.mint is still m, because nobody else removes a mint that is finishing.
	e.mu.Lock()
	defer e.mu.Unlock()
	m.ended = c.clock()
	result := e.result(m)
	e.mint = nil
	defer close(m.done)
	defer c.publish(e)
	switch {
	case errors.Is(err, errNoSlot):
		m.noSlot = true
		return nil
	case m.refreshErr != nil && !m.loggedIn && kindOf(err) == token.Refused: // of a background mint
		e.dropRefresh(m)
		m.superseded = true
		if e.due(m.ended) {
			c.refresh(e, m.ended)
		}
		return nil
	case err != nil && e.endsSoon(m, err):
		m.again = true
		e.notBefore = m.ended.Add(againPause)
		return nil
	case err != nil:
		m.failure = e.backoff.failed(m.ended, err)
		e.lastFailure, result.Failure = m.failure, m.failure
		e.dropRefresh(m)
	case again:
		m.again = true
		e.mintedAgain(t, m.ended)
	default:
		if e.cached != nil {
			m.replaced = &e.cached.Token
		}
		e.minted(t)
		e.unsaved = m.unsaved != nil
	}
	e.counts.mint(result)
	return &result
}

// endsSoon reports whether m may have failed only because the cached token is about to end. A
// provider that returns the same token again may state that no life is left. The caller holds
// e.mu.
func (e *entry) endsSoon(m *mint, err error) bool {
	return kindOf(err) == token.Malformed && m.purpose <= background && e.backoff.last == nil &&
		e.cached.ending(m.ended) && e.cached.left(m.ended) < leastMinTTL
}

// After maxRefreshOutages failed refreshes in a row, the next mint is a login, because perhaps
// only refreshes fail.
const maxRefreshOutages = 3

// dropRefresh forgets the refresh token that failed in m, so that the next mint is a login.
// During an outage it keeps the refresh token, because a login would fail too. The caller holds
// e.mu.
func (e *entry) dropRefresh(m *mint) {
	if m.refreshErr == nil || e.cached == nil || e.cached.Refresh != m.refresh {
		return
	}
	switch kindOf(m.refreshErr) {
	case token.RateLimited:
		return
	case token.Unavailable:
		if m.failure.Failures < maxRefreshOutages {
			return
		}
	}
	t := e.cached.Token
	t.Refresh, t.RefreshLifetime = "", 0
	e.keep(t, e.cached.reads)
	e.unsaved = true
}

// result returns the result of the finished mint m. Call it before the outcome is recorded. The
// caller holds e.mu.
func (e *entry) result(m *mint) MintResult {
	r := MintResult{Name: e.name, Account: m.account, Rotated: m.purpose == rotation, Rejected: m.purpose == rejection,
		Unshared: m.purpose == unsharedRead, Took: m.ended.Mono - m.started.Mono, Unsaved: m.unsaved}
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
