// SPDX-License-Identifier: MPL-2.0

package simulator_test

import (
	"testing"
	"time"

	"vault-plugin-secrets-messaging/internal/simulator"
)

func TestRefreshKeepsTheSession(t *testing.T) {
	r := newRig(t, simulator.Options{})
	first := r.login("acme", "correct-horse")
	session := map[string]any{"session_state": first.str("session_state")}
	second := r.refresh(first.str("refresh_token"))
	r.want(second, 200, session)
	if second.str("refresh_token") == first.str("refresh_token") {
		t.Error("got the same refresh token from a refresh, want a new one")
	}
	r.wantActive("access token after a refresh", first.str("access_token"), true)
	if r.login("acme", "correct-horse").str("session_state") == first.str("session_state") {
		t.Error("got the same session from a second login, want a new one")
	}
	r.advance(20 * time.Minute)
	third := r.refresh(first.str("refresh_token")) // valid until its expiry
	r.want(third, 200, session)
	r.advance(10 * time.Minute)
	dead := map[string]any{"error": "invalid_grant", "error_description": "Token is not active"}
	r.want(r.refresh(first.str("refresh_token")), 400, dead)
	r.want(r.refresh(second.str("refresh_token")), 400, dead)
	r.want(r.refresh(third.str("refresh_token")), 200, nil)
	r.wantCounts(r.state().Providers[simulator.SinchIndia].Accounts["acme"],
		simulator.Counts{LoginsSucceeded: 2, RefreshesSucceeded: 3, RefreshesFailed: 2})
}

func TestOfflineToken(t *testing.T) {
	r := newRig(t, simulator.Options{})
	r.patch(`{"refresh_ttl": 0}`)
	got := r.login("acme", "correct-horse")
	r.want(got, 200, map[string]any{"refresh_expires_in": 0.0})
	r.advance(1000 * time.Hour)
	in := r.introspect(got.str("refresh_token"))
	r.equal("offline token is active, never expires", []bool{in.Active, in.NeverExpires}, []bool{true, true})
	r.patch(`{"session_max": 60}`) // does not apply to offline tokens
	r.want(r.refresh(got.str("refresh_token")), 200, map[string]any{"expires_in": 3600.0})
	r.sim.RevokeSessions("", "")
	r.want(r.refresh(got.str("refresh_token")), 400, map[string]any{"error_description": "Offline user session not found"})
}

func TestWithoutRefreshTokens(t *testing.T) {
	r := newRig(t, simulator.Options{})
	r.patch(`{"refresh_tokens": false}`)
	r.want(r.login("acme", "correct-horse"), 200, map[string]any{"refresh_expires_in": 0.0, "refresh_token": nil})
}

func TestRefreshWithoutRotation(t *testing.T) {
	r := newRig(t, simulator.Options{})
	r.patch(`{"rotate_refresh": false, "revoke_refresh_token": true}`) // nothing replaces the token, so it stays valid
	token := r.login("acme", "correct-horse").str("refresh_token")
	for range 2 {
		r.want(r.refresh(token), 200, map[string]any{"refresh_token": nil})
	}
}

func TestDeadRefreshTokens(t *testing.T) {
	r := newRig(t, simulator.Options{})
	r.patch(`{"accounts": {"gone": {"secret": "x"}}}`)
	refused := func(token, description string) {
		t.Helper()
		r.want(r.refresh(token), 400, map[string]any{"error": "invalid_grant", "error_description": description})
	}
	acme, gone := r.login("acme", "correct-horse"), r.login("gone", "x")
	refused("x", "Invalid refresh token")
	refused("", "Invalid refresh token")
	refused(acme.str("access_token"), "Invalid refresh token")
	r.patch(`{"accounts": {"gone": null}}`)
	refused(gone.str("refresh_token"), "Session not active")
	r.sim.RevokeSessions("", "")
	refused(acme.str("refresh_token"), "Session not active")
	r.advance(30 * time.Minute)
	refused(acme.str("refresh_token"), "Token is not active")
	r.noViolations()
}

func TestRefreshOfARestrictedAccount(t *testing.T) {
	r := newRig(t, simulator.Options{})
	r.patch(`{"lockout_after": 1}`)
	token := r.login("acme", "correct-horse").str("refresh_token")
	r.want(r.login("acme", "wrong"), 401, nil)
	r.want(r.login("acme", "correct-horse"), 401, nil)
	r.want(r.refresh(token), 200, nil) // despite the lockout
	r.advance(time.Minute)
	r.patch(`{"accounts": {"acme": {"not_set_up": true}}}`)
	r.want(r.login("acme", "correct-horse"), 400, map[string]any{"error_description": "Account is not fully set up"})
	r.want(r.refresh(token), 200, nil)
	r.patch(`{"accounts": {"acme": {"disabled": true}}}`)
	r.want(r.refresh(token), 400, map[string]any{"error_description": "User disabled"})
	r.patch(`{"accounts": {"acme": {"disabled": false}}}`)
	r.want(r.refresh(token), 200, nil) // the session is still there
}

