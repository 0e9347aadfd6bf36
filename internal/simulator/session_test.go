// SPDX-License-Identifier: MPL-2.0

package simulator_test

import (
	"testing"
	"time"

	"vault-plugin-secrets-messaging/internal/simulator"
)

func TestDeadRefreshTokens(t *testing.T) {
	r := newRig(t, simulator.Options{})
	r.patch(`{"accounts": {"gone": {"secret": "x"}}}`)
	refused := func(token, words string) {
		t.Helper()
		r.want(r.refresh(token), 400, map[string]any{"error": "invalid_grant", "error_description": words})
	}
	in, gone := r.login("acme", "correct-horse"), r.login("gone", "x")
	refused("x", "Invalid refresh token")
	refused("", "Invalid refresh token")
	refused(in.str("access_token"), "Invalid refresh token")
	r.patch(`{"accounts": {"gone": null}}`)
	refused(gone.str("refresh_token"), "Session not active")
	if _, err := r.client.RevokeSessions(t.Context(), "", ""); err != nil {
		t.Fatal(err)
	}
	refused(in.str("refresh_token"), "Session not active")
	r.advance(30 * time.Minute)
	refused(in.str("refresh_token"), "Token is not active")
	r.noViolations()
}

func TestRefreshDespiteLockoutAndActions(t *testing.T) {
	r := newRig(t, simulator.Options{})
	r.patch(`{"lockout_after": 1}`)
	token := r.login("acme", "correct-horse").str("refresh_token")
	r.want(r.login("acme", "wrong"), 401, nil)
	r.want(r.login("acme", "correct-horse"), 401, nil)
	r.want(r.refresh(token), 200, nil)
	r.advance(time.Minute)
	r.patch(`{"accounts": {"acme": {"not_set_up": true}}}`)
	r.want(r.login("acme", "correct-horse"), 400, map[string]any{"error_description": "Account is not fully set up"})
	r.want(r.refresh(token), 200, nil)
}

// A realm may take each refresh token only once: whoever uses one twice ends the session.
func TestOneUseRefreshTokens(t *testing.T) {
	r := newRig(t, simulator.Options{})
	r.patch(`{"revoke_refresh_token": true}`)
	first, other := r.login("acme", "correct-horse"), r.login("acme", "correct-horse")
	second := r.refresh(first.str("refresh_token"))
	third := r.refresh(second.str("refresh_token"))
	r.want(third, 200, nil)
	if in := r.introspect(second.str("refresh_token")); in.Active || !in.Revoked {
		t.Errorf("a used refresh token: %+v", in)
	}
	r.want(r.refresh(first.str("refresh_token")), 400, map[string]any{
		"error": "invalid_grant", "error_description": "Maximum allowed refresh token reuse exceeded",
	})
	r.want(r.refresh(third.str("refresh_token")), 400, map[string]any{
		"error": "invalid_grant", "error_description": "Session doesn't have required client",
	})
	if r.introspect(third.str("access_token")).Active {
		t.Error("the access token outlived its session")
	}
	r.want(r.refresh(other.str("refresh_token")), 200, nil)
}

// No token outlives its session, and each refresh near its end yields shorter ones.
func TestSessionMax(t *testing.T) {
	r := newRig(t, simulator.Options{})
	r.patch(`{"access_ttl": 300, "refresh_ttl": 1800, "session_max": 3600}`)
	left := func(got result, access, refresh float64) result {
		t.Helper()
		r.want(got, 200, map[string]any{"expires_in": access, "refresh_expires_in": refresh})
		return got
	}
	got := left(r.login("acme", "correct-horse"), 300, 1800)
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
		got = left(r.refresh(got.str("refresh_token")), step.access, step.refresh)
	}
	if got.str("session_state") != session {
		t.Errorf("session %q has become %q", session, got.str("session_state"))
	}
	over := map[string]any{"error": "invalid_grant", "error_description": "Session not active"}
	r.advance(time.Second)
	r.want(r.refresh(got.str("refresh_token")), 400, over)
	r.advance(500 * time.Millisecond)
	r.want(r.refresh(got.str("refresh_token")), 400, over)
	if in := r.introspect(got.str("access_token")); in.Active || in.ExpiresIn != 0 {
		t.Errorf("the access token outlived its session: %+v", in)
	}
	r.want(r.post(realm+"revoke", "client_id", "ipmessaging-client", "token", got.str("access_token")), 200,
		map[string]any{"error": "invalid_token"})
	left(r.login("acme", "correct-horse"), 300, 1800)

	r.patch(`{"session_max": 60}`)
	left(r.login("acme", "correct-horse"), 60, 60)
	r.want(r.enablex("rcs", appID, appKey), 200, map[string]any{"expiry": float64(r.now.Add(300 * time.Second).Unix())})
}

func TestWithoutRefreshTokens(t *testing.T) {
	r := newRig(t, simulator.Options{})
	r.patch(`{"refresh_tokens": false}`)
	got := r.login("acme", "correct-horse")
	r.want(got, 200, map[string]any{"refresh_expires_in": 0.0})
	if _, ok := got.json["refresh_token"]; ok {
		t.Error("a refresh token")
	}
}
