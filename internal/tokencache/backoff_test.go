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

// Each kind of failure has its own waits. During a wait, reads fail at once.
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
		{"refused, Retry-After ignored", fails(token.Refused, s), token.Refused, []time.Duration{m, 2 * m}, 0},
		{"rate-limited, Retry-After", fails(token.RateLimited, 7*s), token.RateLimited, []time.Duration{7 * s, 7 * s, 7 * s}, 0},
		{"rate-limited, Retry-After of an hour", fails(token.RateLimited, time.Hour), token.RateLimited, []time.Duration{15 * m, 15 * m}, 0},
		{"rate-limited, no Retry-After", fails(token.RateLimited, 0), token.RateLimited, doubling, jitter},
		{"unavailable", fails(token.Unavailable, 0), token.Unavailable, doubling, jitter},
		{"malformed", fails(token.Malformed, 0), token.Malformed, doubling, jitter},
		{"another error", func(context.Context, call) (token.Token, error) {
			return token.Token{}, errors.New("another error")
		}, token.Unavailable, doubling, jitter},
		{"panic", panics("secret-value"), token.Unavailable, doubling, jitter},
		{"expiry in the past", tokens(-time.Second), token.Malformed, doubling, jitter},
		{"no lifetime", tokens(0), token.Malformed, doubling, jitter},
		{"dead on arrival", slow(2*s, tokens(2*s)), token.Malformed, nil, 0},
	} {
		t.Run(test.name, func(t *testing.T) {
			withAccount(t, Policy{}, func(w *world) {
				w.provider.set(test.answer)
				f := w.getFailure("a")
				equal(w, "kind", f.Kind, test.kind)
				equal(w, "failures", f.Failures, 1)
				equal(w, "time of failure", f.At, w.clock.now().Wall)
				if !f.Next.After(f.At) {
					t.Errorf("got next attempt at %s, want later than the failure at %s", f.Next, f.At)
				}
				waited := w.timed(func() { equal(w, "failure of the next read", w.getFailure("a"), f) })
				equal(w, "wait of the next read", waited, 0)
				var total time.Duration
				for _, wait := range test.waits {
					total += wait
				}
				const pace = 10 * time.Millisecond
				for end := w.elapsed() + total + s; w.elapsed() < end && test.waits != nil; w.advance(pace) {
					w.getFailure("a")
				}
				var got []time.Duration
				calls := w.provider.allCalls()
				for i := range calls[1:] {
					got = append(got, calls[i+1].at.Sub(calls[i].at))
				}
				for i, wait := range test.waits {
					least := wait - time.Duration(test.jitter*float64(wait))
					if i >= len(got) || got[i] < least || got[i] > wait+pace {
						t.Fatalf("got waits %v, want %v with jitter %v", got, test.waits, test.jitter)
					}
				}
			})
		})
	}
}

func TestJitterSpreadsAccounts(t *testing.T) {
	inWorld(t, func(w *world) {
		w.provider.set(fails(token.Unavailable, 0))
		next := map[time.Time]bool{}
		for i := range 20 {
			name := fmt.Sprint(i)
			w.write(w.account(name, "1"), nil)
			next[w.getFailure(name).Next] = true
		}
		if len(next) < 15 {
			t.Errorf("got %d moments for the next attempts of 20 accounts, want at least 15", len(next))
		}
	})
}

// Setting the wall clock does not change a backoff.
func TestClockJumpsAndBackoff(t *testing.T) {
	for name, set := range map[string]time.Duration{"forward": 24 * time.Hour, "back": -24 * time.Hour} {
		t.Run(name, func(t *testing.T) {
			withAccount(t, Policy{}, func(w *world) {
				w.provider.set(fails(token.Refused, 0))
				w.getFailure("a")
				w.clock.setWall(set)
				w.advance(time.Minute - 1)
				w.getFailure("a")
				w.wantMints(1)
				w.advance(1)
				w.getFailure("a")
				w.wantMints(2)
			})
		})
	}
}

// While refreshes fail, reads get the cached token until 2 s before the token's end. Then reads
// fail.
func TestServedWhileRefreshesFail(t *testing.T) {
	for _, kind := range []token.Kind{token.Unavailable, token.Malformed, token.RateLimited, token.Refused} {
		t.Run(kind.String(), func(t *testing.T) {
			withToken(t, Policy{}, func(w *world) {
				const window, step = 48 * time.Minute, 500 * time.Millisecond
				w.provider.set(fails(kind, 0))
				for ; w.elapsed() <= time.Hour-leastMinTTL; w.advance(step) {
					g := w.get("a", 0)
					w.wantToken(g, 1)
					if w.elapsed() != window { // this read starts the first refresh
						equal(w, "grant has a failure", g.Failure != nil, w.elapsed() > window)
					}
				}
				var f *Failure
				for ; w.elapsed() < 70*time.Minute; w.advance(step) {
					f = w.getFailure("a")
					equal(w, "next attempt is later", f.Next.After(w.clock.now().Wall), true)
				}
				w.provider.set(tokens(time.Hour))
				w.advanceTo(f.Next)
				equal(w, "failure", w.get("a", 0).Failure, nil)
				s := w.wantState(Fresh)
				equal(w, "failures", s.Failures, 0)
				equal(w, "kind of the last failure", s.LastFailure.Kind, kind)
			})
		})
	}
}

