// SPDX-License-Identifier: MPL-2.0

package acceptance

import (
	"fmt"
	"testing"

	"vault-plugin-secrets-messaging/acceptance/harness"
)

// EnableX's documentation does not say with which HTTP status it fails or
// succeeds, nor how it writes its expiry.
func TestEnableXAnswers(t *testing.T) {
	w := newWorld(t)
	for _, a := range []account{whatsapp, rcs} {
		t.Run(a.provider, func(t *testing.T) {
			turn := func(knobs string) {
				t.Helper()
				w.sim.Configure(t, fmt.Sprintf(`{"providers": {%q: %s}}`, a.provider, knobs))
			}
			for _, status := range []int{200, 401, 400} {
				turn(fmt.Sprintf(`{"failure_status": %d}`, status))
				w.Write(t, a.path(), a.write(w.sim, harness.Fields{"app_key": "wrong"})).
					Refused(t, 400, "invalid credentials or the account has been deactivated")
				w.Read(t, a.path()).Refused(t, 404)
			}
			for _, knobs := range []string{
				`{"success_status": 201}`,
				`{"success_status": 200, "expiry_format": "string"}`,
				`{"success_status": 201, "expiry_format": "string"}`,
			} {
				turn(knobs)
				w.Write(t, a.path(), a.write(w.sim)).OK(t)
				r := w.Read(t, a.creds()).OK(t)
				known := w.sim.Token(t, r.Text("access_token"))
				if short := known.ExpiresIn - float64(r.LeaseDuration); !known.Active || short < 0 || short > 2 {
					t.Errorf("with %s: lease_duration %d of a token %+v", knobs, r.LeaseDuration, known)
				}
				w.Delete(t, a.path()).OK(t)
			}
		})
	}
}

// EnableX names the time at which a token ends, by its own clock: which may be
// wrong.
func TestEnableXClockIsWrong(t *testing.T) {
	w := newWorld(t)
	for _, offset := range []string{"24h", "-24h"} {
		w.sim.Configure(t, fmt.Sprintf(`{"clock_offset": %q}`, offset))
		for _, a := range []account{whatsapp, rcs} {
			before := w.sim.Logins(t, a.provider)
			w.Write(t, a.path(), a.write(w.sim)).OK(t)
			for range 5 {
				r := w.Read(t, a.creds()).OK(t)
				known := w.sim.Token(t, r.Text("access_token"))
				if short := known.ExpiresIn - float64(r.LeaseDuration); short < 0 || short > 2 {
					t.Errorf("%s off: lease_duration is %d, of a token with %.1f s left", offset, r.LeaseDuration, known.ExpiresIn)
				}
			}
			if n := w.sim.Logins(t, a.provider) - before; n != 1 {
				t.Errorf("%s off: %d logins, want 1", offset, n)
			}
			w.Delete(t, a.path()).OK(t)
		}
	}
}
