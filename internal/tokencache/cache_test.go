// SPDX-License-Identifier: MPL-2.0

package tokencache

import (
	"testing"
	"time"

	"vault-plugin-secrets-messaging/internal/token"
)

func TestNotFound(t *testing.T) {
	inWorld(t, func(w *world) {
		w.getErr(ErrNotFound)
		w.getErr(ErrNotFound)
		_, err := w.rotateOnce(w.t.Context())
		w.wantErr("rotate", err, ErrNotFound)
		s, ok := w.Status("a")
		equal(w, "account in memory", ok, false)
		equal(w, "state", s.State, Empty)
		w.put("1", Policy{})
		w.get("a", 0)
	})
}

// Cached returns the token in memory until the token ends.
func TestCached(t *testing.T) {
	withAccount(t, Policy{}, func(w *world) {
		_, ok := w.Cached("a")
		equal(w, "cached before the first read", ok, false)
		w.get("a", 0)
		w.store.failSaves(1)
		w.rotate()
		cached, ok := w.Cached("a")
		equal(w, "cached", ok, true)
		equal(w, "token", cached.Access, accessToken(2))
		w.advance(time.Hour)
		_, ok = w.Cached("a")
		equal(w, "cached after its end", ok, false)
	})
}

// If the revision changes during a mint, readers wait for a token of the new revision.
func TestOtherRevisionDuringMint(t *testing.T) {
	for writeName, write := range map[string]func(w *world, a *fakeAccount){
		"a write":                 func(w *world, a *fakeAccount) { w.write(a, nil) },
		"a write by another node": func(w *world, a *fakeAccount) { w.store.write(a); w.Invalidate("a") },
	} {
		for mintName, delayed := range map[string]func(time.Duration, answer) answer{
			"the mint is canceled": slow, "the mint returns a token": uncancellable,
		} {
			t.Run(writeName+", "+mintName, func(t *testing.T) {
				withAccount(t, Policy{}, func(w *world) {
					w.provider.set(delayed(3*time.Second, tokens(time.Hour)))
					read := w.startRead("a")
					w.advance(time.Second)
					w.provider.set(slow(time.Second, tokens(time.Hour)))
					second := w.account("a", "2")
					write(w, second)
					waited := w.timed(func() { equal(w, "account", w.must(read()).Account, Account(second)) })
					equal(w, "wait", waited, time.Second)
					w.advance(time.Minute)
					w.wantToken(w.get("a", 0), 2)
					w.wantStored("2", 2)
					w.wantMints(2)
					equal(w, "reported mints", len(w.results()), 1)
				})
			})
		}
	}
}

func TestOtherRevisionDropsToken(t *testing.T) {
	withToken(t, Policy{}, func(w *world) {
		w.put("2", Policy{})
		equal(w, "last failure", w.wantState(Empty).LastFailure, nil)
		w.wantToken(w.get("a", 0), 2)
		w.rotate()
		w.put("3", Policy{})
		w.wantToken(w.rotate().Grant, 4) // the last rotate was of another revision
	})
}

// Readers get the token that a config write passes to Put. The token's age includes the time that
// the write takes.
func TestVerifiedWrite(t *testing.T) {
	withAccount(t, Policy{}, func(w *world) {
		w.provider.set(fails(token.Refused, 0))
		w.getFailure("a")
		a := w.account("a", "2")
		verified := &token.Token{Sent: w.clock.now().Add(-time.Second), Access: "verified", Lifetime: time.Hour}
		_, err := w.Put(w.t.Context(), "a", a, verified, func() error {
			time.Sleep(5 * time.Second)
			w.store.write(a)
			return nil
		})
		w.wantErr("put", err, nil)
		g := w.get("a", 0)
		equal(w, "token", g.Token.Access.Reveal(), "verified")
		equal(w, "left", g.Left, time.Hour-6*time.Second)
		equal(w, "failure", g.Failure, nil)
		equal(w, "stored revision", w.store.tokens["a"].revision, "2")
		equal(w, "stored token", w.store.tokens["a"].token.Access.Reveal(), "verified")
		s := w.wantState(Fresh)
		equal(w, "mints", s.Mints, 1)
		equal(w, "failures", s.Failures, 0)
		equal(w, "reads", s.Reads, 1)
		w.wantMints(1)
	})
}

func TestVerifiedWriteOfNewAccount(t *testing.T) {
	inWorld(t, func(w *world) {
		w.putVerified("1")
		equal(w, "token", w.get("a", 0).Token.Access.Reveal(), "verified")
		equal(w, "loads", w.store.loads, 0)
	})
}

// If a config write passes a token to Put, waiting readers get that token at once.
func TestVerifiedWriteDuringMint(t *testing.T) {
	withAccount(t, Policy{}, func(w *world) {
		w.provider.set(hangs)
		read := w.startRead("a")
		w.advance(time.Second)
		waited := w.timed(func() {
			w.putVerified("1")
			equal(w, "token", w.must(read()).Token.Access.Reveal(), "verified")
		})
		equal(w, "wait", waited, 0)
		w.wantMints(1)
	})
}

// A config write that keeps the revision keeps the token. The new policy applies.
func TestSameRevision(t *testing.T) {
	withToken(t, Policy{}, func(w *world) {
		w.advance(20 * time.Minute)
		second := w.put("1", Policy{MaxTTL: 25 * time.Minute, RefreshWindow: ptr(2 * time.Minute)})
		g := w.get("a", 0)
		w.wantToken(g, 1)
		equal(w, "left", g.Left, 5*time.Minute)
		equal(w, "account", g.Account, Account(second))
		s := w.wantState(Fresh)
		equal(w, "reads", s.Reads, 2)
		equal(w, "mints", s.Mints, 1)
		w.advance(3*time.Minute + 30*time.Second)
		w.Tick()
		w.wantMints(2)
	})
}

