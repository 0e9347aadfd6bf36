// SPDX-License-Identifier: MPL-2.0

package acceptance

import (
	"fmt"
	"testing"

	"vault-plugin-secrets-messaging/acceptance/harness"
)

// EnableX documents neither HTTP statuses nor the type of the expiry time. The engine accepts
// several statuses and types.
func TestEnableXAnswers(t *testing.T) {
	w := newWorld(t)
	for _, a := range []account{whatsapp, rcs} {
		t.Run(a.provider, func(t *testing.T) {
			for _, status := range []int{200, 401, 400} {
				w.sim.Configure(t, forProvider(a.provider, fmt.Sprintf(`{"failure_status": %d}`, status)))
				w.Write(t, a.path(), a.body(w.sim, harness.Fields{"app_key": "wrong"})).
					Refused(t, 400, "invalid credentials or the account has been deactivated")
				w.Read(t, a.path()).Refused(t, 404)
			}
			for _, knobs := range []string{
				`{"success_status": 201}`,
				`{"success_status": 200, "expiry_format": "string"}`,
				`{"success_status": 201, "expiry_format": "string"}`,
			} {
				w.sim.Configure(t, forProvider(a.provider, knobs))
				w.writeConfig(t, a)
				r := w.readCreds(t, a)
				wantLease(t, "with "+knobs, w.sim.Token(t, r.Text("access_token")), r)
				w.Delete(t, a.path()).OK(t)
			}
		})
	}
}

// The lease has the right length even if EnableX's clock is wrong.
func TestEnableXClockIsWrong(t *testing.T) {
	w := newWorld(t)
	for _, offset := range []string{"24h", "-24h"} {
		w.sim.Configure(t, fmt.Sprintf(`{"clock_offset": %q}`, offset))
		for _, a := range []account{whatsapp, rcs} {
			before := w.sim.Logins(t, a.provider)
			w.writeConfig(t, a)
			for range 5 {
				r := w.readCreds(t, a)
				wantLease(t, "clock off by "+offset, w.sim.Token(t, r.Text("access_token")), r)
			}
			w.wantLogins(t, a, before+1)
			w.Delete(t, a.path()).OK(t)
		}
	}
}