// While mints fail, a read gets the cached token, even if the read asks for more life.
func TestAskedLifeWhileRefreshesFail(t *testing.T) {
	withToken(t, Policy{}, func(w *world) {
		w.provider.set(fails(token.Refused, 0))
		w.advance(40 * time.Minute)
		for range 5 {
			g := w.get("a", 30*time.Minute)
			equal(w, "short", g.Short, true)
			equal(w, "left", g.Left, 20*time.Minute)
			equal(w, "grant has a failure", g.Failure != nil, true)
		}
		g := w.get("a", 10*time.Minute)
		equal(w, "short", g.Short, false)
		equal(w, "grant has a failure", g.Failure != nil, true)
		w.wantMints(2)
		w.provider.set(tokens(time.Hour))
		w.advance(time.Minute)
		equal(w, "failure after a success", w.get("a", 30*time.Minute).Failure, nil)
	})
}

// A rotate or a write of other credentials ends a backoff, but not a Retry-After.
func TestWhatClears(t *testing.T) {
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
		for _, act := range []struct {
			name   string
			do     func(w *world)
			clears bool
		}{
			{"rotate", func(w *world) { _, _ = w.Rotate(w.t.Context(), "a") }, true},
			{"new revision", func(w *world) { w.put("2", Policy{}) }, true},
			{"same revision", func(w *world) { w.put("1", Policy{}) }, false},
			{"tick", func(w *world) { w.Tick() }, false},
		} {
			t.Run(kind.name+", "+act.name, func(t *testing.T) {
				withAccount(t, Policy{}, func(w *world) {
					w.provider.set(kind.answer)
					first := w.getFailure("a")
					w.provider.set(tokens(time.Hour))
					act.do(w)
					if kind.clears && act.clears {
						w.wantToken(w.get("a", 0), 2)
						return
					}
					f := w.getFailure("a")
					w.wantMints(1)
					equal(w, "error", f.Error(), first.Error())
					equal(w, "next attempt", f.Next, first.Next)
					s := w.wantState(BackingOff)
					equal(w, "next attempt in the status", s.NextAttempt, first.Next)
					equal(w, "status has a failure", s.LastFailure != nil, true)
					w.advanceTo(first.Next)
					w.get("a", 0)
				})
			})
		}
	}
}

// A Retry-After does not apply to another client at the same host.
func TestRetryAfterOfAnotherClient(t *testing.T) {
	withAccount(t, Policy{}, func(w *world) {
		w.provider.set(fails(token.RateLimited, 15*time.Minute))
		w.getFailure("a")
		w.provider.set(tokens(time.Hour))
		second := w.account("a", "2")
		second.client = "another client"
		equal(w, "Retry-After of the other client", w.RetryAfter("a", second).IsZero(), true)
		w.write(second, nil)
		w.get("a", 0)
	})
}

// After a success or a write of other credentials, the next failure causes the shortest wait.
func TestClearedWaitsStartAgain(t *testing.T) {
	withAccount(t, Policy{}, func(w *world) {
		w.provider.set(fails(token.Refused, 0))
		wantFirst := func(after string) {
			t.Helper()
			f := w.getFailure("a")
			equal(w, "failures after "+after, f.Failures, 1)
			equal(w, "wait after "+after, f.Next.Sub(f.At), time.Minute)
		}
		for range 3 {
			w.advanceTo(w.getFailure("a").Next)
		}
		w.put("2", Policy{})
		wantFirst("a write")
		w.provider.set(tokens(time.Hour))
		w.advance(time.Minute)
		w.get("a", 0)
		w.provider.set(fails(token.Refused, 0))
		w.advance(time.Hour)
		wantFirst("a success")
	})
}

// An outage does not shorten the waits after a wrong password.
func TestMixedKinds(t *testing.T) {
	withAccount(t, Policy{}, func(w *world) {
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
			f := w.getFailure("a")
			equal(w, "failures", f.Failures, i+1)
			if wait := f.Next.Sub(f.At); wait > step.wait || wait < step.wait*3/4 {
				t.Errorf("failure %d: got a wait of %s, want %s to %s", i+1, wait, step.wait*3/4, step.wait)
			}
			w.advanceTo(f.Next)
		}
	})
}
