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

// world is a Cache with a fake provider, store and clock. Each test runs its world in a synctest
// bubble.
type world struct {
	*Cache
	t        *testing.T
	clock    *testClock
	provider *fakeProvider
	store    *fakeStore

	mu     sync.Mutex
	mints  []MintResult
	unused []token.Token // that OnUnused got
}

// inWorld runs f in a new world. The test fails if a goroutine is left afterwards.
func inWorld(t *testing.T, f func(w *world)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		c := &testClock{began: time.Now()}
		w := &world{t: t, clock: c, provider: &fakeProvider{clock: c.now, answer: tokens(time.Hour)}, store: newFakeStore()}
		w.restart()
		defer func() { w.Close() }()
		f(w)
	})
}

// withAccount runs f in a new world with the account "a", of revision 1.
func withAccount(t *testing.T, p Policy, f func(w *world)) {
	t.Helper()
	inWorld(t, func(w *world) {
		w.put("1", p)
		f(w)
	})
}

// withToken runs f in a new world in which the account "a" has a token.
func withToken(t *testing.T, p Policy, f func(w *world)) {
	t.Helper()
	withAccount(t, p, func(w *world) {
		w.get("a", 0)
		synctest.Wait() // the mint calls OnMint after readers have the token
		f(w)
	})
}

// restart replaces the Cache, but keeps the store.
func (w *world) restart() {
	if w.Cache != nil {
		w.Close()
		synctest.Wait()
	}
	opts := options(w.store, w.clock.now)
	opts.OnMint = func(r MintResult) {
		w.mu.Lock()
		defer w.mu.Unlock()
		w.mints = append(w.mints, r)
	}
	opts.OnUnused = func(_ Account, t token.Token) {
		w.mu.Lock()
		defer w.mu.Unlock()
		w.unused = append(w.unused, t)
	}
	w.Cache = New(opts)
}

// options returns Options with functions that do nothing.
func options(s Store, c clock.Clock) Options {
	return Options{Store: s, Clock: c, OnMint: func(MintResult) {}, OnUnused: func(Account, token.Token) {},
		MayMint: func(Account, bool) error { return nil }}
}

// account makes an account, but does not write its config.
func (w *world) account(name, revision string) *fakeAccount {
	return &fakeAccount{name: name, revision: revision, provider: w.provider}
}

// write writes the config of a, and passes the token t to Put. t may be nil.
func (w *world) write(a *fakeAccount, t *token.Token) *fakeAccount {
	w.t.Helper()
	if t != nil && t.Sent == (clock.Instant{}) {
		t.Sent = w.clock.now()
	}
	if _, err := w.Put(w.t.Context(), a.name, a, t, func() error { w.store.write(a); return nil }); err != nil {
		w.t.Fatalf("after %s: put %s: got error %v, want none", w.elapsed(), a.name, err)
	}
	return a
}

// put writes the config of the account "a".
func (w *world) put(revision string, p Policy) *fakeAccount {
	w.t.Helper()
	a := w.account("a", revision)
	a.policy = p
	return w.write(a, nil)
}

// putVerified writes the account "a", and passes the token "verified" to Put. The token lives for
// an hour.
func (w *world) putVerified(revision string) {
	w.t.Helper()
	w.write(w.account("a", revision), &token.Token{Access: "verified", Lifetime: time.Hour})
}

// putUnshared writes the account "a" with share=false.
func (w *world) putUnshared(revision string) {
	w.t.Helper()
	a := w.account("a", revision)
	a.unshared = true
	w.write(a, nil)
}

func (w *world) delete(name string) {
	w.t.Helper()
	w.wantErr("delete", w.Delete(name, func() error { return w.store.delete(name) }), nil)
}

// must returns g, and fails if err is not nil.
func (w *world) must(g Grant, err error) Grant {
	w.t.Helper()
	if err != nil {
		w.t.Fatalf("after %s: got error %v, want a token", w.elapsed(), err)
	}
	return g
}

// get reads, and fails if there is no token.
func (w *world) get(name string, asked time.Duration) Grant {
	w.t.Helper()
	return w.must(w.Get(w.t.Context(), name, asked))
}

// getErr fails unless a read of the account "a" returns this error.
func (w *world) getErr(want error) {
	w.t.Helper()
	_, err := w.Get(w.t.Context(), "a", 0)
	w.wantErr("get", err, want)
}

func (w *world) resultErr(result func() (Grant, error), want error) {
	w.t.Helper()
	_, err := result()
	w.wantErr("result", err, want)
}

// rotate rotates the account "a", and fails on an error.
func (w *world) rotate() Rotated {
	w.t.Helper()
	r, err := w.Rotate(w.t.Context(), "a")
	w.must(r.Grant, err)
	return r
}

