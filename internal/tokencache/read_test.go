// SPDX-License-Identifier: MPL-2.0

package tokencache

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

func TestAskedLife(t *testing.T) {
	const h, m, s = time.Hour, time.Minute, time.Second
	for _, test := range []struct {
		name     string
		lifetime time.Duration
		age      time.Duration
		asked    time.Duration
		token    int
		short    bool
	}{
		{"less than there is", h, 20 * m, 30 * m, 1, false},
		{"all that there is", h, 30 * m, 30 * m, 1, false},
		{"more than there is", h, 30*m + 1, 30 * m, 2, false},
		{"more than half counts as half: enough", h, 20 * m, 50 * m, 1, true},
		{"more than half counts as half: not enough", h, 30*m + 1, 50 * m, 2, false},
		{"the whole lifetime, of the newest", h, 0, h, 1, false},
		{"the whole lifetime, later", h, s, h, 1, true},
		{"more than the lifetime", h, 0, 2 * h, 1, true},
		{"under the account's own minimum", h, 59*m + 31*s, 10 * s, 2, false},
		{"newest there is", 12 * s, 10*s - 1, 6 * s, 1, true},
		{"newest no more", 12 * s, 10 * s, 6 * s, 2, false},
		{"newest, but under min ttl", 11 * s, 9*s + 1, 0, 2, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			inWorld(t, func(w *world) {
				w.put("a", "1", Policy{})
				w.provider.set(tokens(test.lifetime))
				w.get("a", 0)
				w.pass(test.age)
				g := w.get("a", test.asked)
				w.wantToken(g, test.token)
				if g.Short != test.short {
					t.Errorf("short = %t with %s left of %s asked", g.Short, g.Left, test.asked)
				}
				if least := min(test.asked, test.lifetime/2); g.MinTTL < least {
					t.Errorf("MinTTL = %s, want at least %s", g.MinTTL, least)
				}
			})
		})
	}
}

// TestGreedyReader: asking for all of the lifetime mints no more often than
// asking for half of it, however often it is asked.
func TestGreedyReader(t *testing.T) {
	const lifetime = 10 * time.Minute
	mints := map[time.Duration]int{}
	for _, asked := range []time.Duration{lifetime / 2, lifetime} {
		inWorld(t, func(w *world) {
			w.put("a", "1", Policy{})
			w.provider.set(tokens(lifetime))
			if errs := readForAnHour(w, asked); errs > 0 {
				t.Errorf("%d reads failed", errs)
			}
			mints[asked] = len(w.provider.all())
		})
	}
	if half, all := mints[lifetime/2], mints[lifetime]; half < 10 || half > 13 || all > half {
		t.Errorf("%d mints for half the lifetime, %d for all of it", half, all)
	}
}

// readForAnHour reads 1,000 times a second for an hour (100 times under the race
// detector), and returns how many reads failed.
func readForAnHour(w *world, asked time.Duration) (failed int) {
	ctx := w.t.Context()
	for range 3600 * 100 {
		for range burst {
			if _, err := w.Get(ctx, "a", asked); err != nil {
				failed++
			}
		}
		time.Sleep(10 * time.Millisecond)
	}
	return failed
}

func TestReadersShareOneMint(t *testing.T) {
	const readers = 10_000
	inWorld(t, func(w *world) {
		w.put("a", "1", Policy{})
		w.provider.set(slow(time.Second, tokens(time.Hour)))
		readAtOnce(w, []string{"a"}, readers)
		w.wantMints(1)
		if s, _ := w.Status("a"); s.Reads != readers {
			t.Errorf("%d reads counted", s.Reads)
		}
		if w.store.loads != 1 {
			t.Errorf("%d loads", w.store.loads)
		}
	})
}

func TestReadersOfManyAccounts(t *testing.T) {
	const accounts = 1000
	inWorld(t, func(w *world) {
		w.provider.set(slow(time.Second, tokens(time.Hour)))
		var names []string
		for i := range accounts {
			names = append(names, fmt.Sprint("account-", i))
			w.put(names[i], "1", Policy{})
		}
		readAtOnce(w, names, 10)
		w.wantMints(accounts)
		if w.provider.most > MaxMintsPerHost {
			t.Errorf("%d mints at once at one host", w.provider.most)
		}
	})
}

// readAtOnce reads each account so many times at once, and waits until all are served.
func readAtOnce(w *world, names []string, readers int) {
	var all sync.WaitGroup
	for _, name := range names {
		for range readers {
			all.Go(func() {
				if _, err := w.Get(w.t.Context(), name, 0); err != nil {
					w.t.Error(err)
				}
			})
		}
	}
	all.Wait()
}

