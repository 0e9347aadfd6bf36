// SPDX-License-Identifier: MPL-2.0

package tokencache

import (
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"vault-plugin-secrets-messaging/internal/clock"
	"vault-plugin-secrets-messaging/internal/secret"
	"vault-plugin-secrets-messaging/internal/token"
)

// errSuperseded tells the caller to start over with the account's current state.
var errSuperseded = errors.New("superseded")

// If the provider keeps returning a token that has ended, againPause is the time between mints.
const againPause = 500 * time.Millisecond

// entry is what the cache holds for one account. Hold mu to call the entry's methods. Readers of a
// valid token need no lock, because they read only entry.published.
type entry struct {
	name      string
	published atomic.Pointer[state] // a copy of state, which never changes

	mu sync.Mutex
	state
	unsaved     bool     // the store does not have the cached token, or has one that must be removed
	lastFailure *Failure // of this revision; kept when mints succeed again
	mints       int64    // successful mints since the entry was made
	rotation    *mint    // the last mint that a rotate started or joined
	rejections  rejections
	forced      []clock.Instant // when mints of the last 24 hours forced a new token
	unshared    unshared

	counts counts

	// The refresh queue's mu guards these fields.
	tick  time.Duration // when a tick has work for the entry, on the monotonic clock
	place int           // in the queue's heap, counted from 1; 0 if the entry is not queued
}

// state is the part of an entry that readers see.
type state struct {
	gone      bool // removed from the cache
	account   Account
	cached    *cachedToken // nil if there is no token
	mint      *mint        // the running mint of the shared token; nil if none runs
	waiting   bool         // a background refresh waits for a slot
	backoff   backoff
	notBefore clock.Instant // no mint starts earlier, because it would return the cached token again
}

// publish shows the changes in e to readers, and updates the refresh queue. The caller holds e.mu.
func (c *Cache) publish(e *entry) {
	published := e.state
	e.published.Store(&published)
	c.enqueue(e, c.clock())
}

// due reports whether a refresh of the cached token may start now.
func (s *state) due(now clock.Instant) bool {
	return s.cached != nil && s.cached.inRefreshWindow(now) && s.mint == nil && !s.waiting && s.backoff.blocked(now) == nil &&
		s.cached.left(now) > 0 && now.Mono >= s.notBefore.Mono
}

// keep caches t. The parameter reads counts the reads of t.
func (e *entry) keep(t token.Token, reads *atomic.Int64) {
	e.cached = &cachedToken{Token: t, timeline: e.account.Policy().timeline(t.Lifetime), reads: reads}
}

// minted caches the new token t, and ends the backoff.
func (e *entry) minted(t token.Token) {
	e.keep(t, new(atomic.Int64))
	e.mints++
	e.backoff = backoff{}
	e.notBefore = e.oldEnough()
}

// oldEnough returns the time at which the cached token reaches the policy's MinimumAge. The result
// is zero if there is no minimum age or no cached token.
func (e *entry) oldEnough() clock.Instant {
	if age := e.account.Policy().MinimumAge; age > 0 && e.cached != nil {
		return e.cached.Sent.Add(age)
	}
	return clock.Instant{}
}

// mintedAgain records that a mint returned t, which is the cached token again. If t ends earlier
// than the cached token, the earlier end counts. A later end counts only with Policy.Sliding,
// because some providers always state the full lifetime.
func (e *entry) mintedAgain(t token.Token, now clock.Instant) {
	old := e.cached
	newEnd := t.Sent.Since(old.Sent) + t.Lifetime // counted from old.Sent
	e.mints++
	e.backoff, e.notBefore = backoff{}, clock.Instant{}
	if newEnd > old.Lifetime && e.account.Policy().Sliding {
		e.keep(t, new(atomic.Int64))
		e.unsaved = true
		return
	}
	t.Sent = old.Sent
	if t.Lifetime = newEnd; newEnd > old.Lifetime-time.Second { // less than a second may be rounding
		t.Lifetime = old.Lifetime
	}
	e.keep(t, old.reads)
	e.unsaved = e.unsaved || t.Lifetime != old.Lifetime || t.Refresh != old.Refresh
	e.notBefore = now.Add(e.cached.again(now))
	if from := e.oldEnough(); now.Until(from) > now.Until(e.notBefore) {
		e.notBefore = from
	}
}

// again returns how long the next mint must wait, after a mint returned the cached token t again.
// The wait is half of the remaining life. Shortly before t ends, the wait lasts until just after
// the end, because many providers return t until then.
func (t *cachedToken) again(now clock.Instant) time.Duration {
	switch left := t.left(now); {
	case left > leastMinTTL:
		return left / 2
	case left > 0:
		return left + againPause/2
	default:
		return againPause
	}
}

// restore caches a token from the store. If t.Sent is over 2 s in the future, the age of t is
// unknown, so restore ignores t.
func (e *entry) restore(now clock.Instant, t token.Token) {
	t.Sent = now.At(t.Sent.Wall)
	if now.Since(t.Sent) >= -leastMinTTL {
		e.keep(t, new(atomic.Int64))
		e.notBefore = e.oldEnough()
	}
}

// cachedToken is the token that an account's readers share. Only the fields reads and memo change.
type cachedToken struct {
	token.Token
	timeline timeline
	reads    *atomic.Int64 // since the token was minted
	memo     atomic.Value  // see Grant.Memo
}

// left returns how long the token may still be used. If the token has ended or t is nil, the result
// is negative.
func (t *cachedToken) left(now clock.Instant) time.Duration {
	if t == nil {
		return -1
	}
	return t.timeline.lifetime - now.Since(t.Sent)
}

// lacksLife reports whether t is nil or has less life than the min TTL.
func (t *cachedToken) lacksLife(now clock.Instant) bool {
	return t == nil || t.left(now) < t.timeline.minTTL
}

// inRefreshWindow reports whether the token is old enough to be refreshed.
func (t *cachedToken) inRefreshWindow(now clock.Instant) bool {
	return now.Since(t.Sent) >= t.timeline.refreshAt
}

// refreshToken returns the refresh token for the next mint, or "" if the next mint must be a login.
// Shortly before the access token ends, the mint must be a login, because the provider may refuse
// the refresh token.
func (t *cachedToken) refreshToken(now clock.Instant) secret.String {
	if t == nil || t.left(now) < min(leastMinTTL, t.timeline.minTTL) {
		return ""
	}
	if t.RefreshLifetime > 0 && now.Since(t.Sent) >= t.RefreshLifetime-leastMinTTL {
		return ""
	}
	return t.Refresh
}

// expires returns the time on the wall clock at which the token ends. All calls return the same
// time, unless somebody sets the wall clock.
func (t *cachedToken) expires(now clock.Instant) time.Time {
	set := now.Wall.Sub(t.Sent.Wall) - (now.Mono - t.Sent.Mono)
	if set.Abs() < time.Second {
		return t.Sent.Wall.Add(t.timeline.lifetime)
	}
	return now.Wall.Add(t.left(now))
}
