package simulator

import "time"

// issued is what a login or a refresh got.
type issued struct {
	access        string
	refresh       string // "" if none
	accessExpires time.Time
	session       *session
}

// login opens a session for an account that was verified, and issues its tokens.
func (c *call) login(account, client string) issued {
	return c.issue(&session{id: newSessionID(), provider: c.ep.provider, account: account, client: client},
		c.rules.refreshTokens && c.op != opAppKey && c.ep.provider != SinchConversation)
}

// refresh exchanges a refresh token that must have been issued to the client.
func (c *call) refresh(text, client string) (issued, reason) {
	if r := c.fault.reason(); r != accepted {
		return issued{}, r
	}
	s, now := c.sim, c.sim.now()
	s.mu.Lock()
	old := s.tokens.find(text, c.ep.provider, kindRefresh, now)
	if old == nil || old.session.client != client {
		s.mu.Unlock()
		return issued{}, deadRefreshToken
	}
	if account, known := c.lookup(old.session.account); !known || account.Disabled {
		s.mu.Unlock()
		return issued{}, accountDisabled
	}
	if c.rules.rotateRefresh {
		old.revoked = now
	}
	s.mu.Unlock()
	return c.issue(old.session, c.rules.rotateRefresh), accepted
}

// issue makes tokens of a session and remembers them.
func (c *call) issue(sess *session, withRefresh bool) issued {
	now := c.sim.now()
	got := issued{session: sess, accessExpires: now.Add(c.rules.accessTTL)}
	if c.op == opAppKey {
		// The expiry is sent as a time in whole seconds by the provider's clock: the token dies just then.
		offset := c.rules.clockOffset
		got.accessExpires = time.Unix(got.accessExpires.Add(offset).Unix(), 0).Add(-offset)
	}
	var refreshExpires time.Time
	if c.rules.refreshTTL > 0 {
		refreshExpires = now.Add(c.rules.refreshTTL)
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
