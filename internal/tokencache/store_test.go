// SPDX-License-Identifier: MPL-2.0

package tokencache

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"vault-plugin-secrets-messaging/internal/clock"
	"vault-plugin-secrets-messaging/internal/token"
)

// TestRestart: the first read serves what was stored, with no mint, even if the
// provider is down just then.
func TestRestart(t *testing.T) {
	inWorld(t, func(w *world) {
		w.put("a", "1", Policy{})
		w.provider.set(slow(2*time.Second, sessions(time.Hour, 0)))
		w.get("a", 0)
		w.pass(18 * time.Second)
		sent, expires := w.get("a", 0).Token.Sent.Wall, w.get("a", 0).Expires
		w.provider.set(hangs)
		w.restart()
		w.pass(40 * time.Second)
		g := w.get("a", 0)
		w.wantToken(g, 1)
		if g.Left != 59*time.Minute || !g.Token.Sent.Wall.Equal(sent) || !g.Expires.Equal(expires) || g.Token.Refresh != "refresh-1" {
			t.Errorf("grant = %+v", g)
		}
		if s, _ := w.Status("a"); s.Reads != 1 || s.Mints != 0 || s.State != Fresh {
			t.Errorf("status = %+v", s)
		}
		w.wantMints(1)
		w.pass(50 * time.Minute)
		w.Tick() // the read counts, and the store's token is on the queue
		w.wantMints(2)
		w.wantRefresh("refresh-1")
	})
}

// TestRestartResetsTheMonotonicClock: it began anew with the process.
func TestRestartResetsTheMonotonicClock(t *testing.T) {
	for name, mono := range map[string]time.Duration{"from 0": 0, "further on": 1000 * time.Hour} {
		t.Run(name, func(t *testing.T) {
			inWorld(t, func(w *world) {
				w.put("a", "1", Policy{RefreshWindow: ptr(time.Duration(0))})
				w.get("a", 0)
				w.pass(59 * time.Minute)
				w.clock.began = time.Now().Add(-mono)
				w.restart()
				if g := w.get("a", 0); g.Left != time.Minute {
					t.Errorf("left = %s", g.Left)
				}
				w.pass(time.Minute)
				w.provider.set(fails(token.Unavailable, 0))
				w.fail("a")
			})
		})
	}
}

func TestStoredTokens(t *testing.T) {
	for _, test := range []struct {
		name    string
		age     time.Duration // of the stored token, by the wall clock
		token   int
		refresh bool // whether a mint uses the stored refresh token
	}{
		{"alive", 30 * time.Minute, 1, false},
		{"of this moment", 0, 1, false},
		{"of a clock that is hardly ahead", -time.Second, 1, false},
		{"from the future", -3 * time.Second, 2, false},
		{"from tomorrow", -24 * time.Hour, 2, false},
		{"in the min ttl zone", 59*time.Minute + 50*time.Second, 2, true},
		{"expired, with a live refresh token", 90 * time.Minute, 2, true},
		{"expired, and the refresh token too", 3 * time.Hour, 2, false},
		{"of long ago", 200 * 365 * 24 * time.Hour, 2, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			inWorld(t, func(w *world) {
				w.put("a", "1", Policy{})
				w.provider.set(sessions(time.Hour, 2*time.Hour))
				w.get("a", 0)
				w.restart()
				s := w.store.tokens["a"]
				s.token.Sent.Wall = w.clock.now().Wall.Add(-test.age)
				w.store.tokens["a"] = s
				w.wantToken(w.get("a", 0), test.token)
				w.wantMints(test.token)
				if test.refresh {
					w.wantRefresh("refresh-1")
				} else {
					w.wantRefresh("")
				}
			})
		})
	}
}

// TestStoreDown: what is minted is served all the same, and what cannot be loaded
// is an error, which the next read tries anew.
func TestStoreDown(t *testing.T) {
	inWorld(t, func(w *world) {
		w.put("a", "1", Policy{})
		w.store.fail(true)
		if _, err := w.Get(w.t.Context(), "a", 0); err == nil || errors.Is(err, ErrNotFound) {
			t.Errorf("err = %v", err)
		}
		w.store.fail(false)
		w.get("a", 0)
		w.store.fail(true)
		w.wantToken(w.rotate("a"), 2)
		w.wantToken(w.get("a", 0), 2)
		w.pass(time.Hour)
		w.wantToken(w.get("a", 0), 3)
	})
}

func TestSlowStoreReaderGivesUp(t *testing.T) {
	inWorld(t, func(w *world) {
		w.put("a", "1", Policy{})
		w.store.onLoad = func(string) { time.Sleep(5 * time.Second) }
		first, second := w.background(w.t.Context(), "a", 0), w.background(w.t.Context(), "a", 0)
		ctx, cancel := context.WithTimeout(w.t.Context(), time.Second)
		defer cancel()
		if _, err := w.Get(ctx, "a", 0); err != ctx.Err() || w.age() != time.Second {
			t.Errorf("err = %v after %s", err, w.age())
		}
		for _, read := range []func() (Grant, error){first, second} {
			if _, err := read(); err != nil {
				t.Error(err)
			}
		}
		if w.store.loads != 1 {
			t.Errorf("%d loads", w.store.loads)
		}
	})
}

