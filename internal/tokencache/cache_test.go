// SPDX-License-Identifier: MPL-2.0

package tokencache

import (
	"context"
	"fmt"
	"math"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"vault-plugin-secrets-messaging/internal/clock"
	"vault-plugin-secrets-messaging/internal/secret"
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

// If a load fails, the read fails, and the next read loads again.
func TestLoadFails(t *testing.T) {
	withAccount(t, Policy{}, func(w *world) {
		w.store.loadsFail = true
		w.getErr(errStorage)
		w.store.loadsFail = false
		w.get("a", 0)
	})
}

// If a save fails, readers still get the new token. The cache removes the old token from the
// store, because it may have leaked. Ticks repeat the save.
func TestSaveFails(t *testing.T) {
	withToken(t, Policy{}, func(w *world) {
		w.store.failSaves(1)
		r := w.rotate()
		w.wantToken(r.Grant, 2)
		w.wantErr("unsaved", r.Unsaved, errStorage)
		w.wantErr("unsaved in the result", w.results()[1].Unsaved, errStorage)
		equal(w, "unsaved in the status", w.wantState(Fresh).Unsaved, true)
		equal(w, "stored tokens", len(w.store.tokens), 0)
		w.wantToken(w.get("a", 0), 2)

		w.store.failSaves(1)
		w.advance(resavePause)
		equal(w, "due", w.Due(), true)
		w.Tick()
		synctest.Wait()
		equal(w, "unsaved after another failure", w.wantState(Fresh).Unsaved, true)
		w.put("1", Policy{}) // of the same revision
		equal(w, "unsaved after a write", w.wantState(Fresh).Unsaved, true)
		equal(w, "due at once", w.Due(), false)
		w.advance(resavePause)
		w.Tick()
		w.wantStored("1", 2)
		equal(w, "unsaved after a tick", w.wantState(Fresh).Unsaved, false)
		w.advance(time.Minute)
		equal(w, "due after the save", w.Due(), false)
		w.tickFor(50 * time.Minute)
		w.wantMints(3) // a tick still refreshes the token
	})
}

// If the cache can neither save the new token nor remove the old one, the error says so.
func TestSaveAndRemoveFail(t *testing.T) {
	withToken(t, Policy{}, func(w *world) {
		w.store.failSaves(math.MaxInt)
		r := w.rotate()
		if r.Unsaved == nil || !strings.Contains(r.Unsaved.Error(), "older token may still be stored") {
			t.Errorf("got %v, want an error that says that an older token may still be stored", r.Unsaved)
		}
		for range 5 {
			w.advance(time.Minute)
			w.Tick()
			w.wantStored("1", 1)
		}
		w.store.failSaves(0)
		w.advance(time.Minute)
		w.Tick()
		w.wantStored("1", 2)
	})
}

// If an account is deleted, ticks no longer repeat the save of its token.
func TestUnsavedTokenOfDeletedAccount(t *testing.T) {
	withToken(t, Policy{}, func(w *world) {
		w.store.failSaves(1)
		w.rotate()
		w.delete("a")
		w.advance(time.Minute)
		equal(w, "due", w.Due(), false)
		equal(w, "stored tokens", len(w.store.tokens), 0)
	})
}

// A verified write saves its token, and a write with share=false removes the stored shared token. If
// the store fails, the write says so, and a tick repeats the save or the removal.
func TestWriteThatIsNotSaved(t *testing.T) {
	for _, test := range []struct {
		name               string
		verified, inMemory bool
		stored             secret.String // the token that is stored in the end
	}{
		{"verified", true, true, "verified"},
		{"share=false", false, true, ""},
		{"share=false, not in memory", false, false, ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			withToken(t, Policy{}, func(w *world) {
				if !test.inMemory {
					w.restart()
				}
				a := w.account("a", "2")
				a.unshared = !test.verified
				var verified *token.Token
				if test.verified {
					verified = &token.Token{Access: "verified", Lifetime: time.Hour, Sent: w.clock.now()}
				}
				w.store.failSaves(1)
				unsaved, err := w.Put(w.t.Context(), "a", a, verified, nil)
				w.wantErr("put", err, nil)
				w.wantErr("unsaved", unsaved, errStorage)
				equal(w, "stored tokens", len(w.store.tokens), map[bool]int{true: 0, false: 1}[test.verified])
				w.advance(time.Minute)
				w.Tick()
				synctest.Wait()
				equal(w, "stored token", w.store.tokens["a"].token.Access, test.stored)
				equal(w, "due", w.Due(), false)
			})
		})
	}
}

