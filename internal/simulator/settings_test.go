// SPDX-License-Identifier: MPL-2.0

package simulator_test

import (
	"encoding/json"
	"reflect"
	"strings"
	"testing"
	"time"

	"vault-plugin-secrets-messaging/internal/simulator"
)

func TestBadSettingsAreNamedAndChangeNothing(t *testing.T) {
	r := newRig(t, simulator.Options{})
	r.patch(`{"access_ttl": 42}`)
	before := r.state().Settings
	for patch, name := range map[string]string{
		`{"access_ttl": 7, "acess_ttl": 5}`:                            "acess_ttl",
		`{"access_ttl": 7, "nonsense": null}`:                          "nonsense",
		`{"Access_TTL": 7}`:                                            "Access_TTL",
		`{"access_ttl": 0}`:                                            "access_ttl",
		`{"access_ttl": 1.5}`:                                          "access_ttl",
		`{"access_ttl": "soon"}`:                                       "access_ttl",
		`{"access_ttl": 1e300}`:                                        "access_ttl",
		`{"access_ttl": []}`:                                           "access_ttl",
		`{"refresh_ttl": -1}`:                                          "refresh_ttl",
		`{"session_max": 1.5}`:                                         "session_max",
		`{"latency": "-1s"}`:                                           "latency",
		`{"latency": "1h"}`:                                            "latency",
		`{"lockout_after": -1}`:                                        "lockout_after",
		`{"date_header": "late"}`:                                      "date_header",
		`{"expiry_format": "roman"}`:                                   "expiry_format",
		`{"success_status": 500}`:                                      "success_status",
		`{"failure_status": 42}`:                                       "failure_status",
		`{"echo_secrets": ["raw", "rot13"]}`:                           "echo_secrets",
		`{"any_account": "yes"}`:                                       "any_account",
		`{"accounts": {"x": {"password": "y"}}}`:                       "accounts",
		`{"faults": [{"kind": "status"}, {"kind": "flood"}]}`:          "flood",
		`{"faults": [{"kind": "status", "on": "sunday"}]}`:             "sunday",
		`{"faults": [{"kind": "status", "status": 99}]}`:               "faults",
		`{"faults": [{"kind": "status", "count": -1}]}`:                "faults",
		`{"faults": [{"kind": "status", "retry_after": "1\r\nX: y"}]}`: "faults",
		`{"faults": [{"kind": "status", "colour": "red"}]}`:            "colour",
		`{"providers": {"sinch": {}}}`:                                 "sinch",
		`{"providers": {"sinch-india": {"ttl": 5}}}`:                   "providers.sinch-india",
		`{"providers": {"sinch-india": {"access_ttl": 0}}}`:            "providers.sinch-india",
		`{"providers": []}`:                                            "providers",
		`[]`:                                                           "object",
		`null`:                                                         "object",
		`{"access_ttl": 7`:                                             "object",
	} {
		err := r.client.Patch(t.Context(), patch)
		if err == nil || !strings.Contains(err.Error(), "400") || !strings.Contains(err.Error(), name) {
			t.Errorf("%s: %v", patch, err)
		}
	}
	if after := r.state().Settings; !reflect.DeepEqual(before, after) {
		t.Errorf("settings changed to %+v", after)
	}
}

func TestProviderKnobsOverride(t *testing.T) {
	r := newRig(t, simulator.Options{})
	ttl := func() any { return r.login("acme", "correct-horse").json["expires_in"] }
	for _, step := range []struct {
		patch string
		want  any
	}{
		{`{"access_ttl": 60}`, 60.0},
		{`{"providers": {"sinch-india": {"access_ttl": "5m"}, "oauth2": {"access_ttl": 1}}}`, 300.0},
		{`{"access_ttl": 30}`, 300.0},
		{`{"providers": {"sinch-india": {"access_ttl": null}}}`, 30.0},
		{`{"access_ttl": null}`, 3600.0},
		{`{"providers": null}`, 3600.0},
	} {
		r.patch(step.patch)
		if got := ttl(); got != step.want {
			t.Errorf("after %s expires_in is %v, want %v", step.patch, got, step.want)
		}
	}
}

func TestSetLeavesTheRest(t *testing.T) {
	r := newRig(t, simulator.Options{})
	r.patch(`{"access_ttl": 60, "accounts": {"a": {"secret": "x"}}}`)
	err := r.client.Set(t.Context(), simulator.Settings{
		ProviderSettings: simulator.ProviderSettings{
			RefreshTTL: simulator.Ptr(simulator.Duration(0)),
			AnyAccount: simulator.Ptr(true),
			Accounts:   map[string]simulator.Account{"b": {Secret: "y"}},
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	s := r.state().Settings
	if *s.AccessTTL != simulator.Duration(time.Minute) || *s.RefreshTTL != 0 || !*s.AnyAccount || len(s.Accounts) != 2 {
		t.Errorf("settings: %+v", s)
	}
}

func TestResetGoesBackToTheStart(t *testing.T) {
	start := simulator.Settings{ProviderSettings: simulator.ProviderSettings{
		AccessTTL: simulator.Ptr(simulator.Duration(time.Minute)),
		Faults:    []simulator.Fault{{Kind: simulator.FaultStatus, Count: 1}},
	}}
	r := newRig(t, simulator.Options{Settings: start})
	for range 2 {
		r.want(r.login("acme", "correct-horse"), 503, nil)
		got := r.login("acme", "correct-horse")
		r.want(got, 200, map[string]any{"expires_in": 60.0})
		r.patch(`{"access_ttl": 5}`)
		if err := r.client.Reset(t.Context()); err != nil {
			t.Fatal(err)
		}
		st := r.state()
		if !reflect.DeepEqual(st.Settings, start) || st.Total != (simulator.Counts{}) || len(st.Providers) != 0 {
			t.Errorf("state: %+v", st)
		}
		if !r.introspect(got.str("access_token")).Active {
			t.Error("the reset ended a token")
		}
	}
}

func TestDurationJSON(t *testing.T) {
	for in, want := range map[string]time.Duration{
		`0`: 0, `5`: 5 * time.Second, `0.25`: 250 * time.Millisecond, `-90`: -90 * time.Second, `"1h30m"`: 90 * time.Minute,
	} {
		var d simulator.Duration
		if err := json.Unmarshal([]byte(in), &d); err != nil || time.Duration(d) != want {
			t.Errorf("%s is %v, %v", in, time.Duration(d), err)
		}
		again, err := json.Marshal(d)
		var back simulator.Duration
		if err != nil || json.Unmarshal(again, &back) != nil || back != d {
			t.Errorf("%s → %s → %v", in, again, time.Duration(back))
		}
	}
}

func TestAnyAccount(t *testing.T) {
	r := newRig(t, simulator.Options{})
	r.want(r.login("u7", "u7-secret"), 401, nil)
	r.patch(`{"any_account": true, "accounts": {"u8": {"disabled": true}}}`)
	r.want(r.login("u7", "u7-secret"), 200, nil)
	r.want(r.login("u7", "u8-secret"), 401, nil)
	r.want(r.login("u8", "u8-secret"), 400, map[string]any{"error_description": "Account disabled"})
	r.want(r.login("acme", "acme-secret"), 401, nil)
	r.want(r.login("acme", "correct-horse"), 200, nil)
	r.want(r.login("", "-secret"), 401, nil)
	r.patch(`{"providers": {"sinch-india": {"accounts": {"acme": {"secret": "rotated"}}}}}`)
	r.want(r.login("acme", "correct-horse"), 401, nil)
	r.want(r.login("acme", "rotated"), 200, nil)
}
