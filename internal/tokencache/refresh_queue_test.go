// SPDX-License-Identifier: MPL-2.0

package tokencache

import (
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"vault-plugin-secrets-messaging/internal/clock"
	"vault-plugin-secrets-messaging/internal/token"
)

// tickFor ticks each minute for d.
func (w *world) tickFor(d time.Duration) {
	for range int(d / time.Minute) {
		w.advance(time.Minute)
		w.Tick()
	}
	synctest.Wait()
}

// wantValidQueue fails unless the refresh queue is a heap of entries that are in the cache.
func (w *world) wantValidQueue() {
	w.t.Helper()
	w.queue.mu.Lock()
	places := slices.Clone(w.queue.heap)
	w.queue.mu.Unlock()
	for i, p := range places {
		if p.index != i+1 || i > 0 && p.at < places[(i-1)/2].at {
			w.t.Fatalf("after %s: queue place %d: got index %d and time %s, want index %d and the order of a heap",
				w.elapsed(), i, p.index, p.at, i+1)
		}
		if e, ok := w.entries.Load(p.entry.name); !ok || e != any(p.entry) {
			w.t.Fatalf("after %s: queue place %d: got an entry of %s that is not in the cache", w.elapsed(), i, p.entry.name)
		}
	}
}

// wantQueued fails unless that many entries are queued.
func (w *world) wantQueued(n int) {
	w.t.Helper()
	equal(w, "queued entries", len(w.queue.heap), n)
	w.wantValidQueue()
}

// Ticks refresh a token that was read since its mint, and no other token.
func TestTickRefreshesReadTokens(t *testing.T) {
	withAccount(t, Policy{}, func(w *world) {
		w.write(w.account("read", "1"), nil)
		w.get("read", 0)
		w.rotate() // a token that nobody reads
		w.tickFor(47 * time.Minute)
		w.wantMints(2)
		w.tickFor(3 * time.Minute)
		w.wantMints(3)
		equal(w, "refreshed account", w.provider.allCalls()[2].name, "read")

		w.tickFor(10 * time.Hour) // nobody reads the new token either
		w.wantMints(3)
		equal(w, "due", w.Due(), false)
		w.wantQueued(0)
	})
}

// A reader that reads once per lifetime never waits.
func TestTicksKeepTokenFresh(t *testing.T) {
	withAccount(t, Policy{}, func(w *world) {
		w.provider.set(slow(time.Second, tokens(time.Hour)))
		w.get("a", 0)
		for range 20 {
			w.tickFor(55 * time.Minute)
			equal(w, "wait", w.timed(func() { w.get("a", 0) }), 0)
		}
		if got := len(w.provider.allCalls()); got > 24 {
			t.Errorf("got %d mints, want at most 24", got)
		}
	})
}

// The next read refreshes a token that ticks leave alone.
func TestReadRefreshesUnreadToken(t *testing.T) {
	withAccount(t, Policy{}, func(w *world) {
		w.rotate()
		w.tickFor(55 * time.Minute)
		w.wantMints(1)
		w.wantToken(w.get("a", 0), 1)
		w.wantMints(2)
		w.wantToken(w.get("a", 0), 2)
	})
}

func TestTickWithoutRefreshWindow(t *testing.T) {
	withToken(t, Policy{RefreshWindow: ptr(time.Duration(0))}, func(w *world) {
		w.tickFor(2 * time.Hour)
		w.wantMints(1)
		w.put("1", Policy{}) // the token has expired
		w.tickFor(time.Hour)
		w.wantMints(1)
	})
}

func TestTickAfterPolicyChange(t *testing.T) {
	withToken(t, Policy{RefreshWindow: ptr(time.Duration(0))}, func(w *world) {
		w.advance(30 * time.Minute)
		equal(w, "due", w.Due(), false)
		w.put("1", Policy{RefreshWindow: ptr(40 * time.Minute)})
		w.tickFor(5 * time.Minute) // refreshes are spread over a tenth of the window
		w.wantMints(2)
	})
}

// Ticks repeat a refresh that failed as often as the backoff allows.
func TestTickBacksOff(t *testing.T) {
	withToken(t, Policy{}, func(w *world) {
		w.provider.set(fails(token.Refused, 0))
		for w.elapsed() < 59*time.Minute {
			w.Tick()
			w.advance(time.Second)
		}
		calls := w.provider.allCalls()[1:]
		if len(calls) < 3 || len(calls) > 4 { // the first by 49:10, the others 1, 2 and 4 minutes later
			t.Errorf("got %d attempts, want 3 or 4", len(calls))
		}
		for i := 1; i < len(calls); i++ {
			least := time.Minute << (i - 1)
			if wait := calls[i].at.Sub(calls[i-1].at); wait < least || wait > least+5*time.Second+time.Minute {
				t.Errorf("attempt %d: got a wait of %s, want %s to %s", i+1, wait, least, least+5*time.Second+time.Minute)
			}
		}
		w.provider.set(tokens(time.Hour))
		w.tickFor(time.Hour)
		w.wantMints(1 + len(calls)) // the token has expired, so only a read mints
		w.get("a", 0)
	})
}

