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

// model is a second, simpler implementation of the cache's rules for one account. The test compares
// the cache with the model. Hold machine.mu to use a model.
type model struct {
	config  *fakeAccount         // nil if there is none
	cached  *modelToken          // nil if there is none
	changed event                // the last change of config or cached
	changes int                  // how often config or cached changed
	running map[int]*runningMint // by number of the call; includes mints that were canceled

	reads    int // of cached
	rotating int // rotates that have not returned

	newest    secret.String // the newest shared token, even after the cache forgot it
	forgotten int           // how often the cache forgot the account
	returns   bool          // an old token may have been loaded again, because a removal failed once
	unremoved bool          // the last removal of the stored token failed

	again                 clock.Instant         // earlier, a mint would return the cached token again
	loginFollows          bool                  // the provider refused the refresh token, so the mint logs in
	reporting             int                   // reports of rejected tokens that have not returned
	rejected              clock.Instant         // the last login that only a report can have caused
	unshared              map[secret.String]int // how often each unshared token reached a reader or OnUnused
	succeededAt, failedAt clock.Instant         // the last success and failure

	refused, transient int           // failures since the last success or clearFailures
	earliest, latest   clock.Instant // the backoff ends between earliest and latest
	retryAfter         clock.Instant // the end of the last Retry-After
	wallSet            bool          // the wall clock was set since cached was minted
}

// runningMint is a mint that has not returned.
type runningMint struct {
	ctx     context.Context
	account *fakeAccount

	forgotten int           // the model's forgotten when the mint began
	previous  time.Duration // the lifetime of the cached token when the mint began
}

// event is a time and the machine's step at that time.
type event struct {
	step int
	at   clock.Instant
}

// modelToken is a token as the model sees it.
type modelToken struct {
	access, refresh           secret.String
	lifetime, refreshLifetime time.Duration
	sent                      clock.Instant
	minted                    event
	maybeDropped              bool // the cache may have dropped the refresh token
}

// timeline returns the timeline of the cached token.
func (m *model) timeline() timeline { return m.config.policy.timeline(m.cached.lifetime) }

// left returns how long the cached token may still be used, or 0 without a token.
func (m *model) left(now clock.Instant) time.Duration {
	if m.cached == nil || m.config == nil {
		return 0
	}
	return max(0, m.remains(now))
}

// enough reports whether a read must get the cached token at once.
func (m *model) enough(now clock.Instant, asked time.Duration) bool {
	left := m.left(now)
	if left == 0 {
		return false
	}
	tl := m.timeline()
	return left >= tl.minTTL && (now.Since(m.cached.sent) < 10*time.Second || left >= min(asked, tl.lifetime/2))
}

// keep makes k the cached token.
func (m *model) keep(k *modelToken, now event) {
	m.cached, m.reads, m.wallSet = k, 0, false
	m.newest, m.again = k.access, clock.Instant{}
	k.minted = now
	m.change(now)
}

func (m *model) change(now event) {
	m.changed, m.changes, m.loginFollows = now, m.changes+1, false
}

// mintedAgain records that a mint returned the cached token again.
func (m *model) mintedAgain(k *modelToken, now event) {
	old := *m.cached
	end := k.sent.Since(old.sent) + k.lifetime
	reads, wallSet := m.reads, m.wallSet
	if m.config.policy.Sliding && end > old.lifetime {
		m.succeeded(k, now)
		return
	}
	k.sent, k.lifetime = old.sent, old.lifetime
	if end <= old.lifetime-time.Second {
		k.lifetime = end
	}
	m.succeeded(k, now)
	m.reads, m.wallSet = reads, wallSet
	switch left := m.remains(now.at); {
	case left > 2*time.Second:
		m.again = now.at.Add(left / 2)
	case left > 0:
		m.again = now.at.Add(left)
	default:
		m.again = now.at.Add(500 * time.Millisecond)
	}
}

// remains is left, but negative after the end of the token.
func (m *model) remains(now clock.Instant) time.Duration {
	return m.timeline().lifetime - now.Since(m.cached.sent)
}

// ending reports whether the cached token is about to end or has just ended. Then readers wait.
func (m *model) ending(now clock.Instant) bool {
	return m.cached != nil && m.config != nil && m.remains(now) < 2*time.Second && m.remains(now) > -4*time.Second
}