// rotateOnce rotates the account "a" and returns only the Grant.
func (w *world) rotateOnce(ctx context.Context) (Grant, error) {
	r, err := w.Rotate(ctx, "a")
	return r.Grant, err
}

// mustFail returns err, and fails unless it is a *Failure.
func (w *world) mustFail(g Grant, err error) *Failure {
	w.t.Helper()
	var f *Failure
	if !errors.As(err, &f) {
		w.t.Fatalf("after %s: got token %q and error %v, want a Failure", w.elapsed(), g.Token.Access.Reveal(), err)
	}
	return f
}

// getFailure reads, and fails unless the error is a *Failure.
func (w *world) getFailure(name string) *Failure {
	w.t.Helper()
	return w.mustFail(w.Get(w.t.Context(), name, 0))
}

// start calls do in another goroutine. The returned function waits for the result.
func (w *world) start(do func() (Grant, error)) (result func() (Grant, error)) {
	var g Grant
	var err error
	done := make(chan struct{})
	go func() {
		defer close(done)
		g, err = do()
	}()
	synctest.Wait()
	return func() (Grant, error) { <-done; return g, err }
}

// startRead starts a read of the named account.
func (w *world) startRead(name string) (result func() (Grant, error)) {
	return w.start(func() (Grant, error) { return w.Get(w.t.Context(), name, 0) })
}

// startReads starts n reads of the account "a".
func (w *world) startReads(n int) (results []func() (Grant, error)) {
	for range n {
		results = append(results, w.startRead("a"))
	}
	return results
}

// advance lets d pass, and waits until all due work is done.
func (w *world) advance(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

// advanceTo lets time pass until the wall clock shows this time.
func (w *world) advanceTo(wall time.Time) { w.advance(wall.Sub(w.clock.now().Wall)) }

// elapsed returns the time since the world was made.
func (w *world) elapsed() time.Duration { return time.Since(w.clock.began) }

// timed returns how long f takes.
func (w *world) timed(f func()) time.Duration {
	began := w.elapsed()
	f()
	return w.elapsed() - began
}

// readFor reads the account "a" until d has passed, and calls check with each grant. The parameter
// pause separates two reads, and interval separates two ticks.
func (w *world) readFor(d, pause, interval time.Duration, check func(Grant)) {
	w.t.Helper()
	tick := w.elapsed()
	for end := tick + d; w.elapsed() < end; w.advance(pause) {
		check(w.get("a", 0))
		if w.elapsed() >= tick {
			w.Tick()
			tick += interval
		}
	}
}

// results returns the results of the mints that ended.
func (w *world) results() []MintResult {
	synctest.Wait()
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.mints
}

// equal fails unless got is want.
func equal[T comparable](w *world, what string, got, want T) {
	w.t.Helper()
	if got != want {
		w.t.Errorf("after %s: %s: got %v, want %v", w.elapsed(), what, got, want)
	}
}

// wantErr fails unless err wraps want, or both are nil.
func (w *world) wantErr(what string, err, want error) {
	w.t.Helper()
	if !errors.Is(err, want) {
		w.t.Errorf("after %s: %s: got error %v, want %v", w.elapsed(), what, err, want)
	}
}

// wantMints fails unless the provider got n requests so far.
func (w *world) wantMints(n int) {
	w.t.Helper()
	synctest.Wait()
	if got := len(w.provider.allCalls()); got != n {
		w.t.Fatalf("after %s: got %d mints, want %d", w.elapsed(), got, n)
	}
}

// wantToken fails unless g is the n-th token of the provider.
func (w *world) wantToken(g Grant, n int) {
	w.t.Helper()
	if got, want := g.Token.Access.Reveal(), accessToken(n).Reveal(); got != want {
		w.t.Fatalf("after %s: got token %q, want %q", w.elapsed(), got, want)
	}
}

// wantStored fails unless the store holds the provider's n-th token under this revision.
func (w *world) wantStored(revision string, n int) {
	w.t.Helper()
	synctest.Wait()
	s := w.store.tokens["a"]
	equal(w, "revision of the stored token", s.revision, revision)
	equal(w, "stored token", s.token.Access.Reveal(), accessToken(n).Reveal())
}

// wantState returns the status of the account "a". It fails unless the account is in this state.
func (w *world) wantState(want State) Status {
	w.t.Helper()
	s, ok := w.Status("a")
	equal(w, "account in memory", ok, true)
	equal(w, "state", s.State, want)
	return s
}

// testClock lets tests set the wall clock. Setting the wall clock forward simulates a suspended
// machine.
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
