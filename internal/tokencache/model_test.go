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

// model is what the state machine believes of one account: a second, slower
// telling of the design's rules. It is told of what goes in (writes, the
// provider's answers) and judges what comes out (mints, tokens, errors). The
// machine's mu guards it.
type model struct {
	config *fakeAccount      // nil if there is none
	held   *modelToken       // the newest that the cache knows of; nil if it has none
	moved  event             // the last change of the two
	moves  int               // how many there were
	live   map[int]*liveMint // mints under way

	reads    int // served from held
	rotating int // rotates under way

	refused, transient int           // failures since the last success, or since what clears them
	earliest, latest   clock.Instant // between these the next attempt becomes possible
	retryAfter         clock.Instant // before this nothing clears
	wallSet            bool          // since the token in hand was minted
}

// liveMint is a mint under way, given up if its context was cancelled.
type liveMint struct {
	ctx      context.Context
	previous time.Duration // the lifetime of the token in hand when it began
}

// event is a moment and the step of the machine that it belongs to.
type event struct {
	step int
	at   clock.Instant
}

// modelToken is a token as the provider knows it, and as the cache must use it.
type modelToken struct {
	access            secret.String
	name, revision    string
	lifetime, lasting time.Duration // lasting is that of the refresh token
	sent              clock.Instant
	landed            event
	refresh           secret.String
}

// age counts by the clock that says more.
func (k *modelToken) age(now clock.Instant) time.Duration {
	wall, mono := now.Wall.Sub(k.sent.Wall), now.Mono-k.sent.Mono
	if wall > mono {
		return wall
	}
	return mono
}

// terms are the numbers of the design's picture for the token in hand.
func (m *model) terms() (lifetime, window, minTTL time.Duration) {
	p := m.config.policy
	lifetime = m.held.lifetime
	if p.MaxTTL > 0 && p.MaxTTL < lifetime {
		lifetime = p.MaxTTL
	}
	window = lifetime * 20 / 100
	if p.RefreshWindow != nil {
		window = min(*p.RefreshWindow, lifetime/10*9)
	}
	minTTL = 30 * time.Second
	if minTTL > lifetime/10 {
		minTTL = lifetime / 10
	}
	if p.MinTTL != nil {
		minTTL = *p.MinTTL
	}
	if minTTL < 2*time.Second {
		minTTL = 2 * time.Second
	}
	if minTTL > lifetime/2 {
		minTTL = lifetime / 2
	}
	return lifetime, window, minTTL
}

// left is the life of the token in hand; 0 if there is none.
func (m *model) left(now clock.Instant) time.Duration {
	if m.held == nil || m.config == nil {
		return 0
	}
	lifetime, _, _ := m.terms()
	return max(0, lifetime-m.held.age(now))
}

// content reports whether a read that asks for so much has to be served at once.
func (m *model) content(now clock.Instant, asked time.Duration) bool {
	left := m.left(now)
	if left == 0 {
		return false
	}
	lifetime, _, minTTL := m.terms()
	return left >= minTTL && (m.held.age(now) < 10*time.Second || left >= min(asked, lifetime/2))
}

// hold takes a token in hand that the cache is about to.
func (m *model) hold(k *modelToken, now event) {
	m.held, m.reads, m.wallSet = k, 0, false
	k.landed = now
	m.move(now)
}

func (m *model) move(now event) { m.moved, m.moves = now, m.moves+1 }

// succeeded counts a mint that did.
func (m *model) succeeded(k *modelToken, now event) {
	m.hold(k, now)
	m.retryAfter, m.latest = clock.Instant{}, clock.Instant{}
	m.clear()
}

// failed counts a mint that did, and sets when the next one may be.
func (m *model) failed(kind token.Kind, retryAfter time.Duration, now clock.Instant) {
	doubling := func(first, most time.Duration, n int) time.Duration {
		for range n - 1 {
			first = min(2*first, most)
		}
		return first
	}
	// A rotate that shares the last one's outcome clears nothing, so the most is
	// as if nothing had ever been cleared.
	var least, most time.Duration
	switch {
	case kind == token.Refused:
		m.refused++
		least, most = doubling(time.Minute, 15*time.Minute, m.refused), 15*time.Minute
	case kind == token.RateLimited && retryAfter > 0:
		m.transient++
		least, most = min(retryAfter, 15*time.Minute), 15*time.Minute
		m.retryAfter = now.Add(least)
	default:
		m.transient++
		least, most = doubling(time.Second, time.Minute, m.transient)*3/4, time.Minute
	}
	m.earliest, m.latest = now.Add(least), now.Add(most)
}

// clear forgets the failures, but for a Retry-After.
func (m *model) clear() {
	m.refused, m.transient = 0, 0
	m.earliest = m.retryAfter
}

// forget is what the cache does when it lets go of an account.
func (m *model) forget(now event) {
	m.retryAfter, m.latest = clock.Instant{}, clock.Instant{}
	m.clear()
	m.held, m.reads = nil, 0
	m.move(now)
}

// flying reports whether a mint is under way that was not given up.
func (m *model) flying() bool {
	for _, l := range m.live {
		if l.ctx.Err() != context.Canceled {
			return true
		}
	}
	return false
}

