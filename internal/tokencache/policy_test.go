// SPDX-License-Identifier: MPL-2.0

package tokencache

import (
	"strings"
	"testing"
	"time"

	"vault-plugin-secrets-messaging/internal/token"
)

// wantForced checks which of the mints so far demanded another token.
func (w *world) wantForced(want ...bool) {
	w.t.Helper()
	calls := w.provider.allCalls()
	if len(calls) != len(want) {
		w.t.Fatalf("got %d mints, want %d", len(calls), len(want))
	}
	for i, c := range calls {
		if c.force != want[i] {
			w.t.Errorf("mint %d: got force=%t, want %t", i+1, c.force, want[i])
		}
	}
}

// A rotate and a report of a rejected token demand a new token, as often as the provider
// allows.
func TestForce(t *testing.T) {
	inWorld(t, func(w *world) {
		w.put("1", Policy{CanForce: true, ForceInterval: 30 * time.Second, ForceDailyLimit: 2})
		rotate := func() {
			t.Helper()
			if _, err := w.Rotate(w.t.Context(), "a"); err != nil {
				t.Fatal(err)
			}
		}
		g := w.get("a", 0)
		w.advance(time.Minute)
		if _, err := w.GetAfterRejection(w.t.Context(), "a", token.ID(g.Token.Access), 0); err != nil {
			t.Fatal(err)
		}
		w.wantForced(false, true)
		w.advance(20 * time.Second) // too soon after the last demand
		rotate()
		w.advance(time.Minute)
		rotate()
		w.advance(time.Minute) // the day's second demand was the last
		rotate()
		w.wantForced(false, true, false, true, false)
		w.advance(24 * time.Hour)
		rotate()
		w.wantForced(false, true, false, true, false, true)
	})
}

func TestNoForce(t *testing.T) {
	inWorld(t, func(w *world) {
		w.put("1", Policy{})
		if _, err := w.Rotate(w.t.Context(), "a"); err != nil {
			t.Fatal(err)
		}
		w.wantForced(false)
	})
}

// No mint starts before the cached token has its minimum age, whatever the reason for the mint.
func TestMinimumAge(t *testing.T) {
	inWorld(t, func(w *world) {
		w.provider.set(tokens(30 * time.Minute))
		w.put("1", Policy{MinimumAge: 20 * time.Minute, RefreshWindow: ptr(25 * time.Minute)})
		g := w.get("a", 0)
		w.advance(19 * time.Minute) // the refresh window began after 5 minutes
		w.get("a", 14*time.Minute)
		w.Tick()
		if _, err := w.Rotate(w.t.Context(), "a"); err == nil || !strings.Contains(err.Error(), "the provider allows no new token before") {
			t.Errorf("rotate: got %v, want that the provider allows no new token", err)
		}
		r, err := w.GetAfterRejection(w.t.Context(), "a", token.ID(g.Token.Access), 0)
		if err != nil || r.Rejection != RejectedRecent || time.Until(r.RejectionNext).Round(time.Second) != time.Minute {
			t.Errorf("rejected: got %s until %s (%v), want recent for 1m", r.Rejection, r.RejectionNext, err)
		}
		w.restart()
		w.get("a", 14*time.Minute)
		w.wantMints(1)
		w.advance(time.Minute + time.Second)
		w.get("a", 0)
		w.wantMints(2)
	})
}
