// SPDX-License-Identifier: MPL-2.0

package tokencache

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"vault-plugin-secrets-messaging/internal/clock"
	"vault-plugin-secrets-messaging/internal/token"
)

// tickFor ticks each minute while d lasts.
func (w *world) tickFor(d time.Duration) {
	for range int(d / time.Minute) {
		w.pass(time.Minute)
		w.Tick()
	}
	synctest.Wait()
}

// TestTickRefreshesWhatIsRead: and no more.
func TestTickRefreshesWhatIsRead(t *testing.T) {
	inWorld(t, func(w *world) {
		w.put("read", "1", Policy{})
		w.put("unread", "1", Policy{})
		w.get("read", 0)
		w.rotate("unread") // a token that no one has read
		w.tickFor(47 * time.Minute)
		w.wantMints(2)
		w.tickFor(3 * time.Minute)
		w.wantMints(3)
		if last := w.provider.all()[2]; last.name != "read" {
			t.Errorf("refreshed %s", last.name)
		}

		// The new token has not been read, so it is let go.
		w.tickFor(10 * time.Hour)
		w.wantMints(3)
		if w.Due() || len(w.queue.heap) != 0 {
			t.Errorf("%d on the queue", len(w.queue.heap))
		}
	})
}

// TestTickKeepsWarm: who reads once a lifetime never waits.
func TestTickKeepsWarm(t *testing.T) {
	inWorld(t, func(w *world) {
		w.put("a", "1", Policy{})
		w.provider.set(slow(time.Second, tokens(time.Hour)))
		w.get("a", 0)
		for range 20 {
			w.tickFor(55 * time.Minute)
			before := w.age()
			w.get("a", 0)
			if w.age() != before {
				t.Fatalf("after %s: waited %s", before, w.age()-before)
			}
		}
		if got := len(w.provider.all()); got > 24 {
			t.Errorf("%d mints", got)
		}
	})
}

// TestReadInWindowAfterTick: a token that a tick let go is refreshed by its next read.
func TestReadInWindowAfterTick(t *testing.T) {
	inWorld(t, func(w *world) {
		w.put("a", "1", Policy{})
		w.rotate("a")
		w.tickFor(55 * time.Minute)
		w.wantMints(1)
		w.wantToken(w.get("a", 0), 1)
		w.wantMints(2)
		w.wantToken(w.get("a", 0), 2)
	})
}

func TestTickWithoutRefreshWindow(t *testing.T) {
	inWorld(t, func(w *world) {
		w.put("a", "1", Policy{RefreshWindow: ptr(time.Duration(0))})
		w.get("a", 0)
		w.tickFor(2 * time.Hour)
		w.wantMints(1)
		w.put("a", "1", Policy{}) // the token is dead by now
		w.tickFor(time.Hour)
		w.wantMints(1)
	})
}

func TestTickFollowsPolicy(t *testing.T) {
	inWorld(t, func(w *world) {
		w.put("a", "1", Policy{RefreshWindow: ptr(time.Duration(0))})
		w.get("a", 0)
		w.pass(30 * time.Minute)
		if w.Due() {
			t.Error("due with no refresh window")
		}
		w.put("a", "1", Policy{RefreshWindow: ptr(40 * time.Minute)})
		w.tickFor(5 * time.Minute) // spread over a tenth of the window
		w.wantMints(2)
	})
}

// TestTickBacksOff: a refresh that failed comes up again when it may, and no sooner.
func TestTickBacksOff(t *testing.T) {
	inWorld(t, func(w *world) {
		w.put("a", "1", Policy{})
		w.get("a", 0)
		w.provider.set(fails(token.Refused, 0))
		for ; w.age() < 59*time.Minute; w.pass(time.Second) {
			w.Tick()
		}
		calls := w.provider.all()[1:]
		if len(calls) < 3 || len(calls) > 4 { // the first by 49:10, then 1, 2 and 4 min later
			t.Errorf("%d attempts", len(calls))
		}
		for i := 1; i < len(calls); i++ {
			if wait, least := calls[i].at.Sub(calls[i-1].at), time.Minute<<(i-1); wait < least || wait > least+5*time.Second+time.Minute {
				t.Errorf("attempt %d after %s", i+1, wait)
			}
		}
		w.provider.set(tokens(time.Hour))
		w.tickFor(time.Hour)
		w.wantMints(1 + len(calls)) // the token died, so it is a read's turn
		w.get("a", 0)
	})
}

// TestTickOfBlockedAccount: one that is due and may not be tried is put off.
func TestTickOfBlockedAccount(t *testing.T) {
	inWorld(t, func(w *world) {
		w.put("a", "1", Policy{})
		w.get("a", 0)
		w.provider.set(fails(token.RateLimited, 10*time.Minute))
		w.pass(45 * time.Minute)
		w.get("a", 30*time.Minute)
		w.wantMints(2)
		w.provider.set(tokens(time.Hour))
		w.tickFor(9 * time.Minute)
		w.wantMints(2)
		w.tickFor(3 * time.Minute)
		w.wantMints(3)
	})
}