// A slow save of one account does not delay other accounts.
func TestSlowSaveOfAnotherAccount(t *testing.T) {
	inWorld(t, func(w *world) {
		w.store.onSave = func(name string, _ Account, _ token.Token) {
			if name == "0" {
				time.Sleep(storeTimeout)
			}
		}
		w.write(w.account("0", "1"), nil)
		w.startRead("0")
		waited := w.timed(func() {
			for i := range 1000 {
				name := fmt.Sprint(i + 1)
				w.write(w.account(name, "1"), nil)
				w.get(name, 0)
				w.Invalidate(name)
			}
		})
		equal(w, "wait", waited, 0)
		w.advance(storeTimeout)
		equal(w, "locks in use", len(w.writing.values), 0)
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

// A reader stops waiting for a slow load when the reader's context ends. Other readers still get
// the result of the load.
func TestReaderGivesUpDuringLoad(t *testing.T) {
	withAccount(t, Policy{}, func(w *world) {
		w.store.onLoad = func(string) { time.Sleep(5 * time.Second) }
		others := w.startReads(2)
		ctx, cancel := context.WithTimeout(w.t.Context(), time.Second)
		defer cancel()
		_, err := w.Get(ctx, "a", 0)
		w.wantErr("get", err, context.DeadlineExceeded)
		equal(w, "elapsed time", w.elapsed(), time.Second)
		for _, read := range others {
			w.must(read())
		}
		equal(w, "loads", w.store.loads, 1)
	})
}

// A read after a write ignores a load that began before the write.
func TestLoadBeforeWrite(t *testing.T) {
	for name, write := range map[string]func(w *world){
		"write":      func(w *world) { w.put("1", Policy{}) },
		"invalidate": func(w *world) { w.store.write(w.account("a", "1")); w.Invalidate("a") },
	} {
		t.Run(name, func(t *testing.T) {
			inWorld(t, func(w *world) {
				end := make(chan struct{})
				w.loads.DoChan("a", func() (any, error) { <-end; return nil, ErrNotFound })
				write(w)
				read := w.startRead("a")
				close(end)
				w.must(read())
			})
		})
	}
}

// The cache neither serves nor stores a token of an old revision. Readers that wait for a mint of
// the old revision get a token of the new revision.
func TestOtherRevisionDuringMint(t *testing.T) {
	for writeName, write := range map[string]func(w *world, a *fakeAccount){
		"a write":                 func(w *world, a *fakeAccount) { w.write(a, nil) },
		"a write by another node": func(w *world, a *fakeAccount) { w.store.write(a); w.Invalidate("a") },
	} {
		for mintName, delayed := range map[string]func(time.Duration, answer) answer{
			"the mint is cancelled": slow, "the mint returns a token": uncancellable,
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

// Readers get the token of a verified write. The token's life counts from its request, even if the
// write takes long.
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

// After a verified write of the same revision, readers do not wait for the running mint.
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

// A write of the same revision keeps the token and the count of its reads. The new policy applies.
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

// A write of the same revision does not supersede the running mint. The new policy applies to its
// token.
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

// A write does not load an account into memory. It keeps a stored token of the same revision.
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

func TestDeleteFails(t *testing.T) {
	withToken(t, Policy{}, func(w *world) {
		w.wantErr("delete", w.Delete("a", func() error { return errStorage }), errStorage)
		w.wantToken(w.get("a", 0), 1)
		equal(w, "loads", w.store.loads, 2)
		w.wantMints(1)
	})
}

// Invalidate forgets an account whether or not it is in memory.
func TestInvalidate(t *testing.T) {
	withToken(t, Policy{}, func(w *world) {
		w.Invalidate("nobody")
		w.Invalidate("a")
		w.wantToken(w.get("a", 0), 1)
		equal(w, "loads", w.store.loads, 2)
		w.wantMints(1)
	})
}

// After a failed write, the config in storage decides which revision is current.
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

// The use of an entry that the cache has just forgotten returns errSuperseded and starts no mint.
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

// A write of another revision waits while a mint saves its token, and then takes effect. The test
// runs in real time, because in a synctest bubble no time passes while a goroutine waits for a lock.
func TestWriteDuringSave(t *testing.T) {
	saving, wrote := make(chan string, 10), make(chan struct{})
	provider := &fakeProvider{clock: clock.System(), answer: tokens(time.Hour)}
	store := newFakeStore()
	store.onSave = func(_ string, a Account, _ token.Token) {
		if saving <- a.Revision(); a.Revision() == "1" {
			<-wrote
		}
	}
	cache := New(options(store, clock.System()))
	defer cache.Close()
	store.write(&fakeAccount{name: "a", revision: "1", provider: provider})
	second := &fakeAccount{name: "a", revision: "2", provider: provider}

	var all sync.WaitGroup
	all.Go(func() { _, _ = cache.Get(t.Context(), "a", 0) })
	<-saving
	all.Go(func() {
		if _, err := cache.Put(t.Context(), "a", second, nil, func() error { store.write(second); return nil }); err != nil {
			t.Errorf("put: got error %v, want none", err)
		}
	})
	close(wrote)
	all.Wait()
	g, err := cache.Get(t.Context(), "a", 0)
	if err != nil || g.Account != Account(second) {
		t.Errorf("got account %+v and error %v, want the account of revision 2", g.Account, err)
	}
	if got := store.tokens["a"].revision; got != "2" {
		t.Errorf("got a stored token of revision %s, want 2", got)
	}
}

// Close cancels running mints, and readers that wait get an error. Nothing is stored afterwards.
// Readers of a valid token still get the token.
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

func TestCloseDuringLoad(t *testing.T) {
	withAccount(t, Policy{}, func(w *world) {
		w.store.onLoad = func(string) { time.Sleep(time.Second) }
		read := w.startRead("a")
		w.Close()
		w.resultErr(read, ErrClosed)
		w.advance(time.Second)
	})
}