// The second use of a refresh token ends its session.
func TestRevokeRefreshToken(t *testing.T) {
	r := newRig(t, simulator.Options{})
	r.patch(`{"revoke_refresh_token": true}`)
	first, other := r.login("acme", "correct-horse"), r.login("acme", "correct-horse")
	second := r.refresh(first.str("refresh_token"))
	third := r.refresh(second.str("refresh_token"))
	r.want(third, 200, nil)
	in := r.introspect(second.str("refresh_token"))
	r.equal("used refresh token is active, revoked", []bool{in.Active, in.Revoked}, []bool{false, true})
	r.want(r.refresh(first.str("refresh_token")), 400, map[string]any{
		"error": "invalid_grant", "error_description": "Maximum allowed refresh token reuse exceeded",
	})
	r.want(r.refresh(third.str("refresh_token")), 400, map[string]any{
		"error": "invalid_grant", "error_description": "Session doesn't have required client",
	})
	r.wantActive("access token of the ended session", third.str("access_token"), false)
	r.want(r.refresh(other.str("refresh_token")), 200, nil)
}

// During the grace period, the provider accepts a used refresh token again. After the grace
// period, reuse ends the session.
func TestRefreshGrace(t *testing.T) {
	r := newRig(t, simulator.Options{})
	r.patch(`{"revoke_refresh_token": true, "refresh_grace": 10}`)
	first := r.login("acme", "correct-horse").str("refresh_token")
	second := r.refresh(first).str("refresh_token")
	r.advance(9 * time.Second)
	in := r.introspect(first)
	r.equal("refresh token in its grace is active, revoked", []bool{in.Active, in.Revoked}, []bool{true, false})
	again := r.refresh(first)
	r.want(again, 200, nil)
	if got := again.str("refresh_token"); got == second || got == first {
		t.Error("got a refresh token that was issued before, want a new one")
	}
	r.want(r.refresh(second), 200, nil)
	r.wantCounts(r.state().Total, simulator.Counts{LoginsSucceeded: 1, RefreshesSucceeded: 3, RefreshReuses: 1})
	r.advance(time.Second) // a reuse does not extend the grace
	r.want(r.refresh(first), 400, map[string]any{"error_description": "Maximum allowed refresh token reuse exceeded"})
	r.want(r.refresh(again.str("refresh_token")), 400, map[string]any{"error_description": "Session doesn't have required client"})
	r.wantActive("access token of the ended session", again.str("access_token"), false)
	r.wantCounts(r.state().Total, simulator.Counts{LoginsSucceeded: 1, RefreshesSucceeded: 3, RefreshesFailed: 2,
		RefreshReuses: 2, SessionsEndedByReuse: 1})
}

// No token outlives its session, so tokens that are issued near the end of a session have
// shorter lifetimes.
func TestSessionMax(t *testing.T) {
	r := newRig(t, simulator.Options{})
	r.patch(`{"access_ttl": 300, "refresh_ttl": 1800, "session_max": 3600}`)
	wantLifetimes := func(got result, access, refresh float64) result {
		t.Helper()
		r.want(got, 200, map[string]any{"expires_in": access, "refresh_expires_in": refresh})
		return got
	}
	got := wantLifetimes(r.login("acme", "correct-horse"), 300, 1800)
	session := got.str("session_state")
	for _, step := range []struct {
		after           time.Duration
		access, refresh float64
	}{
		{25 * time.Minute, 300, 1800},
		{25 * time.Minute, 300, 600},
		{9*time.Minute + 500*time.Millisecond, 59, 59},
		{58 * time.Second, 1, 1},
	} {
		r.advance(step.after)
		got = wantLifetimes(r.refresh(got.str("refresh_token")), step.access, step.refresh)
	}
	r.equal("session", got.str("session_state"), session)
	over := map[string]any{"error": "invalid_grant", "error_description": "Session not active"}
	r.advance(time.Second)
	r.want(r.refresh(got.str("refresh_token")), 400, over)
	r.advance(500 * time.Millisecond)
	r.want(r.refresh(got.str("refresh_token")), 400, over)
	in := r.introspect(got.str("access_token"))
	r.equal("active, expires in", []any{in.Active, in.ExpiresIn}, []any{false, 0.0})
	r.want(r.post(realm+"revoke", "client_id", "ipmessaging-client", "token", got.str("access_token")), 200,
		map[string]any{"error": "invalid_token"})
	wantLifetimes(r.login("acme", "correct-horse"), 300, 1800)

	r.patch(`{"session_max": 60}`)
	wantLifetimes(r.login("acme", "correct-horse"), 60, 60)
	r.want(r.enablex("rcs", appID, appKey), 200, map[string]any{"expiry": float64(r.now.Unix() + 300)})
}

func TestSingleToken(t *testing.T) {
	r := newRig(t, simulator.Options{})
	r.patch(`{"single_token": true}`)
	first, other := r.enablex("sms", appID, appKey), r.enablex("rcs", appID, appKey)
	second := r.enablex("sms", appID, appKey)
	r.wantActive("previous token of the account", first.str("token"), false)
	r.wantActive("latest token of the account", second.str("token"), true)
	r.wantActive("token of another provider", other.str("token"), true)
}
