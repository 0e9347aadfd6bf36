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

// mintTimeout ends a mint whose requests do not time out by themselves.
const mintTimeout = 2 * time.Minute

// purpose is why a mint was started.
type purpose int

const (
	foreground   purpose = iota // a reader waits for the token
	background                  // a background refresh
	rotation                    // an operator wants another token: do not use the refresh token
	rejection                   // the provider rejected the token: do not use the refresh token
	unsharedRead                // one reader of an unshared account waits for the token
)

// mint is one running mint. The mint continues if its readers give up.
type mint struct {
	account Account
	purpose purpose
	started clock.Instant
	cancel  context.CancelFunc

	refresh  secret.String // the refresh token to use; "" to log in
	force    bool          // ask the provider for a token other than the cached token
	previous time.Duration // the lifetime of the cached token; 0 if there is none

	// The fields below, up to replaced, are set under the entry's mu, before done is closed.
	done       chan struct{}
	superseded bool     // readers that wait for the mint start over
	finishing  bool     // the mint has its result; only a holder of the name's lock may supersede it
	again      bool     // the mint returned the cached token again
	failure    *Failure // nil if the mint succeeded
	noSlot     bool     // the mint found no slot in time; that is no failure
	unsaved    error    // why the new token was not saved
	ended      clock.Instant
	replaced   *token.Token // the shared token that is no longer served; nil if there was none

	// The mint's goroutine sets these two fields before it closes done. Do not read them if the
	// mint is superseded.
	refreshErr error // why the mint with the refresh token failed
	loggedIn   bool  // the mint tried to log in

	// The fields minted and abandoned are set only for an unshared account. The entry's mu guards
	// both fields.
	minted    token.Token
	abandoned bool // the reader stopped waiting, so the token must be parked
}

// MintResult is the outcome of a mint, for logs, metrics and events.
type MintResult struct {
	Name           string
	Account        Account
	Rotated        bool          // started by Rotate
	Rejected       bool          // started because the provider rejected the token
	Unshared       bool          // for one reader of an unshared account
	Took           time.Duration // on the monotonic clock, including the wait for a slot
	Failure        *Failure      // nil if the mint succeeded
	FailuresBefore int           // consecutive failures before this mint
	Unsaved        error         // why the new token was not saved; a tick tries again
}

// Mint requests a token, but does not cache the token. The account need not be in the cache. Mint
// waits for a slot, and for other logins with the same SerialKey.
func (c *Cache) Mint(ctx context.Context, a Account) (token.Token, error) {
	return c.ask(ctx, a, "", false, false)
}

// startMint starts a mint for e. The caller holds e.mu. For a shared token, no other mint may be
// running. Before a background mint, the caller takes a slot. Other mints wait for a slot
// themselves. At its end, the mint calls release if release is not nil.
func (c *Cache) startMint(e *entry, now clock.Instant, p purpose, release func()) *mint {
	ctx, cancel := context.WithTimeout(c.ctx, mintTimeout)
	m := &mint{account: e.account, purpose: p, started: now, cancel: cancel, done: make(chan struct{})}
	if e.cached != nil {
		m.previous = e.cached.Lifetime
	}
	switch p {
	case foreground, background:
		m.refresh = e.cached.refreshToken(now)
	case rotation, rejection:
		m.force = e.mayForce(now)
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
			try(func() { c.opts.OnMint(*result) })
		}
		if p == unsharedRead {
			close(m.done)
		}
	}()
	return m
}

// mayForce reports whether the policy allows a mint to force a new token now. If the result is
// true, the mint counts toward the policy's limits.
func (e *entry) mayForce(now clock.Instant) bool {
	p := e.account.Policy()
	e.forced = slices.DeleteFunc(e.forced, func(at clock.Instant) bool { return at.Until(now) >= 24*time.Hour })
	n := len(e.forced)
	if !p.CanForce || p.ForceDailyLimit > 0 && n >= p.ForceDailyLimit || n > 0 && e.forced[n-1].Until(now) < p.ForceInterval {
		return false
	}
	e.forced = append(e.forced, now)
	return true
}

// supersede cancels the running mint of e, if there is one. Waiting readers start over.
func (e *entry) supersede() {
	if m := e.mint; m != nil {
		m.superseded = true
		m.cancel()
		close(m.done)
		e.mint = nil
	}
}

// supersedeAndDrop cancels the running mint and drops the cached token. If a Rotate waits for the
// mint, Rotated.Replaced will include the dropped token.
func (e *entry) supersedeAndDrop() {
	if e.mint != nil && e.mint == e.rotation && e.cached != nil {
		e.mint.replaced = &e.cached.Token
	}
	e.supersede()
	e.cached = nil
}

// exchange gets the token for m. If the provider refuses the refresh token, exchange logs in. But a
// background mint with a SerialKey does not log in here, because the login might have to wait.
// exchange then returns the refusal, and finishMint starts a background login.
func (c *Cache) exchange(ctx context.Context, m *mint) (token.Token, error) {
	hasSlot := m.purpose == background
	if m.refresh != "" {
		t, err := c.ask(ctx, m.account, m.refresh, hasSlot, false)
		if err == nil {
			// Near the end of a session, Keycloak shortens the lifetime of new tokens. Then the
			// next mint must be a login. Small differences may be rounding.
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

// ask requests a token from the provider. If the caller has no slot yet, ask waits for a slot.
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

// arrived returns an error if t ended before it arrived.
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

// finishMint stores and caches the token of m, and wakes waiting readers. The result is for OnMint;
// nil means that OnMint is not called.
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
		err = &token.Error{Kind: token.Malformed, Problem: "the provider returned the previous token again, but that token has ended"}
	}
	if err == nil && !again {
		m.unsaved = c.replace(ctx, e.name, m.account, t)
		err = c.arrived(m.account, t) // storing may take longer than the token lives
	}

	// m is still e.mint. m.finishing is set, so only a holder of the name's lock may supersede m, and
	// this goroutine holds that lock.
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
	case m.refreshErr != nil && !m.loggedIn && kindOf(err) == token.Refused: // a background mint
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
		e.counts.failed[m.failure.Kind].Add(1)
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
	return &result
}

// endsSoon reports whether m may have failed only because the cached token is ending. The provider
// may have returned the same token with a lifetime of 0.
func (e *entry) endsSoon(m *mint, err error) bool {
	return kindOf(err) == token.Malformed && m.purpose != rotation && m.purpose != rejection &&
		e.backoff.last == nil && e.cached.ending(m.ended) && e.cached.left(m.ended) < leastMinTTL
}

// When an outage makes a mint fail, and this many mints in a row have failed, the next mint is a
// login. Logins may work even if refresh tokens do not.
const maxRefreshOutages = 3

// dropRefresh forgets a refresh token that failed in m, so that the next mint is a login. After a
// rate limit or a short outage, the refresh token stays, because a login would fail too.
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

// result returns the MintResult of m without the Failure. Call result before a failure of m is
// counted, because FailuresBefore must not include m.
func (e *entry) result(m *mint) MintResult {
	r := MintResult{Name: e.name, Account: m.account, Rotated: m.purpose == rotation, Rejected: m.purpose == rejection,
		Unshared: m.purpose == unsharedRead, Took: m.ended.Mono - m.started.Mono, Unsaved: m.unsaved}
	if last := e.backoff.last; last != nil {
		r.FailuresBefore = last.Failures
	}
	return r
}
