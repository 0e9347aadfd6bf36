// SPDX-License-Identifier: MPL-2.0

package tokencache

import (
	"context"
	"fmt"
	"runtime"
	"strconv"
	"testing"
	"testing/synctest"
	"time"

	"vault-plugin-secrets-messaging/internal/clock"
	"vault-plugin-secrets-messaging/internal/token"
)

// tickFor ticks every minute until d has passed.
func (w *world) tickFor(d time.Duration) {
	for range int(d / time.Minute) {
		w.advance(time.Minute)
		w.Tick()
	}
	synctest.Wait()
}

// wantValidQueue fails unless the refresh queue is a valid heap of entries that are in the cache.
func (w *world) wantValidQueue() {
	w.t.Helper()
	w.queue.mu.Lock()
	defer w.queue.mu.Unlock()
	queued := w.queue.heap
	for i, e := range queued {
		if e.place != i+1 || i > 0 && e.tick < queued[(i-1)/2].tick {
			w.t.Fatalf("after %s: entry %d of the queue: got place %d and tick %s, want place %d and the order of a heap",
				w.elapsed(), i, e.place, e.tick, i+1)
		}
		if w.inMemory(e.name) != e {
			w.t.Fatalf("after %s: entry %d of the queue: got an entry of %s that is not in the cache", w.elapsed(), i, e.name)
		}
	}
}

// wantQueued fails unless n entries are queued.
func (w *world) wantQueued(n int) {
	w.t.Helper()
	equal(w, "queued entries", len(w.queue.heap), n)
	w.wantValidQueue()
}

// Ticks refresh only tokens that were read. For other tokens, the next read starts the refresh.
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

		w.wantToken(w.get("a", 0), 2)
		w.wantMints(4)
		equal(w, "account of the last mint", w.provider.allCalls()[3].name, "a")

		w.tickFor(10 * time.Hour) // nobody reads the new tokens
		w.wantMints(4)
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

// Ticks refresh no token until the policy has a refresh window.
func TestTickWithoutRefreshWindow(t *testing.T) {
	withToken(t, Policy{RefreshWindow: ptr(time.Duration(0))}, func(w *world) {
		w.tickFor(30 * time.Minute)
		w.wantMints(1)
		equal(w, "due", w.Due(), false)
		w.put("1", Policy{RefreshWindow: ptr(40 * time.Minute)})
		w.tickFor(5 * time.Minute) // refreshes are spread over a tenth of the window
		w.wantMints(2)

		w.put("1", Policy{RefreshWindow: ptr(time.Duration(0))})
		w.tickFor(2 * time.Hour)
		w.put("1", Policy{})
		w.tickFor(time.Hour)
		w.wantMints(2)
	})
}

// Ticks repeat a failed refresh each time the backoff ends.
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

