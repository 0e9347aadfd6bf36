// SPDX-License-Identifier: MPL-2.0

package simulator

import (
	"crypto/rand"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"time"
)

// issued holds the tokens that a login or a refresh returns.
type issued struct {
	access        string
	refresh       string // "" if none
	accessTTL     time.Duration
	refreshTTL    time.Duration // 0 if the refresh token never expires, or without a refresh token
	accessExpires time.Time
	session       *session
}

// login opens a session for an authenticated account and issues its tokens.
func (c *call) login(account, client string) issued {
	now := c.sim.now()
	id := base64.RawURLEncoding.EncodeToString(random(18)) // 24 characters, as in Keycloak
	sess := &session{id: id, provider: c.provider, account: account, client: client, opened: now}
	withRefresh := *c.settings.RefreshTokens && c.hasSessions()
	got := c.issue(sess, now, withRefresh)
	if !withRefresh {
		got.refreshTTL = 0
	}
	return got
}

// hasSessions reports whether the provider has sessions, which clients refresh and end.
func (c *call) hasSessions() bool { return c.provider == SinchIndia || c.provider == OAuth2 }

// sessionEnd returns when the session reaches its maximum age; zero means never.
func (c *call) sessionEnd(sess *session) time.Time {
	sessionMax := c.settings.SessionMax.value()
	if sessionMax == 0 || *c.settings.RefreshTTL == 0 || !c.hasSessions() {
		return time.Time{}
	}
	return sess.opened.Add(sessionMax)
}

// sessionOver reports whether the session has ended. The session ends one second early, because
// lifetimes are whole seconds.
func (c *call) sessionOver(sess *session, now time.Time) bool {
	end := c.sessionEnd(sess)
	return !sess.ended.IsZero() || (!end.IsZero() && end.Sub(now) < time.Second)
}

// refresh exchanges a refresh token for new tokens.
func (c *call) refresh(text, client string) (issued, reason) {
	if r := c.fault.reason(); r != accepted {
		return issued{}, r
	}
	rotate := *c.settings.RotateRefresh
	s, now := c.sim, c.sim.now()
	s.mu.Lock()
	old := s.tokens.find(text, c.provider, kindRefresh)
	r := c.checkRefreshToken(old, client, now)
	c.reusesRefresh = old != nil && old.used && (r == accepted || r == reusedRefreshToken)
	switch {
	case r == reusedRefreshToken:
		old.session.ended, old.session.detached = now, true
		c.endsSession = true
	case r == accepted && rotate && *c.settings.RevokeRefreshToken && !old.used:
		old.used, old.revoked = true, now.Add(c.settings.RefreshGrace.value())
	}
	s.mu.Unlock()
	if r != accepted {
		return issued{}, r
	}
	return c.issue(old.session, now, rotate), accepted
}

// checkRefreshToken says whether the client may use a refresh token. A nil token is invalid. A locked
// account, or an account that is not set up, may still refresh. The caller holds the simulator's lock.
func (c *call) checkRefreshToken(t *token, client string, now time.Time) reason {
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
	case t.used && !now.Before(t.revoked): // its grace is over
		return reusedRefreshToken
	}
	return accepted
}

// issue creates the tokens of a session and stores them.
func (c *call) issue(sess *session, now time.Time, withRefresh bool) issued {
	got := issued{session: sess, accessTTL: c.settings.AccessTTL.value(), refreshTTL: c.settings.RefreshTTL.value()}
	if end := c.sessionEnd(sess); !end.IsZero() {
		got.accessTTL, got.refreshTTL = min(got.accessTTL, end.Sub(now)), min(got.refreshTTL, end.Sub(now))
	}
	got.accessExpires = now.Add(got.accessTTL)
	if c.op == opAppKey {
		// EnableX states the expiry in whole seconds on its own clock, and the token ends at
		// that time.
		offset := c.settings.ClockOffset.value()
		got.accessExpires = time.Unix(got.accessExpires.Add(offset).Unix(), 0).Add(-offset)
	}
	var refreshExpires time.Time
	if got.refreshTTL > 0 {
		refreshExpires = now.Add(got.refreshTTL)
	}
	if c.provider == SinchIndia {
		got.access = c.jwt("Bearer", sess, got.accessExpires)
		got.refresh = c.jwt("Refresh", sess, refreshExpires)
	} else {
		got.access, got.refresh = hex.EncodeToString(random(32)), hex.EncodeToString(random(32))
	}

	store := c.sim.tokens
	c.sim.mu.Lock()
	defer c.sim.mu.Unlock()
	if last := store.latest[c.key(sess.account)]; *c.settings.SingleToken && last != nil {
		last.revoked = now
	}
	store.add(&token{text: got.access, kind: kindAccess, session: sess, issued: now, expires: got.accessExpires})
	if !withRefresh {
		got.refresh = ""
		return got
	}
	store.add(&token{text: got.refresh, kind: kindRefresh, session: sess, issued: now, expires: refreshExpires})
	return got
}

// jwt returns a token that looks like Keycloak's. Its signature is random.
func (c *call) jwt(typ string, s *session, expires time.Time) string {
	claims := object{
		"iat": c.providerNow().Unix(), "jti": rand.Text(), "typ": typ, "sid": s.id,
		"azp": keycloakClient, "preferred_username": s.account,
	}
	if !expires.IsZero() {
		claims["exp"] = expires.Add(c.settings.ClockOffset.value()).Unix()
	}
	payload, _ := json.Marshal(claims) // strings and numbers always encode
	b64 := base64.RawURLEncoding.EncodeToString
	return b64([]byte(`{"alg":"ES512","typ":"JWT"}`)) + "." + b64(payload) + "." + b64(random(64))
}

func random(n int) []byte {
	b := make([]byte, n)
	_, _ = rand.Read(b) // never fails
	return b
}
