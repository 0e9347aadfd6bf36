// SPDX-License-Identifier: MPL-2.0

package tokencache

import (
	"context"
	"testing"
	"time"

	"vault-plugin-secrets-messaging/internal/token"
)

// counted returns the counts of the named account, and whether it is in memory.
func (w *world) counted(name string) (counts Counts, found bool) {
	w.Each(func(n string, _ Account, _ Status, c Counts) bool {
		if found = n == name; found {
			counts = c
		}
		return !found
	})
	return counts, found
}

// wantCounts fails unless the account has seen this so far.
func (w *world) wantCounts(name string, want Counts) {
	w.t.Helper()
	if got, _ := w.counted(name); got != want {
		w.t.Fatalf("after %s: %+v, want %+v", w.age(), got, want)
	}
}

func TestCountsOfReadsByHowTheyWereServed(t *testing.T) {
	inWorld(t, func(w *world) {
		var want Counts
		w.put("a", "1", Policy{})
		w.get("a", 0)
		want.Reads[ServedWaited], want.Minted = 1, 1
		w.wantCounts("a", want)

		w.get("a", 0)
		w.get("a", 2*time.Hour) // more than any token of this account has: fresh as can be
		want.Reads[ServedFresh] = 2
		w.wantCounts("a", want)

		w.provider.set(fails(token.Unavailable, 0))
		w.pass(50 * time.Minute) // in the refresh window
		w.get("a", 0)
		w.pass(time.Millisecond)
		want.Reads[ServedStale], want.Failed[token.Unavailable] = 1, 1
		w.wantCounts("a", want)

		w.pass(9*time.Minute + 35*time.Second) // less than min TTL: waits, in vain
		w.get("a", 0)
		want.Reads[ServedStale], want.Failed[token.Unavailable] = 2, 2
		w.wantCounts("a", want)

		w.provider.set(fails(token.Refused, 0))
		w.pass(5 * time.Minute)
		w.fail("a") // asks
		w.fail("a") // backs off
		want.Reads[ServedNot], want.Failed[token.Refused] = 2, 1
		w.wantCounts("a", want)
	})
}

func TestCountsOfAReaderThatGivesUp(t *testing.T) {
	inWorld(t, func(w *world) {
		w.put("a", "1", Policy{})
		w.provider.set(slow(time.Minute, tokens(time.Hour)))
		ctx, cancel := context.WithCancel(w.t.Context())
		impatient := w.background(ctx, "a", 0)
		patient := w.background(w.t.Context(), "a", 0)
		cancel()
		impatient()
		patient()
		w.wantCounts("a", Counts{Minted: 1, Reads: [...]int64{ServedWaited: 1, ServedNot: 1}})
	})
}

func TestCountsOfUnsharedTokens(t *testing.T) {
	inWorld(t, func(w *world) {
		w.putUnshared("1")
		w.get("a", 0)
		w.get("a", 0)
		w.provider.set(fails(token.RateLimited, time.Minute))
		w.fail("a")
		w.wantCounts("a", Counts{Minted: 2, Reads: [...]int64{ServedWaited: 2, ServedNot: 1}, Failed: [...]int64{token.RateLimited: 1, token.Refused: 0}})
	})
}

func TestCountsOutliveAWriteAndEndWithTheEntry(t *testing.T) {
	inWorld(t, func(w *world) {
		w.put("a", "1", Policy{})
		w.get("a", 0)
		w.putVerified("a", "2", Policy{}, &token.Token{Access: "verified", Lifetime: time.Hour})
		w.get("a", 0)
		w.wantCounts("a", Counts{Minted: 2, Reads: [...]int64{ServedFresh: 1, ServedWaited: 1, ServedNot: 0}})

		w.Invalidate("a")
		if _, found := w.counted("a"); found {
			t.Error("a forgotten account is counted")
		}
		w.get("a", 0)
		w.wantCounts("a", Counts{Reads: [...]int64{ServedFresh: 1, ServedNot: 0}})
	})
}

func TestEachHoldsNoLock(t *testing.T) {
	inWorld(t, func(w *world) {
		for _, name := range []string{"a", "b", "c"} {
			w.put(name, "1", Policy{})
			w.get(name, 0)
		}
		seen := map[string]State{}
		w.Each(func(name string, a Account, s Status, _ Counts) bool {
			seen[name] = s.State
			if a.(*fakeAccount).name != name {
				t.Errorf("%s has the account of %s", name, a.(*fakeAccount).name)
			}
			w.get(name, 0)
			w.Invalidate(name)
			w.put(name, "2", Policy{})
			return len(seen) < 2
		})
		if len(seen) != 2 {
			t.Errorf("saw %v", seen)
		}
		for name, state := range seen {
			if state != Fresh {
				t.Errorf("%s is %s", name, state)
			}
		}
	})
}
