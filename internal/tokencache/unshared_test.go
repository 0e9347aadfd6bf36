// SPDX-License-Identifier: MPL-2.0

package tokencache

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"vault-plugin-secrets-messaging/internal/clock"
	"vault-plugin-secrets-messaging/internal/secret"
	"vault-plugin-secrets-messaging/internal/token"
)

func TestUnshared(t *testing.T) {
	inWorld(t, func(w *world) {
		w.putUnshared("1")
		w.wantToken(w.get("a", 0), 1)
		w.wantToken(w.get("a", 0), 2)
		equal(w, "stored tokens", len(w.store.tokens), 0)
		equal(w, "mints", w.wantState(Empty).Mints, 2)
		w.advance(time.Hour)
		equal(w, "due", w.Due(), false)
		for _, r := range w.results() {
			equal(w, "unshared", r.Unshared, true)
		}
	})
}

// Until a login succeeds, one login runs at a time. After that, several logins may fail together,
// and count as one failure.
func TestUnsharedWithWrongPassword(t *testing.T) {
	for _, proven := range []bool{false, true} {
		inWorld(t, func(w *world) {
			w.putUnshared("1")
			logins := 1
			if proven {
				w.get("a", 0)
				logins += maxUnsharedMints
			}
			w.provider.set(slow(time.Second, fails(token.Refused, 0)))
			reads := w.startReads(1000)
			w.advance(time.Minute - time.Second)
			w.wantMints(logins)
			for _, read := range reads {
				equal(w, "failures", w.mustFail(read()).Failures, 1)
			}
		})
	}
}

// The first login runs alone. Then at most maxUnsharedMints logins run at a time. Each token
// reaches one reader.
func TestUnsharedReadersQueueBeforeFirstMint(t *testing.T) {
	inWorld(t, func(w *world) {
		const readers = 40
		w.provider.set(slow(time.Second, tokens(time.Hour)))
		w.putUnshared("1")
		var all sync.WaitGroup
		var mu sync.Mutex
		got := map[secret.String]int{}
		for range readers {
			all.Go(func() {
				g, err := w.readPatiently("a")
				w.wantErr("get", err, nil)
				mu.Lock()
				defer mu.Unlock()
				got[g.Token.Access]++
			})
		}
		all.Wait()
		equal(w, "tokens of readers", len(got), readers)
		if w.elapsed() > 12*time.Second {
			t.Errorf("got an elapsed time of %s, want at most 12s", w.elapsed())
		}
		w.wantNoTokenLost(got)
		equal(w, "most mints at once", w.provider.maxRunning, maxUnsharedMints)
	})
}

// wantNoTokenLost waits until all mints have ended. It fails unless each token went to one reader
// or to OnUnused. The parameter read says how many readers got each token.
func (w *world) wantNoTokenLost(read map[secret.String]int) {
	w.t.Helper()
	w.advance(mintTimeout)
	w.Tick()
	w.advance(maxParked)
	w.Tick()
	synctest.Wait()
	for _, t := range w.unused {
		read[t.Access]++
	}
	for _, c := range w.provider.allCalls() {
		if n := read[accessToken(c.n)]; n != 1 {
			w.t.Errorf("%s: got %d owners, want 1", accessToken(c.n).Reveal(), n)
		}
	}
}

// If readers stop waiting for a slow login, the next reader gets that login's token.
func TestLateUnsharedTokenIsParked(t *testing.T) {
	inWorld(t, func(w *world) {
		w.putUnshared("1")
		w.provider.set(slow(8*time.Second, tokens(time.Hour)))
		for range 2 {
			w.getErr(ErrStillMinting)
		}
		w.wantMints(1) // no mint has succeeded yet, so the second reader waited for the first mint
		w.wantToken(w.get("a", 0), 1)
		equal(w, "elapsed time", w.elapsed(), 8*time.Second)
		read := w.startRead("a")
		w.wantMints(2)
		w.resultErr(read, ErrStillMinting)
		w.advance(10 * time.Second)
		equal(w, "parked tokens", w.wantState(Empty).Parked, 1)
		equal(w, "wait", w.timed(func() { w.wantToken(w.get("a", 0), 2) }), 0)
		w.wantNoTokenLost(map[secret.String]int{accessToken(1): 1, accessToken(2): 1})
		equal(w, "unused tokens", len(w.unused), 0)
	})
}

// A reader takes a parked token rather than a free slot.
func TestParkedTokenNeedsNoSlot(t *testing.T) {
	inWorld(t, func(w *world) {
		w.putUnshared("1")
		w.get("a", 0)
		w.provider.set(slow(4*time.Second, tokens(time.Hour)))
		first := w.startRead("a")
		w.advance(2 * time.Second)
		w.provider.set(hangs)
		for range maxUnsharedMints - 1 {
			w.startRead("a")
		}
		w.resultErr(first, ErrStillMinting)
		w.advance(time.Second + time.Millisecond)
		w.startRead("a") // takes the fourth slot or the parked token
		equal(w, "parked tokens", w.wantState(Empty).Parked, 0)
	})
}

