// SPDX-License-Identifier: MPL-2.0

package simulator

import "time"

// issued is what a login or a refresh got.
type issued struct {
	access        string
	refresh       string // "" if none
	accessTTL     time.Duration
	refreshTTL    time.Duration // 0: never expires, or there is none
	accessExpires time.Time
	session       *session
}

// login opens a session for an account that was verified, and issues its tokens.
func (c *call) login(account, client string) issued {
	now := c.sim.now()
	sess := &session{id: newSessionID(), provider: c.ep.provider, account: account, client: client, opened: now}
	withRefresh := c.rules.refreshTokens && c.hasSessions()
	got := c.issue(sess, now, withRefresh)
	if !withRefresh {
		got.refreshTTL = 0
	}
	return got
}

// hasSessions says whether a login at the provider opens a session, which can be refreshed and ended.
func (c *call) hasSessions() bool { return c.ep.provider == SinchIndia || c.ep.provider == OAuth2 }

// sessionEnd returns when the session reaches its maximum; zero if it has none.
func (c *call) sessionEnd(sess *session) time.Time {
	if c.rules.sessionMax == 0 || c.rules.refreshTTL == 0 || !c.hasSessions() {
		return time.Time{}
	}
	return sess.opened.Add(c.rules.sessionMax)
}

// sessionOver says whether the session has ended. In its last second it has: lifetimes are whole seconds.
func (c *call) sessionOver(sess *session, now time.Time) bool {
	end := c.sessionEnd(sess)
	return !sess.ended.IsZero() || (!end.IsZero() && end.Sub(now) < time.Second)
}

// refresh exchanges a refresh token that must have been issued to the client. The old one stays as it is, or is used up.
func (c *call) refresh(text, client string) (issued, reason) {
	if r := c.fault.reason(); r != accepted {
		return issued{}, r
	}
	s, now := c.sim, c.sim.now()
	s.mu.Lock()
	old := s.tokens.find(text, c.ep.provider, kindRefresh)
	r := c.judge(old, client, now)
	switch {
	case r == reusedRefreshToken:
		old.session.ended, old.session.detached = now, true
	case r == accepted && c.rules.rotateRefresh && c.rules.revokeRefreshToken:
		old.used, old.revoked = true, now
	}
	s.mu.Unlock()
	if r != accepted {
		return issued{}, r
	}
	return c.issue(old.session, now, c.rules.rotateRefresh), accepted
}

// judge says whether a refresh token (nil: it is none) is taken from the client. A lockout, or an account that is not
// fully set up, does not matter to it. The caller holds the simulator's lock.
func (c *call) judge(t *token, client string, now time.Time) reason {
	if t == nil || t.session.client != client {
		return invalidRefreshToken
	}
	sess := t.session
	account, known := c.lookup(sess.account)
	expired := !t.expires.IsZero() && !now.Before(t.expires)
	switch {
	case expired && !t.expires.Equal(c.sessionEnd(sess)):
		return deadRefreshToken
	case !known, !sess.closed.IsZero(), c.sessionOver(sess, now) && !sess.detached:
		if t.expires.IsZero() {
			return deadOfflineSession
		}
		return deadSession
	case account.Disabled:
		return accountDisabled
	case sess.detached:
		return detachedSession
	case t.used:
		return reusedRefreshToken
	}
	return accepted
}

// issue makes tokens of a session and remembers them.
func (c *call) issue(sess *session, now time.Time, withRefresh bool) issued {
	got := issued{session: sess, accessTTL: c.rules.accessTTL, refreshTTL: c.rules.refreshTTL}
	if end := c.sessionEnd(sess); !end.IsZero() {
		got.accessTTL, got.refreshTTL = min(got.accessTTL, end.Sub(now)), min(got.refreshTTL, end.Sub(now))
	}
	got.accessExpires = now.Add(got.accessTTL)
	if c.op == opAppKey {
		// The expiry is sent as a time in whole seconds by the provider's clock: the token dies just then.
		offset := c.rules.clockOffset
		got.accessExpires = time.Unix(got.accessExpires.Add(offset).Unix(), 0).Add(-offset)
	}
	var refreshExpires time.Time
	if got.refreshTTL > 0 {
		refreshExpires = now.Add(got.refreshTTL)
	}
	if c.ep.provider == SinchIndia {
		got.access = c.jwt("Bearer", sess, got.accessExpires)
		got.refresh = c.jwt("Refresh", sess, refreshExpires)
	} else {
		got.access, got.refresh = opaque(), opaque()
	}

	l := c.sim.tokens
	c.sim.mu.Lock()
	defer c.sim.mu.Unlock()
	if last := l.latest[accountKey{sess.provider, sess.account}]; c.rules.singleToken && last != nil {
		last.revoked = now
	}
	l.add(&token{text: got.access, kind: kindAccess, session: sess, issued: now, expires: got.accessExpires})
	if !withRefresh {
		got.refresh = ""
		return got
	}
	l.add(&token{text: got.refresh, kind: kindRefresh, session: sess, issued: now, expires: refreshExpires})
	return got
}