// succeeded records a mint that succeeded.
func (m *model) succeeded(k *modelToken, now event) {
	m.keep(k, now)
	m.cleared(now)
}

// cleared records that a success ended all waits.
func (m *model) cleared(now event) {
	m.retryAfter, m.latest, m.succeededAt = clock.Instant{}, clock.Instant{}, now.at
	m.clearFailures()
}

// failed records a failed mint, and sets the end of the backoff.
func (m *model) failed(kind token.Kind, retryAfter time.Duration, now clock.Instant) {
	m.failedAt = now
	// The cache's backoff must be between these two values. Each rotate resets the model, so the
	// model may have counted fewer failures than the cache.
	var least, longest time.Duration
	switch {
	case kind == token.Refused:
		m.refused++
		least, longest = doubled(time.Minute, 15*time.Minute, m.refused), 15*time.Minute
	case retryAfter > 0:
		m.transient++
		least, longest = min(retryAfter, 15*time.Minute), 15*time.Minute
		m.retryAfter = now.Add(least)
	default:
		m.transient++
		least, longest = doubled(time.Second, time.Minute, m.transient)*3/4, time.Minute
	}
	m.earliest, m.latest = now.Add(least), now.Add(longest)
}

// clearFailures forgets the failures except a Retry-After.
func (m *model) clearFailures() {
	m.refused, m.transient = 0, 0
	m.earliest = m.retryAfter
}

// forget records that the cache forgets the account.
func (m *model) forget(now event) {
	m.retryAfter, m.latest = clock.Instant{}, clock.Instant{}
	m.clearFailures()
	m.forgotten++
	m.cached, m.reads, m.again, m.rejected = nil, 0, clock.Instant{}, clock.Instant{}
	m.change(now)
}

// minting counts the running mints of the current revision that were not canceled.
func (m *model) minting() (n int) {
	for _, l := range m.running {
		if l.runs() && m.config != nil && l.account.revision == m.config.revision && l.forgotten == m.forgotten {
			n++
		}
	}
	return n
}

// mintingUnshared reports whether a mint of an unshared account runs, even of an old revision.
func (m *model) mintingUnshared() bool {
	for _, l := range m.running {
		if l.runs() && l.account.unshared {
			return true
		}
	}
	return false
}

func (l *runningMint) runs() bool { return l.ctx.Err() != context.Canceled }

// began checks the start of a mint.
func (m *model) began(c call, now clock.Instant) error {
	if limit := map[bool]int{false: 1, true: maxUnsharedMints}[c.unshared]; m.minting() >= limit {
		return fmt.Errorf("got %d mints at once, want %d", m.minting()+1, limit)
	}
	if m.config == nil || m.config.revision != c.revision {
		return fmt.Errorf("got a mint for revision %s, want the config's revision", c.revision)
	}
	if c.unshared && m.failedAt == now { // it may have started before the failure was known
		return nil
	}
	if m.loginFollows {
		m.loginFollows = false
		if c.refresh != "" {
			return errors.New("got a refresh after a refused refresh, want a login")
		}
		return nil
	}
	if now.Mono < m.retryAfter.Mono {
		return fmt.Errorf("got a mint %s before the end of a Retry-After", m.retryAfter.Mono-now.Mono)
	}
	if m.rotating > 0 { // a rotate clears the failures and logs in
		m.clearFailures()
		return nil
	}
	if now.Mono < m.earliest.Mono {
		return fmt.Errorf("got a mint %s before the end of a backoff", m.earliest.Mono-now.Mono)
	}
	byReport := m.reporting > 0 && c.refresh == ""
	if err := m.premature(now); err != nil {
		since := now.Mono - m.rejected.Mono
		if !byReport || m.rejected.Mono > 0 && since < max(10*time.Second, min(time.Minute, m.cached.lifetime/2)) {
			return fmt.Errorf("%w; the last login for a rejected token was %s ago", err, since)
		}
		m.rejected = now
	}
	if want := m.refreshToken(now); !byReport && c.refresh != want && (c.refresh != "" || !m.cached.maybeDropped) {
		return fmt.Errorf("got a mint with refresh token %q, want %q", c.refresh.Reveal(), want.Reveal())
	}
	return nil
}