// A tick does not refresh during a Retry-After. A tick after its end does.
func TestTickDuringRetryAfter(t *testing.T) {
	withToken(t, Policy{}, func(w *world) {
		w.provider.set(fails(token.RateLimited, 10*time.Minute))
		w.advance(45 * time.Minute)
		w.get("a", 30*time.Minute)
		w.wantMints(2)
		w.provider.set(tokens(time.Hour))
		w.tickFor(9 * time.Minute)
		w.wantMints(2)
		w.tickFor(3 * time.Minute)
		w.wantMints(3)
	})
}

// A tick takes an entry from the queue, but the entry changed before the tick locked it.
func TestTickFindsChangedEntry(t *testing.T) {
	withToken(t, Policy{}, func(w *world) {
		e, err := w.entry(w.t.Context(), "a")
		w.wantErr("entry", err, nil)
		tick := func(mints int) {
			t.Helper()
			w.queue.put(&e.queued, w.clock.now().Mono)
			w.Tick()
			w.wantMints(mints)
			w.wantValidQueue()
		}
		tick(1) // the token is fresh
		tick(1)

		w.provider.set(slow(time.Second, tokens(time.Hour)))
		w.advance(50 * time.Minute)
		w.get("a", 0)
		tick(2) // a refresh runs
		w.advance(time.Minute)
		w.wantMints(2)

		w.provider.set(fails(token.Refused, 0))
		w.advance(50 * time.Minute)
		w.get("a", 0)
		w.wantMints(3)
		tick(3) // the refresh failed
	})
}

// A token that was queued while the wall clock was ahead is queued again.
func TestTickAfterClockWasSet(t *testing.T) {
	withToken(t, Policy{}, func(w *world) {
		w.clock.setWall(40 * time.Minute)
		w.put("1", Policy{})
		w.clock.setWall(-40 * time.Minute)
		w.tickFor(47 * time.Minute)
		w.wantMints(1)
		w.tickFor(5 * time.Minute)
		w.wantMints(2)
	})
}

func TestTickDoesNotWait(t *testing.T) {
	withToken(t, Policy{}, func(w *world) {
		w.provider.set(hangs)
		w.advance(50 * time.Minute)
		waited := w.timed(func() {
			for range 3 {
				w.Tick()
			}
		})
		equal(w, "wait", waited, 0)
		w.wantMints(2)
	})
}

// Ticks spread the refreshes of tokens that were minted together over a tenth of the
// refresh window.
func TestTicksSpreadRefreshes(t *testing.T) {
	inWorld(t, func(w *world) {
		for i := range 300 {
			name := fmt.Sprint(i)
			w.write(w.account(name, "1"), nil)
			w.get(name, 0)
		}
		w.advance(48*time.Minute - time.Second)
		equal(w, "due before the refresh window", w.Due(), false)
		w.advance(time.Second)
		end := w.elapsed() + time.Duration(spread*float64(12*time.Minute-30*time.Second))
		for w.elapsed() < end {
			before := len(w.provider.allCalls())
			w.advance(time.Second)
			w.Tick()
			synctest.Wait()
			if got := len(w.provider.allCalls()) - before; got > 30 {
				t.Errorf("after %s: got %d refreshes in a second, want at most 30", w.elapsed(), got)
			}
		}
		w.wantMints(600)
	})
}

// The cost of a tick follows the number of due tokens, not of accounts.
func TestTickCost(t *testing.T) {
	const accounts, due = 10_000 * burst, 10
	inWorld(t, func(w *world) {
		for i := range accounts {
			lifetime := 100 * time.Hour
			if i < due {
				lifetime = time.Hour
			}
			w.write(w.account(fmt.Sprint(i), "1"), &token.Token{Access: "t", Lifetime: lifetime})
		}
		for i := range due {
			w.get(fmt.Sprint(i), 0)
		}
		looks, now := 0, w.Cache.clock
		w.Cache.clock = func() clock.Instant { looks++; return now() }
		w.Tick()
		equal(w, "due", w.Due(), false)
		equal(w, "uses of the clock by an idle tick", looks, 2)
		w.wantQueued(accounts)

		w.Cache.clock = now
		w.advance(50 * time.Minute)
		equal(w, "due", w.Due(), true)
		w.provider.set(hangs)
		w.Tick()
		w.wantMints(due)
		w.wantQueued(accounts - due)
	})
}
