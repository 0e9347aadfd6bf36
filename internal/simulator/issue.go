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
	refreshTTL    time.Duration // 0 without a refresh token
	accessExpires time.Time
	session       *session
}

// login opens a session for an authenticated account, and issues tokens.
func (c *call) login(account, client string) issued {
	now := c.sim.now()
	id := base64.RawURLEncoding.EncodeToString(random(18)) // 24 characters, as in Keycloak
	sess := &session{id: id, provider: c.provider, account: account, client: client}
	hasSessions := c.provider == SinchIndia || c.provider == OAuth2
	return c.issue(sess, now, *c.settings.RefreshTokens && hasSessions)
}

// refresh exchanges a refresh token for new tokens.
func (c *call) refresh(text, client string) (issued, reason) {
	if r := c.fault.reason(); r != accepted {
		return issued{}, r
	}
	s, now := c.sim, c.sim.now()
	s.mu.Lock()
	old := s.tokens.find(text, c.provider, kindRefresh)
	r := c.checkRefreshToken(old, client, now)
	c.reusesRefresh = old != nil && old.used && (r == accepted || r == reusedRefreshToken)
	switch {
	case r == reusedRefreshToken:
		old.session.ended, old.session.detached = now, true
		c.endsSession = true
	case r == accepted && *c.settings.RevokeRefreshToken && !old.used:
		old.used, old.revoked = true, now.Add(c.settings.RefreshGrace.value())
	}
	s.mu.Unlock()
	if r != accepted {
		return issued{}, r
	}
	return c.issue(old.session, now, true), accepted
}

// checkRefreshToken returns accepted if the client may use the refresh token. A locked account may
// still refresh. The caller holds Simulator.mu.
func (c *call) checkRefreshToken(t *token, client string, now time.Time) reason {
	if t == nil || t.session.client != client {
		return invalidRefreshToken
	}
	sess := t.session
	_, known := c.secretOf(sess.account)
	switch {
	case !now.Before(t.expires):
		return deadRefreshToken
	case !known, !sess.closed.IsZero(), !sess.ended.IsZero() && !sess.detached:
		return deadSession
	case sess.detached:
		return detachedSession
	case t.used && !now.Before(t.revoked): // its grace is over
		return reusedRefreshToken
	}
	return accepted
}

// issue creates the tokens of a session and stores them.
func (c *call) issue(sess *session, now time.Time, withRefresh bool) issued {
	got := issued{session: sess, accessTTL: c.settings.AccessTTL.value(), accessExpires: now.Add(c.settings.AccessTTL.value())}
	if c.op == opAppKey {
		// The response states the expiry in whole seconds. The token ends at exactly that
		// time.
		offset := c.settings.ClockOffset.value()
		got.accessExpires = time.Unix(got.accessExpires.Add(offset).Unix(), 0).Add(-offset)
	}
	got.access = c.newToken("Bearer", sess, got.accessExpires)
	c.sim.mu.Lock()
	defer c.sim.mu.Unlock()
	c.sim.tokens.add(&token{text: got.access, kind: kindAccess, session: sess, issued: now, expires: got.accessExpires})
	if withRefresh {
		got.refreshTTL = c.settings.RefreshTTL.value()
		expires := now.Add(got.refreshTTL)
		got.refresh = c.newToken("Refresh", sess, expires)
		c.sim.tokens.add(&token{text: got.refresh, kind: kindRefresh, session: sess, issued: now, expires: expires})
	}
	return got
}

// newToken returns a random token. For Sinch India, the token looks like Keycloak's JWT, but the
// signature is random.
func (c *call) newToken(typ string, s *session, expires time.Time) string {
	if c.provider != SinchIndia {
		return hex.EncodeToString(random(32))
	}
	claims := object{
		"iat": c.providerNow().Unix(), "exp": expires.Add(c.settings.ClockOffset.value()).Unix(), "jti": rand.Text(),
		"typ": typ, "sid": s.id, "azp": keycloakClient, "preferred_username": s.account,
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
