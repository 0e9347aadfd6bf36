// SPDX-License-Identifier: MPL-2.0

package tokencache

import (
	"context"
	"errors"
	"fmt"
	"math"
	"sync"
	"testing"
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
		{"less than is left", h, 20 * m, 30 * m, 1, false},
		{"all that is left", h, 30 * m, 30 * m, 1, false},
		{"more than is left", h, 30*m + 1, 30 * m, 2, false},
		{"more than half counts as half: enough", h, 20 * m, 50 * m, 1, true},
		{"more than half counts as half: not enough", h, 30*m + 1, 50 * m, 2, false},
		{"the whole lifetime, at once", h, 0, h, 1, false},
		{"the whole lifetime, later", h, s, h, 1, true},
		{"more than the lifetime", h, 0, 2 * h, 1, true},
		{"less than the account's minimum", h, 59*m + 31*s, 10 * s, 2, false},
		{"the token still counts as the newest", 12 * s, 10*s - 1, 6 * s, 1, true},
		{"the token no longer counts as the newest", 12 * s, 10 * s, 6 * s, 2, false},
		{"the newest token has less than the min TTL", 11 * s, 9*s + 1, 0, 2, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			withAccount(t, Policy{}, func(w *world) {
				w.provider.set(tokens(test.lifetime))
				w.get("a", 0)
				w.advance(test.age)
				g := w.get("a", test.asked)
				w.wantToken(g, test.token)
				equal(w, "short", g.Short, test.short)
				if least := min(test.asked, test.lifetime/2); g.MinTTL < least {
					t.Errorf("got MinTTL %s, want at least %s", g.MinTTL, least)
				}
			})
		})
	}
}

func TestReadersShareOneMint(t *testing.T) {
	const readers = 10_000
	withAccount(t, Policy{}, func(w *world) {
		w.provider.set(slow(time.Second, tokens(time.Hour)))
		readAtOnce(w, []string{"a"}, readers)
		w.wantMints(1)
		equal(w, "reads", w.wantState(Fresh).Reads, readers)
		equal(w, "loads", w.store.loads, 1)
	})
}

// readPatiently repeats the read while the mint continues.
func (w *world) readPatiently(name string) (g Grant, err error) {
	for {
		if g, err = w.Get(w.t.Context(), name, 0); !errors.Is(err, ErrStillMinting) {
			return g, err
		}
	}
}

// readAtOnce starts this many reads of each account, and waits until every read has a token.
func readAtOnce(w *world, names []string, readers int) {
	var all sync.WaitGroup
	for _, name := range names {
		for range readers {
			all.Go(func() {
				_, err := w.readPatiently(name)
				w.wantErr("get "+name, err, nil)
			})
		}
	}
	all.Wait()
}

// If a reader gives up, the mint continues. Other readers get the token.
func TestReaderGivesUp(t *testing.T) {
	withAccount(t, Policy{}, func(w *world) {
		w.provider.set(slow(2*time.Second, tokens(time.Hour)))
		ctx, cancel := context.WithTimeout(w.t.Context(), time.Second)
		defer cancel()
		first := w.start(func() (Grant, error) { return w.Get(ctx, "a", 0) })
		other := w.startRead("a")
		w.resultErr(first, context.DeadlineExceeded)
		equal(w, "elapsed time", w.elapsed(), time.Second)
		w.must(other())
		w.wantMints(1)
		w.wantCounts(Counts{Minted: 1, Reads: [...]int64{ServedWaited: 1, ServedNot: 1}})
	})
}

// No read waits longer than MaxWait. The mint continues, and a repeated read gets the token.
func TestReadsWaitThreeSeconds(t *testing.T) {
	withAccount(t, Policy{}, func(w *world) {
		w.provider.set(slow(8*time.Second, tokens(time.Hour)))
		for i := range 2 {
			w.getErr(ErrStillMinting)
			equal(w, "elapsed time", w.elapsed(), time.Duration(i+1)*MaxWait)
		}
		w.wantToken(w.get("a", 0), 1)
		w.wantMints(1)
		w.wantCounts(Counts{Minted: 1, Reads: [...]int64{ServedWaited: 1, ServedNot: 2}})
	})
}

// Even if config writes supersede the mint, no read waits longer than MaxWait.
func TestReadsWaitThreeSecondsDuringWrites(t *testing.T) {
	withAccount(t, Policy{}, func(w *world) {
		w.provider.set(hangs)
		go func() {
			for i := range 10 {
				w.put(fmt.Sprint(i+2), Policy{})
				time.Sleep(time.Second)
			}
		}()
		w.getErr(ErrStillMinting)
		equal(w, "elapsed time", w.elapsed(), MaxWait)
		w.advance(10 * time.Second)
	})
}

