// SPDX-License-Identifier: MPL-2.0

package tokencache

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

// wantForced checks which mints asked the provider to force a new token, in the order of the mints.
func (w *world) wantForced(want ...bool) {
	w.t.Helper()
	var got []bool
	for _, c := range w.provider.allCalls() {
		got = append(got, c.force)
	}
	equal(w, "mints that forced a new token", fmt.Sprint(got), fmt.Sprint(want))
}

// A forced mint makes the provider return a new token. The policy limits forced mints.
func TestForce(t *testing.T) {
	withToken(t, Policy{CanForce: true, ForceInterval: 30 * time.Second, ForceDailyLimit: 2}, func(w *world) {
		w.advance(time.Minute)
		w.wantRejection(1, RejectedHonored, 2)
		w.wantForced(false, true)
		w.advance(20 * time.Second) // too soon after the last mint that forced a token
		w.rotate()
		w.advance(time.Minute)
		w.rotate()
		w.advance(time.Minute) // over the daily limit
		w.rotate()
		w.wantForced(false, true, false, true, false)
		w.advance(24 * time.Hour)
		w.rotate()
		w.wantForced(false, true, false, true, false, true)
		w.advance(time.Minute)
		w.put("1", Policy{}) // CanForce is false
		w.rotate()
		w.wantForced(false, true, false, true, false, true, false)
	})
}

// No mint starts before the cached token has the policy's MinimumAge.
func TestMinimumAge(t *testing.T) {
	withAccount(t, Policy{MinimumAge: 20 * time.Minute, RefreshWindow: ptr(25 * time.Minute)}, func(w *world) {
		w.provider.set(tokens(30 * time.Minute))
		w.get("a", 0)
		w.advance(19 * time.Minute) // the refresh window began after 5 minutes
		w.get("a", 14*time.Minute)
		w.Tick()
		if _, err := w.rotateOnce(w.t.Context()); err == nil || !strings.Contains(err.Error(), "the provider allows no new token before") {
			t.Errorf("rotate: got %v, want that the provider allows no new token", err)
		}
		g := w.wantRejection(1, RejectedRecent, 1)
		equal(w, "wait for the next report", time.Until(g.RejectionNext).Round(time.Second), time.Minute)
		w.restart()
		w.get("a", 14*time.Minute)
		w.wantMints(1)
		w.advance(time.Minute + time.Second)
		w.get("a", 0)
		w.wantMints(2)
	})
}
