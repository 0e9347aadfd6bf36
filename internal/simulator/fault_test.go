// SPDX-License-Identifier: MPL-2.0

package simulator_test

import (
	"encoding/base64"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"vault-plugin-secrets-messaging/internal/simulator"
)

func (r *rig) faults(faults ...simulator.Fault) {
	r.Helper()
	if err := r.client.SetFaults(r.Context(), "", faults...); err != nil {
		r.Fatal(err)
	}
}

func TestFaultInFront(t *testing.T) {
	r := newRig(t, simulator.Options{})
	r.faults(simulator.Fault{Kind: simulator.FaultStatus, Status: 429, RetryAfter: "7"})
	got := r.login("acme", "correct-horse")
	r.want(got, 429, nil)
	if got.header.Get("Retry-After") != "7" || !strings.Contains(got.text, "<h1>429 Too Many Requests</h1>") {
		t.Errorf("got %v %s", got.header, got.text)
	}
	r.faults(simulator.Fault{Kind: simulator.FaultStatus})
	got = r.enablex("sms", appID, appKey)
	r.want(got, 503, nil)
	if _, ok := got.header["Retry-After"]; ok {
		t.Error("a Retry-After")
	}
	r.faults(simulator.Fault{Kind: simulator.FaultRedirect})
	got = r.login("acme", "correct-horse")
	r.want(got, 302, nil)
	if got.header.Get("Location") != "https://elsewhere.invalid/token" {
		t.Errorf("Location %q", got.header.Get("Location"))
	}
	r.faults(simulator.Fault{Kind: simulator.FaultCloseBefore})
	if got := r.login("acme", "correct-horse"); got.err == nil {
		t.Errorf("an answer: %d", got.status)
	}
	if c := r.state().Total; c.Requests != 4 || c.Faults != 4 || c.Logins() != 0 {
		t.Errorf("counts: %+v", c)
	}
}

func TestFaultCloseMidBody(t *testing.T) {
	r := newRig(t, simulator.Options{})
	r.faults(simulator.Fault{Kind: simulator.FaultCloseMidBody})
	got := r.login("acme", "correct-horse")
	if got.status != 200 || got.err == nil || got.text == "" {
		t.Errorf("status %d, error %v, body %q", got.status, got.err, got.text)
	}
}

func TestRefusingFaults(t *testing.T) {
	r := newRig(t, simulator.Options{})
	token := r.login("acme", "correct-horse").str("refresh_token")
	for _, tt := range []struct {
		kind, code, words string
		status            int
		refresh           bool
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
			r.want(got, 200, nil) // a dead refresh token is no matter to a login
			got = r.refresh(token)
		}
		r.want(got, tt.status, map[string]any{"error": tt.code, "error_description": tt.words})
	}
	r.faults(simulator.Fault{Kind: simulator.FaultRefuse, Description: "go away"})
	r.want(r.login("acme", "correct-horse"), 401, map[string]any{"error_description": "go away"})
	r.want(r.enablex("whatsapp", appID, appKey), 200, map[string]any{"reason": "go away"})
	r.want(r.refresh(token), 200, nil)
}

func TestSpoiledBodies(t *testing.T) {
	r := newRig(t, simulator.Options{})
	for kind, check := range map[string]func(result) bool{
		simulator.FaultNotJSON:   func(g result) bool { return g.json == nil && g.text != "" },
		simulator.FaultTruncated: func(g result) bool { return g.json == nil && strings.HasPrefix(g.text, "{") },
		simulator.FaultEmpty:     func(g result) bool { return g.text == "" },
		simulator.FaultOversized: func(g result) bool { return len(g.text) > 1<<20 && g.json != nil },
		simulator.FaultNoToken:   func(g result) bool { _, ok := g.json["token"]; return !ok && g.json["expiry"] != nil },
		simulator.FaultTokenEmpty: func(g result) bool {
			v, ok := g.json["token"]
			return ok && v == ""
		},
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
			t.Errorf("%s: status %d, error %v, body %.100q", kind, got.status, got.err, got.text)
		}
	}
	r.faults(simulator.Fault{Kind: simulator.FaultExpiryPast})
	r.want(r.login("acme", "correct-horse"), 200, map[string]any{"expires_in": 0.0})
	r.want(r.login("acme", "wrong"), 401, map[string]any{"error": "invalid_grant"}) // nothing there to spoil
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

