// SPDX-License-Identifier: MPL-2.0

package tokencache

import (
	"context"
	"testing"
	"time"

	"vault-plugin-secrets-messaging/internal/token"
)

// reject reads the account "a" and reports the n-th token as rejected.
func (w *world) reject(n int) (Grant, error) {
	return w.GetAfterRejection(w.t.Context(), "a", token.ID(accessToken(n)), 0)
}

// wantRejection reports the n-th token as rejected. It checks the outcome of the report and the
// token of the read.
func (w *world) wantRejection(n int, want Rejection, tok int) Grant {
	w.t.Helper()
	g := w.must(w.reject(n))
	w.wantToken(g, tok)
	equal(w, "rejection", g.Rejection.String(), want.String())
	return g
}

// Many simultaneous reports of a token cause one login. Meanwhile, other readers get the old token.
func TestRejectedToken(t *testing.T) {
	withAccount(t, Policy{}, func(w *world) {
		w.provider.set(sessions(time.Hour, 0))
		w.get("a", 0)
		w.advance(newest)
		w.provider.set(slow(2*time.Second, sessions(time.Hour, 0)))
		var reads []func() (Grant, error)
		for range 200 {
			reads = append(reads, w.start(func() (Grant, error) { return w.reject(1) }))
		}
		w.wantToken(w.get("a", 0), 1)
		w.wantState(Refreshing)
		for _, read := range reads {
			g := w.must(read())
			w.wantToken(g, 2)
			equal(w, "rejection", g.Rejection, RejectedHonored)
			equal(w, "served", g.Served, ServedWaited)
		}
		w.wantMints(2)
		w.wantRefreshToken("") // a login, although there was a refresh token
		w.wantRejection(1, RejectedReplaced, 2)
		w.wantMints(2)
		w.wantStored("1", 2)
		equal(w, "result says rejected", w.results()[1].Rejected, true)
		equal(w, "time of the report", w.wantState(Fresh).Rejected.Sub(w.clock.began), newest)
		counts, _ := w.counted()
		equal(w, "honored reports", counts.Rejected[RejectedHonored], 200)
		equal(w, "replaced reports", counts.Rejected[RejectedReplaced], 1)
	})
}

// A report that a token was rejected causes no login if the token is new or no longer cached.
func TestReportsThatCauseNoLogin(t *testing.T) {
	withToken(t, Policy{}, func(w *world) {
		w.advance(newest - 1)
		g := w.wantRejection(1, RejectedRecent, 1)
		equal(w, "next report", g.RejectionNext, w.clock.now().Wall.Add(1))
		w.advance(1)
		w.wantRejection(99, RejectedReplaced, 1)
		w.wantMints(1)
		equal(w, "no report honored", w.wantState(Fresh).Rejected.IsZero(), true)
		w.wantRejection(1, RejectedHonored, 2)
	})
	inWorld(t, func(w *world) {
		w.putUnshared("1")
		w.get("a", 0)
		w.advance(newest)
		w.wantRejection(1, NotRejected, 2) // as each read
	})
	withAccount(t, Policy{}, func(w *world) { // there is no token
		w.wantRejection(1, NotRejected, 1)
		w.advance(2 * time.Hour)
		w.wantRejection(1, NotRejected, 2)
	})
	inWorld(t, func(w *world) {
		_, err := w.reject(1)
		w.wantErr("get", err, ErrNotFound)
	})
}

// A reader that reports every token, up to ten times a second, causes few logins.
func TestReaderThatReportsAlways(t *testing.T) {
	for _, test := range []struct {
		lifetime, total time.Duration
		logins          int // with the first
	}{
		{time.Hour, 25 * time.Second, 2},
		{time.Hour, 5 * time.Minute, 4},          // at 10 s, 1:10 and 3:10
		{20 * time.Minute, 2 * time.Hour, 5 + 7}, // 10 s, 1:10, 3:10, 7:10, 15:10, then each 15 minutes
		{time.Minute, 10 * time.Minute, 5 + 10},  // refreshes come too
		{24 * time.Hour, 24 * time.Hour, 5 + 96}, // each 15 minutes
	} {
		t.Run(test.total.String(), func(t *testing.T) {
			withAccount(t, Policy{}, func(w *world) {
				w.provider.set(tokens(test.lifetime))
				id := ""
				for w.elapsed() < test.total {
					g := w.must(w.GetAfterRejection(w.t.Context(), "a", id, 0))
					id = token.ID(g.Token.Access)
					w.advance(max(100*time.Millisecond, test.total/10_000))
				}
				if got := len(w.provider.allCalls()); got > test.logins {
					t.Errorf("got %d mints in %s, want at most %d", got, test.total, test.logins)
				}
			})
		})
	}
}