// A tick starts no mint for an entry that is no longer due.
func TestTickFindsChangedEntry(t *testing.T) {
	withToken(t, Policy{}, func(w *world) {
		e, err := w.entry(w.t.Context(), "a")
		w.wantErr("entry", err, nil)
		tick := func(mints int) {
			t.Helper()
			w.queue.put(e, w.clock.now().Mono)
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

// If the clock is set back, a tick may come before a token is due. A later tick refreshes the
// token.
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

// Tokens that were minted together are not refreshed together. Ticks spread the refreshes over a
// tenth of the refresh window.
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

// The cost of a tick depends on the number of due tokens, not on the number of accounts.
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

// putDue adds accounts, reads their tokens, and waits until the tokens are due for a refresh.
func putDue(w *world, accounts int, host func(i int) string, serial string) (names []string) {
	for i := range accounts {
		a := w.account(fmt.Sprint(i), "1")
		a.host, a.serial = host(i), serial
		w.write(a, &token.Token{Access: "old", Refresh: "refresh", Lifetime: time.Hour})
		w.get(a.name, 0)
		names = append(names, a.name)
	}
	w.advance(50 * time.Minute)
	return names
}

func oneHost(int) string { return "host" }

// wantRefreshed fails unless each account was refreshed once and without a failure.
func (w *world) wantRefreshed(names []string) {
	w.t.Helper()
	for _, name := range names {
		s, _ := w.Status(name)
		equal(w, "mints of "+name, s.Mints, 2)
		equal(w, "last failure of "+name, s.LastFailure, nil)
	}
	equal(w, "due", w.Due(), false)
	w.wantNoSlotTaken()
}

// If more tokens are due than there are slots, refreshes wait. They start when slots become free,
// without another tick.
func TestDueTokensWaitForSlots(t *testing.T) {
	for _, test := range []struct {
		accounts int
		host     func(i int) string
		slots    int
	}{
		{400, oneHost, maxBackgroundPerHost},
		{2 * maxMints, strconv.Itoa, maxMints}, // one host for each account
	} {
		inWorld(t, func(w *world) {
			names := putDue(w, test.accounts, test.host, "")
			w.provider.set(slow(8*time.Second, tokens(time.Hour)))
			w.Tick()
			w.wantMints(test.slots)
			w.advance(time.Duration(test.accounts/test.slots) * 8 * time.Second)
			w.wantMints(test.accounts)
			w.wantRefreshed(names)
			equal(w, "most mints at once", w.provider.maxRunning, test.slots)
		})
	}
}

// A tick with very many due tokens starts only about one goroutine per slot. The store is slow, and
// the provider refuses every refresh token.
func TestTickWithManyDueTokens(t *testing.T) {
	const accounts = 10_000 * burst
	for _, serial := range []string{"", "user"} {
		inWorld(t, func(w *world) {
			putDue(w, accounts, oneHost, serial)
			w.store.onSave = func(string, Account, token.Token) { time.Sleep(storeTimeout) }
			w.provider.set(refuses(token.Refused, 0))
			before := runtime.NumGoroutine()
			w.Tick()
			for range 30 {
				w.advance(100 * time.Millisecond)
				if got := runtime.NumGoroutine() - before; got > 2*maxBackgroundPerHost {
					t.Fatalf("after %s: got %d more goroutines, want at most %d", w.elapsed(), got, 2*maxBackgroundPerHost)
				}
			}
			w.wantValidQueue()
			w.Close()
			w.advance(storeTimeout)
		})
	}
}

// If the refresh tokens of one user's accounts are refused, the accounts log in one after another.
func TestRefusedRefreshesLogInInTurn(t *testing.T) {
	inWorld(t, func(w *world) {
		const accounts, login = 40, 300 * time.Millisecond
		names := putDue(w, accounts, oneHost, "user")
		w.provider.set(func(ctx context.Context, c call) (token.Token, error) {
			if c.refresh != "" {
				return fails(token.Refused, 0)(ctx, c)
			}
			return slow(login, tokens(time.Hour))(ctx, c)
		})
		w.Tick()
		w.advance(accounts * (login + loginPause))
		w.wantMints(2 * accounts)
		w.wantInTurn(w.provider.logins(), accounts, login)
		w.wantRefreshed(names)
	})
}

func TestWaitingRefreshIsGivenUp(t *testing.T) {
	for _, test := range []struct {
		name  string
		act   func(w *world)
		mints int // of the account, when slots are free
	}{
		{"nothing happens", func(w *world) {}, 1},
		{"a reader mints", func(w *world) { w.startRotate(w.t.Context()) }, 1},
		{"another revision", func(w *world) { w.put("2", Policy{}) }, 0},
		{"a token by a write", func(w *world) { w.putVerified("1") }, 0},
		{"a delete", func(w *world) { w.delete("a") }, 0},
		{"a delete and a write", func(w *world) { w.delete("a"); w.put("2", Policy{}) }, 0},
		{"the token ends", func(w *world) { w.put("1", Policy{MaxTTL: 50 * time.Minute}) }, 0},
		{"another host", func(w *world) {
			a := w.account("a", "1")
			a.host = "other"
			w.write(a, nil)
			w.Tick()
		}, 1},
	} {
		t.Run(test.name, func(t *testing.T) {
			inWorld(t, func(w *world) {
				a := w.account("a", "1")
				a.host = "host"
				w.write(a, &token.Token{Access: "old", Lifetime: time.Hour})
				putDue(w, maxBackgroundPerHost, oneHost, "")
				w.provider.set(slow(time.Minute, tokens(time.Hour)))
				w.Tick()
				w.wantMints(maxBackgroundPerHost)
				w.get("a", 0) // waits for a slot
				w.wantMints(maxBackgroundPerHost)
				equal(w, "due", w.Due(), true)
				test.act(w)
				w.advance(time.Minute)
				w.provider.set(tokens(time.Hour))
				w.advance(2 * time.Minute)
				equal(w, "mints of the account", len(w.provider.callsOf("a")), test.mints)
				equal(w, "due", w.Due(), false)
				w.wantNoSlotTaken()
				if _, ok := w.store.accounts["a"]; ok {
					w.get("a", 0)
					before := len(w.provider.allCalls())
					w.tickFor(55 * time.Minute)
					if after := len(w.provider.allCalls()); after == before {
						t.Error("got no refresh in the next life of the token, want one")
					}
				}
			})
		})
	}
}
