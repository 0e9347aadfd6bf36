// SPDX-License-Identifier: MPL-2.0

package simulator_test

import (
	"testing"
	"time"

	"vault-plugin-secrets-messaging/internal/simulator"
)

func TestTokenExpiresAndIsForgotten(t *testing.T) {
	r := newRig(t, simulator.Options{})
	r.patch(`{"access_ttl": 60}`)
	token := r.login("acme", "correct-horse").str("access_token")
	r.advance(60*time.Second - 1)
	r.wantActive("just before the expiry", token, true)
	r.advance(1)
	expired := simulator.Introspection{
		Known: true, Provider: simulator.SinchIndia, Account: "acme", Kind: "access", IssuedAt: r.now.Add(-time.Minute),
	}
	r.equal("at the expiry", r.introspect(token), expired)
	r.advance(15 * time.Minute)
	r.login("acme", "correct-horse")
	r.equal("known 15m after the expiry", r.introspect(token).Known, true)
	r.advance(time.Minute)
	r.login("acme", "correct-horse")
	r.equal("16m after the expiry", r.introspect(token), simulator.Introspection{})
}

func TestRevokeSessions(t *testing.T) {
	r := newRig(t, simulator.Options{})
	r.patch(`{"any_account": true}`)
	a, b := r.login("a", "a-secret"), r.login("b", "b-secret")
	revoke := func(provider, account string, want int) {
		t.Helper()
		n, err := r.client.RevokeSessions(t.Context(), provider, account)
		r.ok(err)
		r.equal("revoked sessions of "+provider+account, n, want)
	}
	revoke(simulator.OAuth2, "", 0)
	revoke(simulator.SinchIndia, "a", 1)
	r.want(r.refresh(a.str("refresh_token")), 400, map[string]any{"error_description": "Session not active"})
	in := r.introspect(a.str("refresh_token"))
	r.equal("revoked token is active, revoked", []bool{in.Active, in.Revoked}, []bool{false, true})
	b = r.refresh(b.str("refresh_token")) // the session now has two refresh tokens
	revoke("", "", 1)
	r.want(r.refresh(b.str("refresh_token")), 400, nil)
	r.wantActive("access token of a revoked session", b.str("access_token"), true)
}

func TestEndTokens(t *testing.T) {
	r := newRig(t, simulator.Options{})
	rcs, sms := r.enablex("rcs", appID, appKey).str("token"), r.enablex("sms", appID, appKey).str("token")
	n, err := r.client.EndTokens(t.Context(), simulator.EnableXRCS, "")
	r.ok(err)
	r.equal("ended tokens", n, 1)
	r.wantActive("token of the provider", rcs, false)
	r.wantActive("token of another provider", sms, true)
}