func TestFaultCountIsInTheState(t *testing.T) {
	r := newRig(t, simulator.Options{})
	r.faults(simulator.Fault{Kind: simulator.FaultStatus, Count: 3})
	r.login("acme", "correct-horse")
	r.patch(`{"access_ttl": 5}`) // another knob does not start it anew
	if f := r.state().Settings.Faults; len(f) != 1 || f[0].Count != 2 {
		t.Errorf("faults: %+v", f)
	}
}

func TestFaultOfOneAccountOrOperation(t *testing.T) {
	r := newRig(t, simulator.Options{})
	r.patch(`{"any_account": true, "faults": [{"kind": "status", "account": "u1"}]}`)
	r.want(r.login("u1", "u1-secret"), 503, nil)
	got := r.login("u2", "u2-secret")
	r.want(got, 200, nil)
	r.faults(simulator.Fault{Kind: simulator.FaultStatus, On: "refresh_token", Account: "u2"})
	r.want(r.refresh(got.str("refresh_token")), 503, nil)
	r.want(r.login("u2", "u2-secret"), 200, nil)
	r.faults(simulator.Fault{Kind: simulator.FaultStatus})
	r.want(r.post(realm+"revoke", "client_id", "ipmessaging-client", "token", "x"), 200, nil)
}

func TestDateHeader(t *testing.T) {
	r := newRig(t, simulator.Options{})
	if got := r.login("acme", "correct-horse").header.Get("Date"); got != "Sun, 22 Nov 2026 08:00:00 GMT" {
		t.Errorf("Date %q", got)
	}
	r.patch(`{"clock_offset": -3600}`)
	if got := r.login("acme", "correct-horse").header.Get("Date"); got != "Sun, 22 Nov 2026 07:00:00 GMT" {
		t.Errorf("Date %q", got)
	}
	r.patch(`{"date_header": "none"}`)
	if got, ok := r.login("acme", "correct-horse").header["Date"]; ok {
		t.Errorf("Date %q", got)
	}
	r.patch(`{"date_header": "garbage"}`)
	got := r.login("acme", "correct-horse").header.Get("Date")
	if _, err := http.ParseTime(got); got == "" || err == nil {
		t.Errorf("Date %q", got)
	}
}

func TestEchoSecrets(t *testing.T) {
	const secret = "pä\"ss& wörd😀"
	r := newRig(t, simulator.Options{})
	for form, want := range map[string]struct{ wire, decoded string }{
		"raw":        {"", secret},
		"url":        {"", url.QueryEscape(secret)},
		"base64":     {"", base64.StdEncoding.EncodeToString([]byte(secret))},
		"json":       {`\u0070\u00e4\u0022`, secret},
		"json-twice": {"", `\u0070\u00e4\u0022`},
	} {
		r.patch(`{"echo_secrets": ["` + form + `"]}`)
		for field, got := range map[string]result{
			"error_description": r.login("acme", secret),
			"reason":            r.enablex("whatsapp", appID, secret),
			"description":       r.enablex("rcs", appID, secret),
			"desc":              r.enablex("sms", appID, secret),
		} {
			if !strings.Contains(got.str(field), want.decoded) || !strings.Contains(got.text, want.wire) {
				t.Errorf("%s: %s", form, got.text)
			}
		}
	}
	r.patch(`{"echo_secrets": ["raw"], "faults": [{"kind": "status"}]}`)
	if got := r.login("acme", "hunter2"); !strings.Contains(got.text, "hunter2") {
		t.Errorf("the proxy's page has no echo: %s", got.text)
	}
	r.patch(`{"faults": null}`)
	got := r.oauth("/generic/token", basic("generic-client", "hunter 2"), "grant_type", "client_credentials")
	if !strings.Contains(got.str("error_description"), "hunter 2") {
		t.Errorf("no echo of the client secret: %s", got.text)
	}
}
