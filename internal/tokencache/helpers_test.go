// SPDX-License-Identifier: MPL-2.0

package tokencache

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"vault-plugin-secrets-messaging/internal/clock"
	"vault-plugin-secrets-messaging/internal/token"
)

// world is a Cache with everything around it that it needs, in a synctest
// bubble: time passes only when all of its goroutines wait.
type world struct {
	*Cache
	t        *testing.T
	clock    *testClock
	provider *fakeProvider
	store    *fakeStore

	mu      sync.Mutex
	results []MintResult
}

// inWorld runs f in a world of its own, and fails if it leaves a goroutine behind.
func inWorld(t *testing.T, f func(w *world)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		c := &testClock{began: time.Now()}
		w := &world{
			t:        t,
			clock:    c,
			provider: &fakeProvider{clock: c.now, answer: tokens(time.Hour)},
			store:    &fakeStore{accounts: map[string]*fakeAccount{}, tokens: map[string]saved{}},
		}
		w.restart()
		f(w)
		w.Close()
	})
}

// restart puts a new Cache in the place of the old one, with the same store.
func (w *world) restart() {
	if w.Cache != nil {
		w.Close()
		synctest.Wait()
	}
	w.Cache = New(Options{Store: w.store, Clock: w.clock.now, OnMint: func(r MintResult) {
		w.mu.Lock()
		defer w.mu.Unlock()
		w.results = append(w.results, r)
	}})
}

// put writes the config of an account, as a config write does: no token comes with it.
func (w *world) put(name, revision string, p Policy) *fakeAccount {
	w.t.Helper()
	return w.putVerified(name, revision, p, nil)
}

// putVerified is put with a token that came with it.
func (w *world) putVerified(name, revision string, p Policy, m *token.Token) *fakeAccount {
	w.t.Helper()
	a := &fakeAccount{name: name, revision: revision, policy: p, provider: w.provider}
	if m != nil && m.Sent == (clock.Instant{}) {
		m.Sent = w.clock.now()
	}
	w.write(a, m)
	return a
}

// putUnshared writes the config of the account "a" with share=false.
func (w *world) putUnshared(revision string) {
	w.t.Helper()
	w.write(&fakeAccount{name: "a", revision: revision, unshared: true, provider: w.provider}, nil)
}

func (w *world) write(a *fakeAccount, m *token.Token) {
	w.t.Helper()
	if err := w.Put(w.t.Context(), a.name, a, m, func() error { w.store.write(a); return nil }); err != nil {
		w.t.Fatalf("put %s: %v", a.name, err)
	}
}

// get reads, and fails if there is no token.
func (w *world) get(name string, asked time.Duration) Grant {
	w.t.Helper()
	g, err := w.Get(w.t.Context(), name, asked)
	if err != nil {
		w.t.Fatalf("get %s after %s: %v", name, w.age(), err)
	}
	return g
}

// fail reads, and fails unless there is no token and a *Failure says why.
func (w *world) fail(name string) *Failure {
	w.t.Helper()
	g, err := w.Get(w.t.Context(), name, 0)
	var f *Failure
	if !errors.As(err, &f) {
		w.t.Fatalf("get %s after %s = %v, %v, want a Failure", name, w.age(), g.Token.Access.Reveal(), err)
	}
	return f
}

// background starts a read and returns what gives its outcome.
func (w *world) background(ctx context.Context, name string, asked time.Duration) func() (Grant, error) {
	type outcome struct {
		g   Grant
		err error
	}
	done := make(chan outcome, 1)
	go func() {
		g, err := w.Get(ctx, name, asked)
		done <- outcome{g, err}
	}()
	synctest.Wait()
	return func() (Grant, error) { o := <-done; return o.g, o.err }
}

// pass lets d pass, and then all the work be done that is due by then.
func (w *world) pass(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

// told returns the results of the mints that ended.
func (w *world) told() []MintResult {
	synctest.Wait()
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.results
}

func (w *world) age() time.Duration { return time.Since(w.clock.began) }

// wantMints fails unless the provider was asked n times so far.
func (w *world) wantMints(n int) {
	w.t.Helper()
	synctest.Wait()
	if got := len(w.provider.all()); got != n {
		w.t.Fatalf("after %s: %d mints, want %d", w.age(), got, n)
	}
}

// wantToken fails unless g is the n-th token that the provider gave.
func (w *world) wantToken(g Grant, n int) {
	w.t.Helper()
	if want := accessToken(n); g.Token.Access != want {
		w.t.Fatalf("after %s: got token %s, want %s", w.age(), g.Token.Access.Reveal(), want.Reveal())
	}
}

// testClock is the bubble's clock, and a wall clock that can be set. That it is
// set forward is also how a suspended machine looks: the monotonic clock stood
// still meanwhile, and timers with it.
type testClock struct {
	began time.Time
	set   atomic.Int64
}

func (c *testClock) now() clock.Instant {
	now := time.Now()
	return clock.Instant{Wall: now.Round(0).Add(time.Duration(c.set.Load())), Mono: now.Sub(c.began)}
}

func (c *testClock) setWall(by time.Duration) { c.set.Add(int64(by)) }

func ptr[T any](v T) *T { return &v }
