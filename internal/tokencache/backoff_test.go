// SPDX-License-Identifier: MPL-2.0

package tokencache

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"vault-plugin-secrets-messaging/internal/token"
)

// attempts reads every 10 ms while d lasts, as one who has no token, and returns
// the times between the attempts that the provider saw.
func attempts(w *world, d time.Duration) (waits []time.Duration) {
	for end := w.age() + d; w.age() < end; w.pass(10 * time.Millisecond) {
		w.fail("a")
	}
	calls := w.provider.all()
	for i := 1; i < len(calls); i++ {
		waits = append(waits, calls[i].at.Sub(calls[i-1].at))
	}
	return waits
}

// TestKinds has a row for each kind of failure: how long it waits.
func TestKinds(t *testing.T) {
	const s, m = time.Second, time.Minute
	doubling := []time.Duration{s, 2 * s, 4 * s, 8 * s, 16 * s, 32 * s, m, m, m}
	for _, test := range []struct {
		name   string
		answer answer
		kind   token.Kind
		waits  []time.Duration
		jitter float64
	}{
		{"refused", fails(token.Refused, 0), token.Refused, []time.Duration{m, 2 * m, 4 * m, 8 * m, 15 * m, 15 * m}, 0},
		{"refused, whatever Retry-After says", fails(token.Refused, s), token.Refused, []time.Duration{m, 2 * m}, 0},
		{"rate-limited, Retry-After", fails(token.RateLimited, 7*s), token.RateLimited, []time.Duration{7 * s, 7 * s, 7 * s}, 0},
		{"rate-limited, Retry-After of an hour", fails(token.RateLimited, time.Hour), token.RateLimited, []time.Duration{15 * m, 15 * m}, 0},
		{"rate-limited, no Retry-After", fails(token.RateLimited, 0), token.RateLimited, doubling, jitter},
		{"unavailable", fails(token.Unavailable, 0), token.Unavailable, doubling, jitter},
		{"malformed", fails(token.Malformed, 0), token.Malformed, doubling, jitter},
		{"any other error", func(context.Context, call) (token.Token, error) {
			return token.Token{}, errors.New("something else")
		}, token.Unavailable, doubling, jitter},
		{"a panic", panics("secret-value"), token.Unavailable, doubling, jitter},
		{"expiry in the past", tokens(-time.Second), token.Malformed, doubling, jitter},
		{"no lifetime", tokens(0), token.Malformed, doubling, jitter},
		{"dead on arrival", slow(2*s, tokens(2*s)), token.Malformed, nil, 0},
	} {
		t.Run(test.name, func(t *testing.T) {
			inWorld(t, func(w *world) {
				w.put("a", "1", Policy{})
				w.provider.set(test.answer)
				f := w.fail("a")
				if f.Kind != test.kind || f.Failures != 1 || f.At.IsZero() || !f.Next.After(w.clock.now().Wall) {
					t.Errorf("failure = %+v", f)
				}
				if test.waits == nil {
					return
				}
				var total time.Duration
				for _, wait := range test.waits {
					total += wait
				}
				got := attempts(w, total+time.Second)
				for i, wait := range test.waits {
					most := wait + 10*time.Millisecond // the pace of the reads
					least := wait - time.Duration(test.jitter*float64(wait))
					if i >= len(got) || got[i] < least || got[i] > most {
						t.Fatalf("waits %v, want %v, with jitter %v", got, test.waits, test.jitter)
					}
				}
			})
		})
	}
}

func TestJitterSpreadsAccounts(t *testing.T) {
	inWorld(t, func(w *world) {
		w.provider.set(fails(token.Unavailable, 0))
		next := map[time.Duration]bool{}
		for i := range 20 {
			name := fmt.Sprint(i)
			w.put(name, "1", Policy{})
			next[w.fail(name).next.Mono] = true
		}
		if len(next) < 15 {
			t.Errorf("20 accounts come back at %d moments", len(next))
		}
	})
}

