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

func TestWithoutRefreshTokens(t *testing.T) {
	r := newRig(t, simulator.Options{})
	r.patch(`{"refresh_tokens": false}`)
	r.want(r.login("acme", "correct-horse"), 200, map[string]any{"refresh_expires_in": 0.0, "refresh_token": nil})
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

func TestRefreshDespiteALockout(t *testing.T) {
	r := newRig(t, simulator.Options{})
	r.patch(`{"lockout_after": 1}`)
	token := r.login("acme", "correct-horse").str("refresh_token")
	r.want(r.login("acme", "wrong"), 401, nil)
	r.want(r.login("acme", "correct-horse"), 401, nil)
	r.want(r.refresh(token), 200, nil)
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

// A used refresh token works again during the grace period. A use after the period ends the
// session.
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
