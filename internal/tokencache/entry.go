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

// errSuperseded tells Get and Rotate to start over, because the entry has been removed or has
// another account now.
var errSuperseded = errors.New("superseded")

// againPause is the time between two mints if the provider still returns a token that has
// ended.
const againPause = 500 * time.Millisecond

// entry is the state of one account. Readers of a valid token take no lock. They read the
// snapshot, which is replaced whenever the entry changes.
type entry struct {
	name     string
	snapshot atomic.Pointer[snapshot]

	mu          sync.Mutex
	gone        bool // out of the cache; the store may have another account
	account     Account
	cached      *cachedToken // nil if there is no token
	unsaved     bool         // the store does not have what cached says
	mint        *mint        // the running mint of the shared token; nil if none runs
	waiting     bool         // a background refresh waits for a slot
	backoff     backoff
	lastFailure *Failure      // of this revision; kept when mints succeed again
	notBefore   clock.Instant // before this, a mint would bring the cached token again
	mints       int64         // successful mints since the entry was made

	rotation   *mint // the last mint that a rotate started or joined
	rejections rejections
	forced     []clock.Instant // the demands for another token in the last 24 hours
	unshared   unshared

	queued queued // the entry's place in the refresh queue; guarded by the queue

	counts counts
}

func newEntry(name string) *entry {
	e := &entry{name: name}
	e.queued.entry = e
	return e
}

// snapshot is the state of an entry that readers see. A snapshot never changes.
type snapshot struct {
	gone      bool
	share     bool
	minting   bool // a mint runs or waits for a slot
	account   Account
	cached    *cachedToken
	failure   *Failure      // the last one, if no mint succeeded since
	notBefore clock.Instant // see entry
}

// publish updates the snapshot and the refresh queue. The caller holds e.mu.
func (c *Cache) publish(e *entry) {
	e.snapshot.Store(&snapshot{
		gone:      e.gone,
		share:     e.account.Share(),
		minting:   e.mint != nil || e.waiting,
		account:   e.account,
		cached:    e.cached,
		failure:   e.backoff.last,
		notBefore: e.notBefore,
	})
	c.enqueue(e, c.clock())
}

// keep makes t the cached token, and counts reads of t in reads. The caller holds e.mu.
func (e *entry) keep(t token.Token, reads *atomic.Int64) {
	e.cached = &cachedToken{Token: t, timeline: e.account.Policy().timeline(t.Lifetime), reads: reads}
}

// minted stores t, a new token, as the cached token. The caller holds e.mu.
func (e *entry) minted(t token.Token) {
	e.keep(t, new(atomic.Int64))
	e.mints++
	e.backoff = backoff{}
	e.notBefore = e.oldEnough()
}

// oldEnough returns when the cached token reaches the account's minimum age, or zero without
// such a limit. The caller holds e.mu.
func (e *entry) oldEnough() clock.Instant {
	if age := e.account.Policy().MinimumAge; age > 0 && e.cached != nil {
		return e.cached.Sent.Add(age)
	}
	return clock.Instant{}
}

// mintedAgain handles a mint that returned the cached token again. Some providers state the
// full lifetime each time, so the token's life may shrink but not grow, unless the account's
// tokens slide. The caller holds e.mu.
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
	if t.Lifetime = newEnd; newEnd > old.Lifetime-time.Second { // a second may be rounding
		t.Lifetime = old.Lifetime
	}
	e.keep(t, old.reads)
	e.unsaved = e.unsaved || t.Lifetime != old.Lifetime || t.Refresh != old.Refresh
	e.notBefore = now.Add(e.cached.again(now))
	if from := e.oldEnough(); now.Until(from) > now.Until(e.notBefore) {
		e.notBefore = from
	}
}

// again returns how long to wait for the next mint after a mint returned t again: half of the
// remaining life. Near the end of t, again returns the time just after the end, because many
// providers return t until then.
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

// restore makes a stored token t the cached token. The caller holds e.mu. restore drops a token
// from the future, which occurs if the clock was set back or another node's clock is ahead,
// because its age is unknown.
func (e *entry) restore(now clock.Instant, t token.Token) {
	t.Sent = now.At(t.Sent.Wall)
	if now.Since(t.Sent) >= -leastMinTTL {
		e.keep(t, new(atomic.Int64))
		e.notBefore = e.oldEnough()
	}
}

// cachedToken is the token that an account's readers share. Only reads and memo change.
type cachedToken struct {
	token.Token
	timeline timeline
	reads    *atomic.Int64 // since the token was minted, under any policy
	memo     atomic.Value
}

// left returns how long the token may still be used; negative if it may not.
func (t *cachedToken) left(now clock.Instant) time.Duration {
	if t == nil {
		return -1
	}
	return t.timeline.lifetime - now.Since(t.Sent)
}

// inRefreshWindow reports whether the token is old enough to be refreshed.
func (t *cachedToken) inRefreshWindow(now clock.Instant) bool {
	return now.Since(t.Sent) >= t.timeline.refreshAt
}

// refreshToken returns a usable refresh token, or "". It returns "" when the access token has
// too little life to be served, because a login is then safer: the provider may no longer
// accept the refresh token.
func (t *cachedToken) refreshToken(now clock.Instant) secret.String {
	if t == nil || t.left(now) < min(leastMinTTL, t.timeline.minTTL) {
		return ""
	}
	if t.RefreshLifetime > 0 && now.Since(t.Sent) >= t.RefreshLifetime-leastMinTTL {
		return ""
	}
	return t.Refresh
}

// expires returns the token's end on the wall clock. The result is the same for every read,
// unless the wall clock was set.
func (t *cachedToken) expires(now clock.Instant) time.Time {
	set := now.Wall.Sub(t.Sent.Wall) - (now.Mono - t.Sent.Mono)
	if set.Abs() < time.Second {
		return t.Sent.Wall.Add(t.timeline.lifetime)
	}
	return now.Wall.Add(t.left(now))
}