func TestNotFound(t *testing.T) {
	inWorld(t, func(w *world) {
		for range 2 {
			if _, err := w.Get(w.t.Context(), "a", 0); !errors.Is(err, ErrNotFound) {
				t.Errorf("err = %v", err)
			}
		}
		if s, ok := w.Status("a"); ok || s.State != Empty {
			t.Errorf("status = %+v, %t", s, ok)
		}
		w.put("a", "1", Policy{})
		w.get("a", 0)
	})
}

// TestLoadThatCameBefore: a read after a write does not take the outcome of a
// load that was begun before it.
func TestLoadThatCameBefore(t *testing.T) {
	for name, write := range map[string]func(w *world){
		"write":      func(w *world) { w.put("a", "1", Policy{}) },
		"invalidate": func(w *world) { w.store.write(&fakeAccount{name: "a", provider: w.provider}); w.Invalidate("a") },
	} {
		t.Run(name, func(t *testing.T) {
			inWorld(t, func(w *world) {
				end := make(chan struct{})
				w.loads.DoChan("a", func() (any, error) { <-end; return nil, ErrNotFound })
				write(w)
				read := w.background(w.t.Context(), "a", 0)
				close(end)
				if _, err := read(); err != nil {
					t.Error(err)
				}
			})
		})
	}
}

// TestSavedBeforeServed: a process that is killed right after a read has stored
// what it served.
func TestSavedBeforeServed(t *testing.T) {
	inWorld(t, func(w *world) {
		w.put("a", "1", Policy{})
		w.store.onSave = func(string, Account, token.Token) { time.Sleep(3 * time.Second) }
		read := w.background(w.t.Context(), "a", 0)
		w.pass(2 * time.Second)
		if s, _ := w.Status("a"); s.State != Refreshing {
			t.Errorf("status = %+v", s)
		}
		g, err := read()
		if err != nil || g.Left != time.Hour-3*time.Second {
			t.Errorf("grant = %+v, %v", g, err)
		}
		if len(w.store.tokens) != 1 {
			t.Error("not stored")
		}
	})
}

// TestWriteDuringSave runs in real time: a write of another revision that comes
// while the old flight stores its token has the last word.
func TestWriteDuringSave(t *testing.T) {
	saving, wrote := make(chan string, 10), make(chan struct{})
	provider := &fakeProvider{clock: clock.System(), answer: tokens(time.Hour)}
	store := &fakeStore{accounts: map[string]*fakeAccount{}, tokens: map[string]saved{}}
	store.onSave = func(_ string, a Account, _ token.Token) {
		if saving <- a.Revision(); a.Revision() == "1" {
			<-wrote
		}
	}
	cache := New(Options{Store: store})
	defer cache.Close()
	first, second := &fakeAccount{name: "a", revision: "1", provider: provider}, &fakeAccount{name: "a", revision: "2", provider: provider}
	store.write(first)

	read := make(chan Grant, 1)
	go func() {
		g, _ := cache.Get(t.Context(), "a", 0)
		read <- g
	}()
	<-saving
	put := make(chan error, 1)
	go func() {
		put <- cache.Put(t.Context(), "a", second, nil, func() error {
			store.write(second)
			return nil
		})
	}()
	close(wrote)
	if err := <-put; err != nil {
		t.Fatal(err)
	}
	<-read
	g, err := cache.Get(t.Context(), "a", 0)
	if err != nil || g.Account != Account(second) || store.tokens["a"].revision != "2" {
		t.Errorf("grant = %+v, %v", g, err)
	}
}

// TestStatus has a line for each state.
func TestStatus(t *testing.T) {
	inWorld(t, func(w *world) {
		w.put("a", "1", Policy{})
		w.provider.set(slow(time.Second, tokens(time.Hour)))
		read := w.background(w.t.Context(), "a", 0)
		want := func(state State) Status {
			t.Helper()
			s, ok := w.Status("a")
			if !ok || s.State != state {
				t.Errorf("after %s: status = %+v, want %s", w.age(), s, state)
			}
			return s
		}
		want(Refreshing)
		if _, err := read(); err != nil {
			t.Fatal(err)
		}
		began := clock.Instant{Wall: w.clock.began}.Wall
		s := want(Fresh)
		if !s.Minted.Equal(began) || !s.Expires.Equal(began.Add(time.Hour)) || !s.RefreshDue.Equal(began.Add(48*time.Minute)) {
			t.Errorf("status = %+v", s)
		}
		w.provider.set(fails(token.Refused, 0))
		w.pass(50 * time.Minute)
		w.get("a", 0)
		synctest.Wait()
		s = want(BackingOff)
		if s.Failures != 1 || s.LastFailure.Kind != token.Refused || !s.NextAttempt.Equal(s.LastFailure.Next) || !s.Expires.Equal(began.Add(time.Hour)) {
			t.Errorf("status = %+v", s)
		}
		w.pass(9*time.Minute + 59*time.Second)
		if s := want(Empty); s.Failures != 1 || !s.Expires.IsZero() || !s.NextAttempt.IsZero() {
			t.Errorf("status = %+v", s)
		}
		w.put("a", "1", Policy{RefreshWindow: ptr(time.Duration(0))})
		w.provider.set(tokens(time.Hour))
		w.get("a", 0)
		if s := want(Fresh); !s.RefreshDue.IsZero() || s.LastFailure == nil || s.Failures != 0 {
			t.Errorf("status = %+v", s)
		}
	})
}
