// SPDX-License-Identifier: MPL-2.0

package simulator_test

import (
	"strings"
	"testing"
	"time"

	"vault-plugin-secrets-messaging/internal/simulator"
)

func TestBadSettings(t *testing.T) {
	r := newRig(t, simulator.Options{})
	r.patch(`{"access_ttl": 42}`)
	before := r.state().Settings
	for patch, name := range map[string]string{
		`{"access_ttl": 7, "acess_ttl": 5}`:                            "acess_ttl",
		`{"access_ttl": 7, "nonsense": null}`:                          "nonsense",
		`{"access_ttl": 0}`:                                            "access_ttl",
		`{"access_ttl": 1.5}`:                                          "access_ttl",
		`{"access_ttl": "soon"}`:                                       "access_ttl",
		`{"access_ttl": 1e300}`:                                        "access_ttl",
		`{"access_ttl": []}`:                                           "access_ttl",
		`{"refresh_ttl": -1}`:                                          "refresh_ttl",
		`{"latency": "-1s"}`:                                           "latency",
		`{"latency": "1h"}`:                                            "latency",
		`{"lockout_after": -1}`:                                        "lockout_after",
		`{"date_header": "late"}`:                                      "date_header",
		`{"expiry_format": "roman"}`:                                   "expiry_format",
		`{"success_status": 500}`:                                      "success_status",
		`{"failure_status": 42}`:                                       "failure_status",
		`{"echo_secrets": ["raw", "rot13"]}`:                           "echo_secrets",
		`{"any_account": "yes"}`:                                       "any_account",
		`{"accounts": {"x": {"password": "y"}}}`:                       "password",
		`{"faults": [{"kind": "status"}, {"kind": "flood"}]}`:          "flood",
		`{"faults": [{"kind": "status", "on": "sunday"}]}`:             "sunday",
		`{"faults": [{"kind": "status", "status": 99}]}`:               "faults",
		`{"faults": [{"kind": "status", "count": -1}]}`:                "faults",
		`{"faults": [{"kind": "status", "retry_after": "1\r\nX: y"}]}`: "faults",
		`{"faults": [{"kind": "status", "colour": "red"}]}`:            "colour",
		`{"providers": {"sinch": {}}}`:                                 "sinch",
		`{"providers": {"sinch-india": {"ttl": 5}}}`:                   "ttl",
		`{"providers": {"sinch-india": {"access_ttl": 0}}}`:            "providers.sinch-india",
		`{"providers": []}`:                                            "providers",
		`[]`:                                                           "object",
		`null`:                                                         "object",
		`{"access_ttl": 7`:                                             "object",
	} {
		err := r.client.Patch(t.Context(), patch)
		if err == nil || !strings.Contains(err.Error(), "400") || !strings.Contains(err.Error(), name) {
			t.Errorf("%s: got error %v, want a 400 that names %q", patch, err, name)
		}
	}
	r.equal("settings", r.state().Settings, before)
}

func TestSetKeepsOtherSettings(t *testing.T) {
	r := newRig(t, simulator.Options{})
	r.patch(`{"access_ttl": 60, "accounts": {"a": {"secret": "x"}}}`)
	r.ok(r.client.Set(t.Context(), simulator.Settings{ProviderSettings: simulator.ProviderSettings{
		RefreshTTL: new(simulator.Duration(time.Hour)),
		AnyAccount: new(true),
		Accounts:   map[string]simulator.Account{"b": {Secret: "y"}},
	}}))
	r.equal("settings", r.state().Settings, simulator.Settings{ProviderSettings: simulator.ProviderSettings{
		AccessTTL:  new(simulator.Duration(time.Minute)),
		RefreshTTL: new(simulator.Duration(time.Hour)),
		AnyAccount: new(true),
		Accounts:   map[string]simulator.Account{"a": {Secret: "x"}, "b": {Secret: "y"}},
	}})
}