// began judges a mint that begins.
func (m *model) began(c call, now clock.Instant) error {
	if m.flying() {
		return fmt.Errorf("a second flight")
	}
	if m.config == nil || m.config.revision != c.revision {
		return fmt.Errorf("a mint for revision %s", c.revision)
	}
	if now.Mono < m.retryAfter.Mono {
		return fmt.Errorf("a mint during a Retry-After, %s before its end", m.retryAfter.Mono-now.Mono)
	}
	if m.rotating > 0 { // which clears the waits, and wants a login
		m.clear()
		return nil
	}
	if now.Mono < m.earliest.Mono {
		return fmt.Errorf("a mint during a backoff, %s before its end", m.earliest.Mono-now.Mono)
	}
	if left := m.left(now); left > 0 {
		lifetime, window, minTTL := m.terms()
		age := m.held.age(now)
		if age < lifetime-window && left >= minTTL && (age < 10*time.Second || left >= lifetime/2) {
			return fmt.Errorf("a mint at the age of %s with %s left", age, left)
		}
	}
	if want := m.refreshToken(now); c.refresh != want {
		return fmt.Errorf("a mint with refresh token %q, want %q", c.refresh.Reveal(), want.Reveal())
	}
	return nil
}

func (m *model) refreshToken(now clock.Instant) secret.String {
	if m.held == nil || m.held.lasting > 0 && m.held.age(now) >= m.held.lasting-2*time.Second {
		return ""
	}
	return m.held.refresh
}

// ended is told of the outcome of a mint that was not given up.
func (m *model) ended(c call, previous time.Duration, minted token.Token, err error, began clock.Instant, now event) {
	var refusal *token.Error
	switch {
	case errors.As(err, &refusal):
		m.failed(refusal.Kind, refusal.RetryAfter, now.at)
		return
	case err != nil:
		m.failed(token.Unavailable, 0, now.at)
		return
	}
	k := &modelToken{
		access: accessToken(c.n), name: c.name, revision: c.revision,
		lifetime: minted.Lifetime, lasting: minted.RefreshLifetime, refresh: minted.Refresh,
		sent: began,
	}
	if p := c.policy.MaxTTL; k.age(now.at) >= k.lifetime || p > 0 && k.age(now.at) >= p {
		m.failed(token.Malformed, 0, now.at)
		return
	}
	if c.refresh != "" && k.lifetime < previous/2 {
		k.refresh = ""
	}
	m.succeeded(k, now)
}

// outcome is what a read or a rotate came back with.
type outcome struct {
	grant  Grant
	err    error
	asked  time.Duration
	began  event
	rotate bool

	// lastCall is when it is served what is left of the token that was in hand
	// when it began, on the monotonic clock; 0 if there was none. moves is the
	// model's of that time.
	lastCall time.Duration
	moves    int
}

// judge checks an outcome at the moment when it came back. What changed in the
// step in which the read began, or at this very moment, may have come before it
// or after.
func (m *model) judge(o outcome, now event) error {
	settled := o.began.step > m.moved.step || m.moved.at.Mono < now.at.Mono
	left := m.left(now.at)
	if still := m.moves == o.moves || m.moves == o.moves+1 && m.moved.at.Mono > o.lastCall; still &&
		o.lastCall > 0 && now.at.Mono > o.lastCall {
		return fmt.Errorf("waited for %s after the last call", now.at.Mono-o.lastCall)
	}
	var failure *Failure
	switch {
	case o.err == nil:
		g := o.grant
		if g.Left <= 0 {
			return fmt.Errorf("served a dead token")
		}
		if !settled {
			return nil
		}
		if m.config == nil || m.held == nil {
			return fmt.Errorf("served %s, and there is no token", g.Token.Access.Reveal())
		}
		if g.Token.Access != m.held.access || g.Account.Revision() != m.config.revision {
			return fmt.Errorf("served %s of revision %s, and %s of %s is the newest",
				g.Token.Access.Reveal(), g.Account.Revision(), m.held.access.Reveal(), m.config.revision)
		}
		if g.Left != left {
			return fmt.Errorf("served with %s left, which is %s", g.Left, left)
		}
		if o.rotate && m.held.landed.at.Mono < o.began.at.Mono-10*time.Second {
			return fmt.Errorf("rotated to a token of %s before", o.began.at.Mono-m.held.landed.at.Mono)
		}
		_, _, minTTL := m.terms()
		if g.Failure == nil && !o.rotate && left < minTTL && !m.flying() {
			return fmt.Errorf("served with %s left, and no mint under way nor a reason why", left)
		}
		if left < min(2*time.Second, minTTL) && !o.rotate && o.began.step > m.moved.step && !m.wallSet {
			return fmt.Errorf("served with %s left", left)
		}
	case errors.As(o.err, &failure):
		if settled && !o.rotate && left >= 2*time.Second {
			return fmt.Errorf("failed with %s left: %v", left, o.err)
		}
	case errors.Is(o.err, ErrNotFound):
		if settled && m.config != nil {
			return o.err
		}
	case errors.Is(o.err, context.DeadlineExceeded):
		if settled && !o.rotate && left >= 2*time.Second {
			return fmt.Errorf("gave up with %s left", left)
		}
	default:
		return o.err
	}
	return nil
}

// overdue reports whether a tick ought to have begun a refresh by now.
func (m *model) overdue(now clock.Instant) bool {
	if m.left(now) == 0 || m.reads == 0 || m.wallSet || m.flying() || now.Mono < m.latest.Mono {
		return false
	}
	lifetime, window, minTTL := m.terms()
	return window > 0 && m.held.age(now) > lifetime-window+max(0, window-minTTL)/10
}
