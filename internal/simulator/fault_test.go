// SPDX-License-Identifier: MPL-2.0

package simulator_test

import (
	"strings"
	"testing"

	"vault-plugin-secrets-messaging/internal/simulator"
)

func (r *rig) faults(faults ...simulator.Fault) {
	r.Helper()
	r.ok(r.client.Set(r.Context(), simulator.Settings{ProviderSettings: simulator.ProviderSettings{Faults: append([]simulator.Fault{}, faults...)}}))
}

func TestInterceptingFaults(t *testing.T) {
	r := newRig(t, simulator.Options{})
	r.faults(simulator.Fault{Kind: simulator.FaultStatus, Status: 429, RetryAfter: "7"})
	got := r.login("acme", "correct-horse")
	r.want(got, 429, nil)
	if got.header.Get("Retry-After") != "7" || !strings.Contains(got.text, "<h1>429 Too Many Requests</h1>") {
		t.Errorf("got header %v and page %s, want Retry-After 7 and the status as title", got.header, got.text)
	}
	r.faults(simulator.Fault{Kind: simulator.FaultStatus})
	got = r.enablex("sms", appID, appKey)
	r.want(got, 503, nil)
	r.equal("Retry-After", got.header.Values("Retry-After"), []string(nil))
	r.faults(simulator.Fault{Kind: simulator.FaultRedirect})
	got = r.login("acme", "correct-horse")
	r.want(got, 302, nil)
	r.equal("Location", got.header.Get("Location"), "https://elsewhere.invalid/token")
	r.faults(simulator.Fault{Kind: simulator.FaultCloseBefore})
	if got := r.login("acme", "correct-horse"); got.err == nil {
		t.Errorf("got status %d, want a closed connection", got.status)
	}
	r.equal("counts", r.state().Total, simulator.Counts{Requests: 4, Faults: 4, MaxConcurrent: 1})
}

func TestFaultCloseMidBody(t *testing.T) {
	r := newRig(t, simulator.Options{})
	r.faults(simulator.Fault{Kind: simulator.FaultCloseMidBody})
	got := r.login("acme", "correct-horse")
	if got.status != 200 || got.err == nil || got.text == "" {
		t.Errorf("got status %d, error %v, body %q, want 200 and a part of the body", got.status, got.err, got.text)
	}
}

func TestRefusingFaults(t *testing.T) {
	r := newRig(t, simulator.Options{})
	token := r.login("acme", "correct-horse").str("refresh_token")
	for _, tt := range []struct {
		kind, code, description string
		status                  int
		refresh                 bool
	}{
		{simulator.FaultRefuse, "invalid_grant", "Invalid user credentials", 401, false},
		{simulator.FaultAccountDisabled, "invalid_grant", "Account disabled", 400, false},
		{simulator.FaultAccountNotSetUp, "invalid_grant", "Account is not fully set up", 400, false},
		{simulator.FaultInvalidClient, "invalid_client", "Invalid client or Invalid client credentials", 401, false},
		{simulator.FaultUnauthorizedClient, "unauthorized_client", "Client not allowed for this grant", 400, false},
		{simulator.FaultDeadRefreshToken, "invalid_grant", "Token is not active", 400, true},
		{simulator.FaultDeadSession, "invalid_grant", "Session not active", 400, true},
	} {
		r.faults(simulator.Fault{Kind: tt.kind})
		got := r.login("acme", "correct-horse")
		if tt.refresh {
			r.want(got, 200, nil) // the fault applies to refreshes only
			got = r.refresh(token)
		}
		r.want(got, tt.status, map[string]any{"error": tt.code, "error_description": tt.description})
	}
	r.faults(simulator.Fault{Kind: simulator.FaultRefuse, Description: "go away"})
	r.want(r.login("acme", "correct-horse"), 401, map[string]any{"error_description": "go away"})
	r.want(r.enablex("whatsapp", appID, appKey), 200, map[string]any{"reason": "go away"})
	r.want(r.refresh(token), 200, nil)
}