// TestWrongPassword: read 1,000 times a second for an hour.
func TestWrongPassword(t *testing.T) {
	inWorld(t, func(w *world) {
		w.put("a", "1", Policy{})
		w.provider.set(fails(token.Refused, 0))
		failed := readForAnHour(w, 0)
		if got := len(w.provider.all()); got > 8 || got < 7 {
			t.Errorf("%d logins, want 7 or 8", got)
		}
		if failed != 3600*100*burst {
			t.Errorf("%d reads failed", failed)
		}
	})
}

// TestFailureIsTold: the reads that fail while the next attempt waits say what
// the last one met, and make none.
func TestFailureIsTold(t *testing.T) {
	inWorld(t, func(w *world) {
		w.put("a", "1", Policy{})
		w.provider.set(slow(time.Second, fails(token.Refused, 0)))
		first := w.fail("a")
		w.pass(30 * time.Second)
		before := w.age()
		again := w.fail("a")
		if w.age() != before {
			t.Error("the read waited")
		}
		if again != first || again.Error() != "credentials refused: the provider says so" {
			t.Errorf("failure = %v, then %v", first, again)
		}
		if want := first.At.Add(time.Minute); !again.Next.Equal(want) {
			t.Errorf("next attempt at %s, want %s", again.Next, want)
		}
		w.wantMints(1)
	})
}

// TestServedWhileRefreshesFail: every read of the rest of the token's life, with
// a warning once it is not fresh, until 2 s before its end; then a failure; then,
// provider back, a token within one backoff.
func TestServedWhileRefreshesFail(t *testing.T) {
	for _, kind := range []token.Kind{token.Unavailable, token.Malformed, token.RateLimited, token.Refused} {
		t.Run(kind.String(), func(t *testing.T) {
			inWorld(t, func(w *world) {
				w.put("a", "1", Policy{})
				w.get("a", 0)
				w.provider.set(fails(kind, 0))
				for ; w.age() <= time.Hour-leastMinTTL; w.pass(500 * time.Millisecond) {
					g := w.get("a", 0)
					w.wantToken(g, 1)
					if warned, want := g.Failure != nil, w.age() > 48*time.Minute; warned != want && w.age() != 48*time.Minute {
						t.Fatalf("after %s: failure = %v", w.age(), g.Failure)
					}
				}
				var f *Failure
				for ; w.age() < 70*time.Minute; w.pass(500 * time.Millisecond) {
					if f = w.fail("a"); !f.Next.After(w.clock.now().Wall) {
						t.Fatalf("after %s: next attempt at %s", w.age(), f.Next)
					}
				}
				w.provider.set(tokens(time.Hour))
				w.pass(f.Next.Sub(w.clock.now().Wall))
				if g := w.get("a", 0); g.Failure != nil {
					t.Errorf("failure = %v", g.Failure)
				}
				if s, _ := w.Status("a"); s.Failures != 0 || s.LastFailure == nil || s.LastFailure.Kind != kind {
					t.Errorf("status = %+v", s)
				}
			})
		})
	}
}

// TestAskedLifeWhileRefreshesFail: a read that wants more than there is gets what
// there is, at once, with the reason, and does not spoil the reads that are content.
func TestAskedLifeWhileRefreshesFail(t *testing.T) {
	inWorld(t, func(w *world) {
		w.put("a", "1", Policy{})
		w.get("a", 0)
		w.provider.set(fails(token.Refused, 0))
		w.pass(40 * time.Minute)
		for range 5 {
			g := w.get("a", 30*time.Minute)
			if !g.Short || g.Failure == nil || g.Left != 20*time.Minute {
				t.Errorf("grant = %+v", g)
			}
		}
		if g := w.get("a", 10*time.Minute); g.Short || g.Failure != nil {
			t.Errorf("grant = %+v", g)
		}
		w.wantMints(2)
	})
}