// TestTickThatComesLate: what a tick takes off the queue may have been refreshed,
// or be under way, before it gets to it.
func TestTickThatComesLate(t *testing.T) {
	inWorld(t, func(w *world) {
		w.put("a", "1", Policy{})
		w.get("a", 0)
		e, _ := w.entry(w.t.Context(), "a")
		for range 2 {
			w.queue.put(&e.queued, w.clock.now().Mono)
			w.Tick()
			w.wantMints(1)
			w.wantTidyQueue()
		}
		w.provider.set(slow(time.Second, tokens(time.Hour)))
		w.pass(50 * time.Minute)
		w.get("a", 0)
		w.wantMints(2)
		w.queue.put(&e.queued, w.clock.now().Mono)
		w.Tick()
		w.pass(time.Minute)
		w.wantMints(2)

		w.provider.set(fails(token.Refused, 0))
		w.pass(50 * time.Minute)
		w.get("a", 0)
		w.wantMints(3)
		w.queue.put(&e.queued, w.clock.now().Mono)
		w.Tick()
		w.wantMints(3)
	})
}

// TestTickAfterClockWasSet: a token that looked old when it came onto the queue
// comes up again.
func TestTickAfterClockWasSet(t *testing.T) {
	inWorld(t, func(w *world) {
		w.put("a", "1", Policy{})
		w.get("a", 0)
		w.clock.setWall(40 * time.Minute)
		w.put("a", "1", Policy{})
		w.clock.setWall(-40 * time.Minute)
		w.tickFor(47 * time.Minute)
		w.wantMints(1)
		w.tickFor(5 * time.Minute)
		w.wantMints(2)
	})
}

func TestTickDoesNotWait(t *testing.T) {
	inWorld(t, func(w *world) {
		w.put("a", "1", Policy{})
		w.get("a", 0)
		w.provider.set(hangs)
		w.pass(50 * time.Minute)
		before := w.age()
		for range 3 {
			w.Tick()
		}
		if w.age() != before {
			t.Errorf("waited %s", w.age()-before)
		}
		w.wantMints(2)
	})
}

// TestTickSpreads: tokens that were minted together are refreshed over a tenth
// of the part of the refresh window in which no reader waits.
func TestTickSpreads(t *testing.T) {
	inWorld(t, func(w *world) {
		for i := range 300 {
			w.put(fmt.Sprint(i), "1", Policy{})
			w.get(fmt.Sprint(i), 0)
		}
		w.pass(48*time.Minute - time.Second)
		if w.Due() {
			t.Error("due before its time")
		}
		w.pass(time.Second)
		end := w.age() + time.Duration(spread*float64(12*time.Minute-30*time.Second))
		for w.age() < end {
			before := len(w.provider.all())
			w.pass(time.Second)
			w.Tick()
			synctest.Wait()
			if at := len(w.provider.all()) - before; at > 30 {
				t.Errorf("%d refreshes in a second", at)
			}
		}
		w.wantMints(600)
	})
}

// TestTickCost counts: work follows what is due, not how many accounts there are.
func TestTickCost(t *testing.T) {
	const accounts = 10_000 * burst
	inWorld(t, func(w *world) {
		for i := range accounts {
			lifetime := 100 * time.Hour
			if i%(accounts/10) == 0 {
				lifetime = time.Hour
			}
			w.putVerified(fmt.Sprint(i), "1", Policy{}, &token.Token{Access: "t", Lifetime: lifetime})
		}
		for i := 0; i < accounts; i += accounts / 10 {
			w.get(fmt.Sprint(i), 0)
		}
		locks := 0
		now := w.Cache.clock
		w.Cache.clock = func() clock.Instant { locks++; return now() }
		w.Tick()
		if w.Due() {
			t.Error("due")
		}
		if locks != 2 || len(w.queue.heap) != accounts {
			t.Errorf("an idle tick looked at the clock %d times; %d on the queue", locks, len(w.queue.heap))
		}
		w.Cache.clock = now
		w.pass(50 * time.Minute)
		if !w.Due() {
			t.Error("nothing due")
		}
		w.provider.set(hangs)
		w.Tick()
		w.wantMints(10)
		if len(w.queue.heap) != accounts-10 {
			t.Errorf("%d on the queue", len(w.queue.heap))
		}
		w.wantTidyQueue()
	})
}

// wantTidyQueue fails unless every place in the queue is right and belongs to a live entry.
func (w *world) wantTidyQueue() {
	w.t.Helper()
	w.queue.mu.Lock()
	places := append([]*queued(nil), w.queue.heap...)
	w.queue.mu.Unlock()
	for i, s := range places {
		if s.index != i+1 || i > 0 && s.at < places[(i-1)/2].at {
			w.t.Fatalf("place %d has index %d, at %s", i, s.index, s.at)
		}
		if e, ok := w.entries.Load(s.entry.name); !ok || e != any(s.entry) {
			w.t.Fatalf("place %d is of an entry that is gone", i)
		}
	}
}