// If a token lives half its life without a rejection, the wait between logins is short again.
func TestRejectionWaitsStartAgain(t *testing.T) {
	withToken(t, Policy{}, func(w *world) {
		w.advance(newest)
		w.wantRejection(1, RejectedHonored, 2)
		w.advance(newest)
		g := w.wantRejection(2, RejectedTooFrequent, 2)
		equal(w, "next report", g.RejectionNext.Sub(w.clock.now().Wall), 50*time.Second)
		w.advance(50 * time.Second)
		w.wantRejection(2, RejectedHonored, 3)
		w.advance(time.Minute)
		g = w.wantRejection(3, RejectedTooFrequent, 3)
		equal(w, "next report", g.RejectionNext.Sub(w.clock.now().Wall), time.Minute)
		w.advance(time.Minute)
		w.wantRejection(3, RejectedHonored, 4)
		w.advance(30 * time.Minute)
		w.wantRejection(4, RejectedHonored, 5)
		w.advance(time.Minute)
		w.wantRejection(5, RejectedHonored, 6) // the first wait again
		w.put("2", Policy{})
		equal(w, "a new revision knows no report", w.wantState(Empty).Rejected.IsZero(), true)
		w.wantToken(w.get("a", 0), 7)
		w.advance(newest)
		w.wantRejection(7, RejectedHonored, 8)
	})
}

// During an outage, a reader whose token was rejected gets the cached token and the failure.
func TestRejectedTokenDuringOutage(t *testing.T) {
	withToken(t, Policy{}, func(w *world) {
		w.advance(time.Minute)
		w.provider.set(fails(token.Unavailable, 0))
		g := w.wantRejection(1, RejectedHonored, 1)
		equal(w, "kind of the failure", g.Failure.Kind, token.Unavailable)
		g = w.wantRejection(1, RejectedBackingOff, 1)
		equal(w, "next report", g.RejectionNext, g.Failure.Next)
		equal(w, "kind of the failure", g.Failure.Kind, token.Unavailable)
		w.wantMints(2)
		w.advance(2 * time.Second)
		w.wantRejection(1, RejectedTooFrequent, 1)
		w.advance(time.Minute)
		w.provider.set(hangs)
		waited := w.timed(func() { equal(w, "served", w.wantRejection(1, RejectedHonored, 1).Served, ServedFresh) })
		equal(w, "wait", waited, MaxWait)
		ctx, cancel := context.WithTimeout(w.t.Context(), time.Second)
		defer cancel()
		waited = w.timed(func() { w.must(w.GetAfterRejection(ctx, "a", token.ID(accessToken(1)), 0)) })
		equal(w, "wait of a reader that gives up", waited, time.Second)
		w.wantMints(3)
	})
}

// A reader whose token was rejected waits for a login, even if a mint with a refresh token runs.
func TestReportDuringMint(t *testing.T) {
	for _, test := range []struct {
		name   string
		answer answer
		mints  int
	}{{"login", tokens(time.Hour), 2}, {"refresh", sessions(time.Hour, 0), 3}} {
		t.Run(test.name, func(t *testing.T) {
			withAccount(t, Policy{}, func(w *world) {
				w.provider.set(test.answer)
				w.get("a", 0)
				w.advance(50 * time.Minute)
				w.provider.set(slow(2*time.Second, test.answer))
				w.get("a", 0)
				w.advance(time.Second)
				other := w.start(func() (Grant, error) { return w.Get(w.t.Context(), "a", 30*time.Minute) })
				w.wantRejection(1, RejectedHonored, test.mints)
				w.wantToken(w.must(other()), test.mints)
				w.wantMints(test.mints)
				w.wantRefreshToken("")
			})
		})
	}
}

// A report waits for the token of a mint that is being stored.
func TestReportDuringSave(t *testing.T) {
	withAccount(t, Policy{}, func(w *world) {
		w.provider.set(sessions(time.Hour, 0))
		w.get("a", 0)
		w.store.onSave = func(string, Account, token.Token) { time.Sleep(2 * time.Second) }
		w.advance(50 * time.Minute)
		w.get("a", 0)
		w.wantMints(2)
		w.wantRejection(1, RejectedHonored, 2)
		w.advance(time.Minute)
		w.wantMints(2)
		w.wantStored("1", 2)
	})
}

// After a config write or delete, a reader with a rejected token does not wait for the old login.
func TestWriteDuringReport(t *testing.T) {
	withToken(t, Policy{}, func(w *world) {
		w.advance(time.Minute)
		w.provider.set(slow(time.Second, tokens(time.Hour)))
		read := w.start(func() (Grant, error) { return w.reject(1) })
		w.put("2", Policy{})
		w.wantToken(w.must(read()), 3)
		w.advance(time.Minute)
		read = w.start(func() (Grant, error) { return w.reject(3) })
		w.delete("a")
		w.resultErr(read, ErrNotFound)
	})
}
