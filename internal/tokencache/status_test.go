// SPDX-License-Identifier: MPL-2.0

package tokencache

import (
	"testing"
	"time"

	"vault-plugin-secrets-messaging/internal/token"
)

func TestStatus(t *testing.T) {
	withAccount(t, Policy{}, func(w *world) {
		w.provider.set(slow(time.Second, tokens(time.Hour)))
		read := w.startRead("a")
		w.wantState(Refreshing)
		w.must(read())
		s := w.wantState(Fresh)
		equal(w, "minted", s.Minted.Sub(w.clock.began), 0)
		equal(w, "expires", s.Expires.Sub(w.clock.began), time.Hour)
		equal(w, "refresh due", s.RefreshDue.Sub(w.clock.began), 48*time.Minute)

		w.provider.set(fails(token.Refused, 0))
		w.advance(50 * time.Minute)
		w.get("a", 0)
		w.wantMints(2)
		s = w.wantState(BackingOff)
		equal(w, "failures", s.Failures, 1)
		equal(w, "kind of the last failure", s.LastFailure.Kind, token.Refused)
		equal(w, "next attempt", s.NextAttempt, s.LastFailure.Next)
		equal(w, "expires", s.Expires.Sub(w.clock.began), time.Hour)

		w.advance(9*time.Minute + 59*time.Second)
		s = w.wantState(Empty)
		equal(w, "failures", s.Failures, 1)
		equal(w, "no expiry", s.Expires.IsZero(), true)
		equal(w, "no next attempt", s.NextAttempt.IsZero(), true)

		w.put("1", Policy{RefreshWindow: ptr(time.Duration(0))})
		w.provider.set(tokens(time.Hour))
		w.get("a", 0)
		s = w.wantState(Fresh)
		equal(w, "no refresh due", s.RefreshDue.IsZero(), true)
		equal(w, "failures", s.Failures, 0)
		equal(w, "last failure kept", s.LastFailure != nil, true)
	})
}

func TestRetryAfter(t *testing.T) {
	withAccount(t, Policy{}, func(w *world) {
		equal(w, "none before the first read", w.RetryAfter("a", w.store.accounts["a"]).IsZero(), true)
		w.provider.set(fails(token.RateLimited, time.Minute))
		f := w.getFailure("a")
		equal(w, "Retry-After", w.RetryAfter("a", w.store.accounts["a"]), f.Next)
		w.advanceTo(f.Next)
		equal(w, "none after it passed", w.RetryAfter("a", w.store.accounts["a"]).IsZero(), true)
	})
}

// counted returns the counts of the account "a", and whether the account is in memory.
func (w *world) counted() (counts Counts, found bool) {
	w.Each(func(name string, _ Account, _ Status, c Counts) bool {
		counts, found = c, name == "a"
		return !found
	})
	return counts, found
}

func (w *world) wantCounts(want Counts) {
	w.t.Helper()
	got, _ := w.counted()
	equal(w, "counts", got, want)
}

func TestCountsOfReads(t *testing.T) {
	withToken(t, Policy{}, func(w *world) {
		var want Counts
		want.Reads[ServedWaited], want.Minted = 1, 1
		w.wantCounts(want)

		w.get("a", 0)
		w.get("a", 2*time.Hour) // more than any token lives
		want.Reads[ServedFresh] = 2
		w.wantCounts(want)

		w.provider.set(fails(token.Unavailable, 0))
		w.advance(50 * time.Minute)
		w.get("a", 0)
		w.advance(time.Millisecond)
		want.Reads[ServedStale], want.Failed[token.Unavailable] = 1, 1
		w.wantCounts(want)

		w.advance(9*time.Minute + 35*time.Second)
		w.get("a", 0) // less than the min TTL is left, and the mint fails
		want.Reads[ServedStale], want.Failed[token.Unavailable] = 2, 2
		w.wantCounts(want)

		w.provider.set(fails(token.Refused, 0))
		w.advance(5 * time.Minute)
		w.getFailure("a") // mints
		w.getFailure("a") // backs off
		want.Reads[ServedNot], want.Failed[token.Refused] = 2, 1
		w.wantCounts(want)
	})
}

func TestCountsOfUnsharedTokens(t *testing.T) {
	inWorld(t, func(w *world) {
		w.putUnshared("1")
		w.get("a", 0)
		w.get("a", 0)
		w.provider.set(fails(token.RateLimited, time.Minute))
		w.getFailure("a")
		w.wantCounts(Counts{Minted: 2, Reads: [...]int64{ServedWaited: 2, ServedNot: 1},
			Failed: [...]int64{token.RateLimited: 1, token.Refused: 0}})
	})
}

// A config write keeps the counts. When the account is loaded again, the counts start at 0.
func TestCountsAfterWriteAndInvalidate(t *testing.T) {
	withToken(t, Policy{}, func(w *world) {
		w.putVerified("2")
		w.get("a", 0)
		w.wantCounts(Counts{Minted: 2, Reads: [...]int64{ServedFresh: 1, ServedWaited: 1, ServedNot: 0}})
		w.Invalidate("a")
		_, found := w.counted()
		equal(w, "account in memory", found, false)
		w.get("a", 0)
		w.wantCounts(Counts{Reads: [...]int64{ServedFresh: 1, ServedNot: 0}})
	})
}

// The function passed to Each may call the cache, and ends the loop by returning false.
func TestEach(t *testing.T) {
	inWorld(t, func(w *world) {
		for _, name := range []string{"a", "b", "c"} {
			w.write(w.account(name, "1"), nil)
			w.get(name, 0)
		}
		calls := 0
		w.Each(func(name string, a Account, s Status, _ Counts) bool {
			calls++
			equal(w, "account", a.(*fakeAccount).name, name)
			equal(w, "state of "+name, s.State, Fresh)
			w.get(name, 0)
			w.Invalidate(name)
			w.write(w.account(name, "2"), nil)
			return calls < 2
		})
		equal(w, "calls", calls, 2)
	})
}
