// SPDX-License-Identifier: MPL-2.0

package simulator_test

import (
	"encoding/json"
	"testing"
	"time"

	"vault-plugin-secrets-messaging/internal/simulator"
)

func TestSettingsOfASingleProvider(t *testing.T) {
	r := newRig(t, simulator.Options{})
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
		r.equal("expires_in after "+step.patch, r.login("acme", "correct-horse").json["expires_in"], step.want)
	}
}

func TestDurationJSON(t *testing.T) {
	for in, want := range map[string]time.Duration{
		`0`: 0, `5`: 5 * time.Second, `0.25`: 250 * time.Millisecond, `-90`: -90 * time.Second, `"1h30m"`: 90 * time.Minute,
	} {
		var d simulator.Duration
		if err := json.Unmarshal([]byte(in), &d); err != nil || time.Duration(d) != want {
			t.Errorf("decoding %s: got %v, error %v, want %v", in, time.Duration(d), err, want)
		}
		again, err := json.Marshal(d)
		var back simulator.Duration
		if err != nil || json.Unmarshal(again, &back) != nil || back != d {
			t.Errorf("decoding %s after encoding %v: got %v, want the same", again, want, time.Duration(back))
		}
	}
}