// If the provider hangs, readers get the cached token shortly before it ends.
func TestWaitEndsBeforeCachedToken(t *testing.T) {
	for _, test := range []struct {
		name   string
		left   time.Duration // when the read comes
		wait   time.Duration
		served bool
	}{
		{"less than the min TTL is left", 20 * time.Second, MaxWait, true},
		{"4 s are left", 4 * time.Second, 4*time.Second - leastMinTTL, true},
		{"just enough is left", leastMinTTL + 1, 1, true},
		{"too little is left", leastMinTTL, MaxWait, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			withToken(t, Policy{RefreshWindow: ptr(time.Duration(0))}, func(w *world) {
				w.provider.set(hangs)
				w.advance(time.Hour - test.left)
				waited := w.timed(func() {
					if !test.served {
						w.getErr(ErrStillMinting)
						return
					}
					g := w.get("a", 0)
					equal(w, "left", g.Left, test.left-test.wait)
					equal(w, "short", g.Short, true)
					equal(w, "served", g.Served, ServedStale)
				})
				equal(w, "wait", waited, test.wait)
			})
		})
	}
}

// If the token ends or the config changes during a wait, the reader gets a newer token.
func TestWaitEndsAfterChange(t *testing.T) {
	for _, test := range []struct {
		name  string
		act   func(w *world)
		token int
	}{
		{"the machine was suspended", func(w *world) { w.clock.setWall(3 * time.Second) }, 2},
		{"the config was written", func(w *world) { w.put("2", Policy{}) }, 3},
	} {
		t.Run(test.name, func(t *testing.T) {
			withToken(t, Policy{RefreshWindow: ptr(time.Duration(0))}, func(w *world) {
				w.provider.set(slow(2500*time.Millisecond, tokens(time.Hour)))
				w.advance(time.Hour - 4*time.Second)
				read := w.startRead("a")
				test.act(w)
				g := w.must(read())
				w.wantToken(g, test.token)
				if g.Left < leastMinTTL {
					t.Errorf("got %s left, want at least %s", g.Left, leastMinTTL)
				}
			})
		})
	}
}

// A read of a cached token calls neither the store nor the provider.
func TestCachedReadMakesNoCall(t *testing.T) {
	withToken(t, Policy{}, func(w *world) {
		loads := w.store.loads
		w.store.loadsFail = true
		w.store.failSaves(math.MaxInt)
		w.provider.set(hangs)
		waited := w.timed(func() {
			for range 1000 {
				w.get("a", 0)
			}
		})
		equal(w, "wait", waited, 0)
		equal(w, "loads", w.store.loads, loads)
		w.wantMints(1)
	})
}

// A node that may not mint still serves the cached token. Requests that need a new token fail.
func TestMayMint(t *testing.T) {
	withToken(t, Policy{}, func(w *world) {
		errSecondary := errors.New("this node is a secondary")
		w.opts.MayMint = func(Account, bool) error { return errSecondary }
		w.advance(50 * time.Minute)
		w.get("a", 0)
		w.Tick()
		equal(w, "short", w.get("a", 30*time.Minute).Short, true)
		w.resultErr(w.startRotate(w.t.Context()), errSecondary)
		w.resultErr(func() (Grant, error) { return w.reject(1) }, errSecondary)
		w.advance(10 * time.Minute)
		w.getErr(errSecondary)
		w.wantMints(1)
		w.wantCounts(Counts{Minted: 1, Reads: [...]int64{ServedWaited: 1, ServedStale: 2, ServedNot: 2}})
	})
}

func TestGrant(t *testing.T) {
	withAccount(t, Policy{MaxTTL: 40 * time.Minute}, func(w *world) {
		w.provider.set(slow(2*time.Second, tokens(time.Hour)))
		sent := w.clock.now().Wall
		w.get("a", 0)
		w.advance(8 * time.Second)
		g := w.get("a", 0)
		equal(w, "left", g.Left, 40*time.Minute-10*time.Second)
		equal(w, "lifetime", g.Lifetime, 40*time.Minute)
		equal(w, "min TTL", g.MinTTL, 30*time.Second)
		equal(w, "short", g.Short, false)
		equal(w, "failure", g.Failure, nil)
		equal(w, "account", g.Account, Account(w.store.accounts["a"]))
		equal(w, "expiry since the request", g.Expires.Sub(sent), 40*time.Minute)
		equal(w, "sent since the request", g.Token.Sent.Wall.Sub(sent), 0)
	})
}
