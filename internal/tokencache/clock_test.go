// SPDX-License-Identifier: MPL-2.0

package tokencache

import (
	"testing"
	"time"

	"vault-plugin-secrets-messaging/internal/token"
)

// TestClockJumps: the wall clock is set when a token is ten minutes old.
func TestClockJumps(t *testing.T) {
	const day = 24 * time.Hour
	for _, test := range []struct {
		name string
		set  time.Duration
		left time.Duration // of token 1; 0 if it is not served
	}{
		{"forward a day", day, 0},
		{"suspended for a day", day, 0},
		{"forward half an hour", 30 * time.Minute, 20 * time.Minute},
		{"forward half a second", 500 * time.Millisecond, 50*time.Minute - 500*time.Millisecond},
		{"back half a second", -500 * time.Millisecond, 50 * time.Minute},
		{"back half an hour", -30 * time.Minute, 50 * time.Minute},
		{"back a day", -day, 50 * time.Minute},
	} {
		t.Run(test.name, func(t *testing.T) {
			inWorld(t, func(w *world) {
				w.put("a", "1", Policy{})
				w.get("a", 0)
				w.pass(10 * time.Minute)
				w.clock.setWall(test.set)
				g := w.get("a", 0)
				if test.left == 0 {
					w.wantToken(g, 2)
					test.left = time.Hour
				} else {
					w.wantToken(g, 1)
				}
				if g.Left != test.left {
					t.Errorf("left = %s, want %s", g.Left, test.left)
				}
				if off := g.Expires.Sub(w.clock.now().Wall.Add(test.left)).Abs(); off > time.Second {
					t.Errorf("expires %s off", off)
				}
				w.pass(time.Minute)
				if again := w.get("a", 0); !again.Expires.Equal(g.Expires) {
					t.Errorf("expires at %s, then at %s", g.Expires, again.Expires)
				}

				// From here on all goes as ever, whichever way the clock went.
				mints := len(w.provider.all())
				for range 100 {
					w.pass(test.left / 10)
					w.get("a", 0)
					w.Tick()
				}
				if more := len(w.provider.all()) - mints; more > 14 {
					t.Errorf("%d mints in ten lifetimes", more)
				}
			})
		})
	}
}

// TestClockJumpsAndBackoff: waits are of the monotonic clock.
func TestClockJumpsAndBackoff(t *testing.T) {
	for name, set := range map[string]time.Duration{"forward": 24 * time.Hour, "back": -24 * time.Hour} {
		t.Run(name, func(t *testing.T) {
			inWorld(t, func(w *world) {
				w.put("a", "1", Policy{})
				w.provider.set(fails(token.Refused, 0))
				w.fail("a")
				w.clock.setWall(set)
				w.pass(time.Minute - 1)
				w.fail("a")
				w.wantMints(1)
				w.pass(1)
				w.fail("a")
				w.wantMints(2)
			})
		})
	}
}

// TestSuspendedDuringMint: what an exchange took by the monotonic clock does not
// tell how old its token is.
func TestSuspendedDuringMint(t *testing.T) {
	for _, test := range []struct {
		name string
		set  time.Duration
		left time.Duration // 0 if the token is dead on arrival
	}{
		{"for ten minutes", 10 * time.Minute, 50*time.Minute - 2*time.Second},
		{"for longer than the token lives", time.Hour, 0},
		{"not suspended: the wall clock was set back", -time.Hour, time.Hour - 2*time.Second},
	} {
		t.Run(test.name, func(t *testing.T) {
			inWorld(t, func(w *world) {
				w.put("a", "1", Policy{})
				w.provider.set(slow(2*time.Second, tokens(time.Hour)))
				read := w.background(w.t.Context(), "a", 0)
				w.clock.setWall(test.set)
				g, err := read()
				if test.left > 0 && (err != nil || g.Left != test.left) {
					t.Errorf("grant = %+v, %v", g, err)
				}
				if test.left == 0 && err == nil {
					t.Errorf("grant = %+v", g)
				}
			})
		})
	}
}