func TestReaderGivesUp(t *testing.T) {
	inWorld(t, func(w *world) {
		w.put("a", "1", Policy{})
		w.provider.set(slow(10*time.Second, tokens(time.Hour)))
		ctx, cancel := context.WithTimeout(w.t.Context(), time.Second)
		defer cancel()
		patient := w.background(w.t.Context(), "a", 0)
		if _, err := w.Get(ctx, "a", 0); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("err = %v", err)
		}
		if w.age() != time.Second {
			t.Errorf("gave up after %s", w.age())
		}
		if _, err := patient(); err != nil {
			t.Errorf("the other reader got %v", err)
		}
		w.wantMints(1)
	})
}

func TestFlightOutlivesItsOnlyReader(t *testing.T) {
	inWorld(t, func(w *world) {
		w.put("a", "1", Policy{})
		w.provider.set(slow(10*time.Second, tokens(time.Hour)))
		ctx, cancel := context.WithCancel(w.t.Context())
		read := w.background(ctx, "a", 0)
		cancel()
		if _, err := read(); !errors.Is(err, context.Canceled) {
			t.Errorf("err = %v", err)
		}
		w.pass(time.Minute)
		w.wantToken(w.get("a", 0), 1)
		w.wantMints(1)
	})
}

// TestReaderWithTokenGivesUp: a reader whose patience ends gets what is in hand.
func TestReaderWithTokenGivesUp(t *testing.T) {
	inWorld(t, func(w *world) {
		w.put("a", "1", Policy{})
		w.get("a", 0)
		w.provider.set(hangs)
		w.pass(40 * time.Minute)
		ctx, cancel := context.WithTimeout(w.t.Context(), time.Second)
		defer cancel()
		g, err := w.Get(ctx, "a", time.Hour)
		if err != nil || !g.Short || g.Left != 20*time.Minute-time.Second {
			t.Errorf("grant = %+v, %v", g, err)
		}
	})
}

// TestLastCall: with a token in hand, no one waits for a hanging provider until
// it is dead.
func TestLastCall(t *testing.T) {
	for _, test := range []struct {
		name  string
		left  time.Duration // when the read comes
		waits time.Duration
		ok    bool
	}{
		{"in the min ttl zone", 20 * time.Second, 18 * time.Second, true},
		{"just in time", leastMinTTL + 1, 1, true},
		{"too late", leastMinTTL, mintTimeout, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			inWorld(t, func(w *world) {
				w.put("a", "1", Policy{RefreshWindow: ptr(time.Duration(0))})
				w.get("a", 0)
				w.provider.set(hangs)
				w.pass(time.Hour - test.left)
				before := w.age()
				g, err := w.Get(w.t.Context(), "a", 0)
				if waited := w.age() - before; waited != test.waits {
					t.Errorf("waited %s, want %s", waited, test.waits)
				}
				if test.ok && (err != nil || g.Left != leastMinTTL || !g.Short) {
					t.Errorf("grant = %+v, %v", g, err)
				}
				if f := (*Failure)(nil); !test.ok && !errors.As(err, &f) {
					t.Errorf("err = %v", err)
				}
			})
		})
	}
}

// TestLastCallSeesWhatHappened: what is served at the last call is what is in
// hand then, not what was in hand when the wait began.
func TestLastCallSeesWhatHappened(t *testing.T) {
	waiting := func(t *testing.T, f func(w *world, read func() (Grant, error))) {
		inWorld(t, func(w *world) {
			w.put("a", "1", Policy{RefreshWindow: ptr(time.Duration(0))})
			w.get("a", 0)
			w.provider.set(slow(30*time.Second, tokens(time.Hour)))
			w.pass(time.Hour - 20*time.Second)
			f(w, w.background(w.t.Context(), "a", 0))
		})
	}
	t.Run("the machine was suspended", func(t *testing.T) {
		waiting(t, func(w *world, read func() (Grant, error)) {
			w.clock.setWall(19 * time.Second)
			g, err := read()
			if err != nil || g.Left < leastMinTTL {
				t.Errorf("grant = %+v, %v", g, err)
			}
			w.wantToken(g, 2)
		})
	})
	t.Run("the config was written", func(t *testing.T) {
		waiting(t, func(w *world, read func() (Grant, error)) {
			w.put("a", "2", Policy{})
			g, err := read()
			if err != nil {
				t.Fatal(err)
			}
			w.wantToken(g, 3)
		})
	})
}

// TestReadInHandMakesNoCall: neither to the store nor to the provider.
func TestReadInHandMakesNoCall(t *testing.T) {
	inWorld(t, func(w *world) {
		w.put("a", "1", Policy{})
		w.get("a", 0)
		loads := w.store.loads
		w.store.fail(true)
		w.provider.set(hangs)
		before := w.age()
		for range 1000 {
			w.get("a", 0)
		}
		synctest.Wait()
		if w.store.loads != loads || w.age() != before {
			t.Errorf("%d loads, %s", w.store.loads-loads, w.age()-before)
		}
		w.wantMints(1)
	})
}