// premature returns an error if a mint would replace the cached token too early.
func (m *model) premature(now clock.Instant) error {
	if now.Mono < m.again.Mono {
		return fmt.Errorf("got a mint %s before the cached token can be replaced", m.again.Mono-now.Mono)
	}
	if left := m.left(now); left > 0 {
		tl, age := m.timeline(), now.Since(m.cached.sent)
		if age < tl.refreshAt && left >= tl.minTTL && (age < 10*time.Second || left >= tl.lifetime/2) {
			return fmt.Errorf("got a mint while the cached token has age %s and %s left, want none", age, left)
		}
	}
	return nil
}

// refreshToken returns the refresh token that a mint must use, or "" for a login.
func (m *model) refreshToken(now clock.Instant) secret.String {
	left := m.left(now)
	if left == 0 || left < min(2*time.Second, m.timeline().minTTL) {
		return ""
	}
	if k := m.cached; k.refreshLifetime > 0 && now.Since(k.sent) >= k.refreshLifetime-2*time.Second {
		return ""
	}
	return m.cached.refresh
}

// ended records the end of a mint that was not canceled.
func (m *model) ended(c call, previous time.Duration, minted token.Token, err error, began clock.Instant, now event) {
	if err == nil && now.at.Since(began) >= c.policy.timeline(minted.Lifetime).lifetime {
		err = &token.Error{Kind: token.Malformed} // the token has already expired
	}
	kind, retryAfter := kindOf(err), time.Duration(0)
	if refusal := (*token.Error)(nil); errors.As(err, &refusal) {
		retryAfter = refusal.RetryAfter
	}
	switch {
	case c.unshared && (m.config == nil || m.config.revision != c.revision): // of an old revision
	case c.unshared && err != nil:
		m.failedUnshared(kind, retryAfter, now.at)
	case c.unshared:
		m.cleared(now)
	case err != nil && c.refresh != "" && kind == token.Refused:
		m.cached.refresh, m.loginFollows = "", true
	case err != nil:
		m.failedShared(c, kind, retryAfter, now.at)
	default:
		k := &modelToken{
			access: minted.Access, refresh: minted.Refresh,
			lifetime: minted.Lifetime, refreshLifetime: minted.RefreshLifetime, sent: began,
		}
		if c.refresh != "" && k.lifetime < previous/2 {
			k.refresh = ""
		}
		m.mintedShared(k, now)
	}
}

// mintedShared records a mint of the shared token k.
func (m *model) mintedShared(k *modelToken, now event) {
	switch {
	case m.cached == nil || m.cached.access != k.access:
		m.succeeded(k, now)
	case m.remains(now.at) <= -4*time.Second && !m.config.policy.Sliding: // the token has ended
		m.failed(token.Malformed, 0, now.at)
	default:
		m.mintedAgain(k, now)
	}
}

// failedShared records a failed mint of a shared token, and may drop the refresh token.
func (m *model) failedShared(c call, kind token.Kind, retryAfter time.Duration, now clock.Instant) {
	m.failed(kind, retryAfter, now)
	ending := m.ending(now)
	if kind == token.Malformed && ending { // the failure may not count
		m.earliest = now.Add(500 * time.Millisecond)
		m.transient--
	}
	if c.refresh == "" || m.cached == nil || kind == token.RateLimited {
		return
	}
	m.cached.maybeDropped = true
	if kind == token.Malformed && !ending || kind == token.Unavailable && m.refused+m.transient >= 3 {
		m.cached.refresh = ""
	}
}

// failedUnshared records a failed mint of an unshared account. Concurrent failures count once.
func (m *model) failedUnshared(kind token.Kind, retryAfter time.Duration, now clock.Instant) {
	if now.Mono >= m.earliest.Mono && now.Mono > m.succeededAt.Mono {
		m.failed(kind, retryAfter, now)
	}
}

// overdue reports whether a tick failed to start a due refresh.
func (m *model) overdue(now clock.Instant) bool {
	if m.left(now) == 0 || m.reads == 0 || m.wallSet || m.minting() > 0 || now.Mono < m.latest.Mono || now.Mono < m.again.Mono+time.Second {
		return false
	}
	tl := m.timeline()
	window := tl.lifetime - tl.refreshAt
	return window > 0 && now.Since(m.cached.sent) > tl.refreshAt+max(0, window-tl.minTTL)/10
}