func TestCorruptingFaults(t *testing.T) {
	r := newRig(t, simulator.Options{})
	for kind, check := range map[string]func(result) bool{
		simulator.FaultNotJSON:        func(g result) bool { return g.json == nil && g.text != "" },
		simulator.FaultTruncated:      func(g result) bool { return g.json == nil && strings.HasPrefix(g.text, "{") },
		simulator.FaultEmpty:          func(g result) bool { return g.text == "" },
		simulator.FaultOversized:      func(g result) bool { return len(g.text) > 1<<20 && g.json != nil },
		simulator.FaultNoToken:        func(g result) bool { return g.json["token"] == nil && g.json["expiry"] != nil },
		simulator.FaultTokenEmpty:     func(g result) bool { return g.json["token"] == "" },
		simulator.FaultTokenType:      func(g result) bool { return g.json["token"] == 12345.0 },
		simulator.FaultTokenControl:   func(g result) bool { return strings.Contains(g.str("token"), "\r\n") },
		simulator.FaultExpiryNegative: func(g result) bool { return g.json["expiry"] == -5.0 },
		simulator.FaultExpiryPast:     func(g result) bool { return g.json["expiry"] == float64(r.now.Unix()-60) },
		simulator.FaultExpiryHuge:     func(g result) bool { return strings.Contains(g.text, ":9223372036854775807") },
		simulator.FaultExpiryType:     func(g result) bool { return g.json["expiry"] == "soon" },
	} {
		r.faults(simulator.Fault{Kind: kind})
		got := r.enablex("whatsapp", appID, appKey)
		if got.err != nil || got.status != 200 || !check(got) {
			t.Errorf("got status %d, error %v, body %.100q, want 200 and the fault %s", got.status, got.err, got.text, kind)
		}
	}
	r.faults(simulator.Fault{Kind: simulator.FaultExpiryPast})
	r.want(r.login("acme", "correct-horse"), 200, map[string]any{"expires_in": 0.0})
	r.want(r.login("acme", "wrong"), 401, map[string]any{"error": "invalid_grant"}) // has no token to corrupt
}

func TestFaultCountAndOrder(t *testing.T) {
	r := newRig(t, simulator.Options{})
	r.patch(`{"faults": [{"kind": "status", "status": 502}],
		"providers": {"sinch-india": {"faults": [
			{"kind": "status", "status": 503, "count": 2}, {"kind": "status", "status": 504, "count": 1}]}}}`)
	for _, status := range []int{503, 503, 504, 502, 502} {
		r.want(r.login("acme", "correct-horse"), status, nil)
	}
	r.want(r.enablex("rcs", appID, appKey), 502, nil)
	r.faults()
	r.want(r.login("acme", "correct-horse"), 200, nil)
}

func TestFaultCountdown(t *testing.T) {
	r := newRig(t, simulator.Options{})
	r.faults(simulator.Fault{Kind: simulator.FaultStatus, Count: 3})
	r.login("acme", "correct-horse")
	r.patch(`{"access_ttl": 5}`) // does not restore the count
	r.equal("faults", r.state().Settings.Faults, []simulator.Fault{{Kind: simulator.FaultStatus, Count: 2}})
}

func TestFaultOfOneOperation(t *testing.T) {
	r := newRig(t, simulator.Options{})
	got := r.login("acme", "correct-horse")
	r.faults(simulator.Fault{Kind: simulator.FaultStatus, On: "refresh_token"})
	r.want(r.refresh(got.str("refresh_token")), 503, nil)
	r.want(r.login("acme", "correct-horse"), 200, nil)
	r.faults(simulator.Fault{Kind: simulator.FaultStatus}) // for tokens only
	r.want(r.post(realm+"revoke", "client_id", "ipmessaging-client", "token", "x"), 200, nil)
}