// TestWhatClears: a rotate, and a write of another revision, clear every wait but
// that of a Retry-After; a write of the same revision and a tick clear none.
func TestWhatClears(t *testing.T) {
	acts := map[string]func(w *world){
		"rotate":        func(w *world) { _, _ = w.Rotate(w.t.Context(), "a") },
		"new revision":  func(w *world) { w.put("a", "2", Policy{}); _, _ = w.Get(w.t.Context(), "a", 0) },
		"same revision": func(w *world) { w.put("a", "1", Policy{}); _, _ = w.Get(w.t.Context(), "a", 0) },
		"tick":          func(w *world) { w.Tick() },
	}
	for _, kind := range []struct {
		name   string
		answer answer
		clears bool
	}{
		{"refused", fails(token.Refused, 0), true},
		{"unavailable", fails(token.Unavailable, 0), true},
		{"malformed", fails(token.Malformed, 0), true},
		{"rate-limited", fails(token.RateLimited, 0), true},
		{"Retry-After", fails(token.RateLimited, 10*time.Minute), false},
	} {
		for act, do := range acts {
			t.Run(kind.name+", "+act, func(t *testing.T) {
				inWorld(t, func(w *world) {
					w.put("a", "1", Policy{})
					w.provider.set(kind.answer)
					first := w.fail("a")
					w.provider.set(tokens(time.Hour))
					do(w)
					if kind.clears && (act == "rotate" || act == "new revision") {
						w.wantMints(2)
						w.get("a", 0)
						return
					}
					w.wantMints(1)
					if f := w.fail("a"); !f.Next.Equal(first.Next) || f.Error() != first.Error() {
						t.Errorf("failure = %+v, was %+v", f, first)
					}
					if s, _ := w.Status("a"); s.State != BackingOff || s.LastFailure == nil || !s.NextAttempt.Equal(first.Next) {
						t.Errorf("status = %+v", s)
					}
					w.pass(first.Next.Sub(w.clock.now().Wall))
					w.get("a", 0)
				})
			})
		}
	}
}

// TestClearedCountersStartAnew: after what clears, waits double from the first.
func TestClearedCountersStartAnew(t *testing.T) {
	inWorld(t, func(w *world) {
		w.put("a", "1", Policy{})
		w.provider.set(fails(token.Refused, 0))
		for range 3 {
			f := w.fail("a")
			w.pass(f.Next.Sub(w.clock.now().Wall))
		}
		w.put("a", "2", Policy{})
		if f := w.fail("a"); f.Failures != 1 || f.Next.Sub(f.At) != time.Minute {
			t.Errorf("failure = %+v", f)
		}
		w.provider.set(tokens(time.Hour))
		w.pass(time.Minute)
		w.get("a", 0)
		w.provider.set(fails(token.Refused, 0))
		w.pass(time.Hour)
		if f := w.fail("a"); f.Failures != 1 || f.Next.Sub(f.At) != time.Minute {
			t.Errorf("after a success: failure = %+v", f)
		}
	})
}

// TestMixedKinds: each class of failure counts its own, and a wrong password
// among outages is not tried more often for them.
func TestMixedKinds(t *testing.T) {
	inWorld(t, func(w *world) {
		w.put("a", "1", Policy{})
		for i, step := range []struct {
			answer answer
			wait   time.Duration
		}{
			{fails(token.Refused, 0), time.Minute},
			{fails(token.Unavailable, 0), time.Second},
			{fails(token.Refused, 0), 2 * time.Minute},
			{fails(token.Malformed, 0), 2 * time.Second},
			{fails(token.RateLimited, time.Minute), time.Minute},
			{fails(token.Refused, 0), 4 * time.Minute},
		} {
			w.provider.set(step.answer)
			f := w.fail("a")
			if wait := f.Next.Sub(f.At); wait > step.wait || wait < step.wait*3/4 || f.Failures != i+1 {
				t.Errorf("step %d: waits %s, want %s: %+v", i, wait, step.wait, f)
			}
			w.pass(f.Next.Sub(w.clock.now().Wall))
		}
	})
}