func TestParkedTokenIsGivenUp(t *testing.T) {
	for _, test := range []struct {
		name   string
		act    func(w *world)
		unused int // tokens, if a token was parked before act
		late   int // tokens, if the mint still ran during act
	}{
		{"nothing happens", func(w *world) {}, 0, 0},
		{"a tick before a minute", func(w *world) { w.advance(maxParked - 2*time.Second); w.Tick() }, 0, 0},
		{"a tick after a minute", func(w *world) { w.advance(maxParked + 2*time.Second); equal(w, "due", w.Due(), true); w.Tick() }, 1, 1},
		{"a write of the same revision", func(w *world) { w.putUnshared("1") }, 0, 0},
		{"a write of another revision", func(w *world) { w.putUnshared("2") }, 1, 1},
		{"a write with share=true", func(w *world) { w.put("2", Policy{}) }, 1, 1},
		{"a delete", func(w *world) { w.delete("a") }, 1, 1},
		{"an invalidation", func(w *world) { w.Invalidate("a") }, 1, 1},
		{"Close", func(w *world) { w.Close() }, 1, 1},
	} {
		for late, want := range map[bool]int{false: test.unused, true: test.late} {
			t.Run(fmt.Sprintf("%s, late: %t", test.name, late), func(t *testing.T) {
				inWorld(t, func(w *world) {
					w.putUnshared("1")
					w.provider.set(uncancellable(4*time.Second, tokens(time.Hour)))
					w.getErr(ErrStillMinting)
					if !late {
						w.advance(2 * time.Second)
						equal(w, "parked tokens", w.wantState(Empty).Parked, 1)
					}
					test.act(w)
					w.advance(2 * time.Second)
					equal(w, "unused tokens", len(w.unused), want)
				})
			})
		}
	}
}

// A parked token goes to the first reader for whom the token has enough life.
func TestParkedTokenWithLittleLife(t *testing.T) {
	inWorld(t, func(w *world) {
		w.putUnshared("1")
		w.provider.set(slow(4*time.Second, tokens(100*time.Second)))
		w.getErr(ErrStillMinting)
		w.provider.set(tokens(100 * time.Second))
		w.advance(55 * time.Second)
		w.wantToken(w.get("a", 50*time.Second), 2)
		w.wantToken(w.get("a", 0), 1)
	})
}

// No token is lost when a reader hangs up, even if the token arrives at the same time.
func TestUnsharedReaderHangsUp(t *testing.T) {
	for _, patience := range []time.Duration{0, time.Second, 2*time.Second - 1, 2 * time.Second, 2*time.Second + 1} {
		t.Run(patience.String(), func(t *testing.T) {
			inWorld(t, func(w *world) {
				w.putUnshared("1")
				w.provider.set(slow(2*time.Second, tokens(time.Hour)))
				ctx, cancel := context.WithTimeout(w.t.Context(), patience)
				defer cancel()
				read := map[secret.String]int{}
				if g, err := w.Get(ctx, "a", 0); err == nil {
					read[g.Token.Access]++
				}
				w.wantNoTokenLost(read)
			})
		})
	}
}

// Close answers readers of an unshared account at once.
func TestCloseDuringUnsharedMint(t *testing.T) {
	inWorld(t, func(w *world) {
		w.putUnshared("1")
		w.provider.set(uncancellable(20*time.Second, tokens(time.Hour)))
		reads := w.startReads(2 * maxUnsharedMints)
		waited := w.timed(func() {
			w.Close()
			for _, read := range reads {
				w.resultErr(read, ErrClosed)
			}
		})
		equal(w, "wait", waited, 0)
		w.advance(time.Minute)
		equal(w, "unused tokens", len(w.unused), 1)
	})
}

// A config write changes the field share during reads and a rotate. No two readers get the same
// unshared token, and no unshared token is stored.
func TestShareChangesDuringReads(t *testing.T) {
	const races = 3000
	provider := &fakeProvider{clock: clock.System(), answer: tokens(time.Hour)}
	store := newFakeStore()
	cache := New(options(store, clock.System()))
	defer cache.Close()
	for race := range races {
		put := func(share bool) {
			a := &fakeAccount{name: "a", revision: fmt.Sprint(race, share), unshared: !share, provider: provider}
			if _, err := cache.Put(t.Context(), "a", a, nil, func() error { store.write(a); return nil }); err != nil {
				t.Errorf("put: got error %v, want none", err)
			}
		}
		put(true)
		var all sync.WaitGroup
		var mu sync.Mutex
		unshared := map[secret.String]int{}
		for range 4 {
			all.Go(func() {
				g, err := cache.Get(t.Context(), "a", 0)
				if err != nil {
					t.Errorf("get: got error %v, want none", err)
					return
				}
				if !g.Account.Share() {
					mu.Lock()
					defer mu.Unlock()
					unshared[g.Token.Access]++
				}
			})
		}
		all.Go(func() { _, _ = cache.Rotate(t.Context(), "a") })
		put(false)
		all.Wait()
		for access, n := range unshared {
			if n > 1 {
				t.Fatalf("race %d: %s: got %d readers, want 1", race, access.Reveal(), n)
			}
		}
		if _, ok := store.tokens["a"]; ok {
			t.Fatalf("race %d: got a stored token of an unshared account, want none", race)
		}
	}
}

// After a config write, readers do not wait for hanging mints of the old credentials.
func TestUnsharedWriteDuringHangingMints(t *testing.T) {
	for _, proven := range []bool{false, true} {
		inWorld(t, func(w *world) {
			w.putUnshared("1")
			if proven {
				w.get("a", 0)
			}
			w.provider.set(hangs)
			w.startReads(2 * maxUnsharedMints)
			w.putUnshared("2")
			w.provider.set(tokens(time.Hour))
			equal(w, "wait", w.timed(func() { w.get("a", 0) }), 0)
			w.advance(mintTimeout)
			equal(w, "failures", w.wantState(Empty).Failures, 0)
		})
	}
}