// A config write that keeps the revision does not stop the running mint.
func TestSameRevisionDuringMint(t *testing.T) {
	withAccount(t, Policy{}, func(w *world) {
		w.provider.set(slow(2*time.Second, tokens(time.Hour)))
		read := w.startRead("a")
		w.advance(time.Second)
		w.put("1", Policy{MaxTTL: time.Minute})
		g := w.must(read())
		equal(w, "lifetime", g.Lifetime, time.Minute)
		equal(w, "left", g.Left, 58*time.Second)
		w.wantMints(1)
	})
}

// A config write does not load the account into memory.
func TestWriteOfAccountNotInMemory(t *testing.T) {
	withToken(t, Policy{}, func(w *world) {
		w.restart()
		w.put("1", Policy{MaxTTL: 30 * time.Minute})
		_, ok := w.Status("a")
		equal(w, "account in memory", ok, false)
		g := w.get("a", 0)
		w.wantToken(g, 1)
		equal(w, "lifetime", g.Lifetime, 30*time.Minute)
		w.restart()
		w.put("2", Policy{})
		w.wantToken(w.get("a", 0), 2)
	})
}

func TestDeleteDuringMint(t *testing.T) {
	withAccount(t, Policy{}, func(w *world) {
		w.provider.set(slow(2*time.Second, tokens(time.Hour)))
		read := w.startRead("a")
		w.advance(time.Second)
		waited := w.timed(func() {
			w.delete("a")
			w.resultErr(read, ErrNotFound)
		})
		equal(w, "wait", waited, 0)
		w.advance(time.Minute)
		_, ok := w.Status("a")
		equal(w, "account in memory", ok, false)
		equal(w, "stored tokens", len(w.store.tokens), 0)
		w.put("1", Policy{})
		w.wantToken(w.get("a", 0), 2)
	})
}

// Invalidate and a failed Delete forget the account. The next read loads the account again.
func TestInvalidate(t *testing.T) {
	withToken(t, Policy{}, func(w *world) {
		w.Invalidate("nobody")
		w.Invalidate("a")
		w.wantToken(w.get("a", 0), 1)
		equal(w, "loads", w.store.loads, 2)
		w.wantErr("delete", w.Delete("a", func() error { return errStorage }), errStorage)
		w.wantToken(w.get("a", 0), 1)
		equal(w, "loads", w.store.loads, 3)
		w.wantMints(1)
	})
}

// After a failed write, the next read uses the config in storage.
func TestCommitFails(t *testing.T) {
	for _, test := range []struct {
		name     string
		written  bool
		revision string
	}{
		{"before it wrote", false, "1"},
		{"after it wrote", true, "2"},
	} {
		t.Run(test.name, func(t *testing.T) {
			withToken(t, Policy{}, func(w *world) {
				w.advance(40 * time.Minute)
				w.provider.set(slow(2*time.Second, tokens(time.Hour)))
				read := w.start(func() (Grant, error) { return w.Get(w.t.Context(), "a", 30*time.Minute) })
				second := w.account("a", "2")
				verified := &token.Token{Access: "verified", Lifetime: time.Hour}
				_, err := w.Put(w.t.Context(), "a", second, verified, func() error {
					if test.written {
						w.store.write(second)
					}
					return errStorage
				})
				w.wantErr("put", err, errStorage)
				g := w.must(read())
				w.wantToken(g, 3)
				equal(w, "revision", g.Account.Revision(), test.revision)
				w.wantStored(test.revision, 3)
			})
		})
	}
}

// Get and Rotate start no mint for an entry that was removed from the cache.
func TestForgottenEntry(t *testing.T) {
	withToken(t, Policy{}, func(w *world) {
		e, err := w.entry(w.t.Context(), "a")
		w.wantErr("entry", err, nil)
		w.Invalidate("a")
		for name, use := range map[string]func() (Grant, error){
			"get":    func() (Grant, error) { return w.Cache.get(w.t.Context(), e, 0) },
			"wait":   func() (Grant, error) { return w.wait(w.t.Context(), e, 0) },
			"rotate": func() (Grant, error) { return Grant{}, w.Cache.rotate(w.t.Context(), e, &Rotated{}) },
		} {
			_, err := use()
			w.wantErr(name, err, errSuperseded)
		}
		w.refreshInBackground(e)
		w.wantMints(1)
	})
}

// After Close, waiting reads fail. Reads of a valid token still succeed.
func TestClose(t *testing.T) {
	withToken(t, Policy{}, func(w *world) {
		w.write(w.account("b", "1"), nil)
		w.write(w.account("c", "1"), nil)
		w.provider.set(slow(time.Minute, tokens(time.Hour)))
		read := w.startRead("b")
		rotate := w.startRotate(w.t.Context())
		w.advance(time.Second)
		waited := w.timed(func() {
			w.Close()
			w.Close()
			w.resultErr(read, ErrClosed)
			w.resultErr(rotate, ErrClosed)
		})
		equal(w, "wait", waited, 0)
		_, err := w.Get(w.t.Context(), "c", 0)
		w.wantErr("get after Close", err, ErrClosed)
		w.wantToken(w.get("a", 0), 1)
		w.advance(time.Hour)
		w.Tick()
		equal(w, "stored tokens", len(w.store.tokens), 1)
		equal(w, "reported mints", len(w.results()), 1)
		w.wantMints(3)
	})
}
