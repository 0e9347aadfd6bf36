// SPDX-License-Identifier: MPL-2.0

package tokencache

import (
	"context"
	"testing"
	"time"

	"vault-plugin-secrets-messaging/internal/clock"
	"vault-plugin-secrets-messaging/internal/token"
)

func TestNotFound(t *testing.T) {
	inWorld(t, func(w *world) {
		for range 2 {
			_, err := w.Get(w.t.Context(), "a", 0)
			w.wantErr("get", err, ErrNotFound)
		}
		_, err := w.Rotate(w.t.Context(), "a")
		w.wantErr("rotate", err, ErrNotFound)
		s, ok := w.Status("a")
		equal(w, "account in memory", ok, false)
		equal(w, "state", s.State, Empty)
		w.put("1", Policy{})
		w.get("a", 0)
	})
}

// A load that fails is an error, and the next read loads again. A save that fails changes
// nothing for readers.
func TestStoreFails(t *testing.T) {
	withAccount(t, Policy{}, func(w *world) {
		w.store.setFaults(true, true)
		_, err := w.Get(w.t.Context(), "a", 0)
		w.wantErr("get", err, errStorage)
		w.store.setFaults(false, false)
		w.get("a", 0)
		w.store.setFaults(true, true)
		w.wantToken(w.rotate(), 2)
		w.wantToken(w.get("a", 0), 2)
		w.advance(time.Hour)
		w.wantToken(w.get("a", 0), 3)
	})
}

// A reader does not wait for a slow load beyond its context. The load continues, and
// other readers share it.
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

// A read after a write does not get the result of a load that began before the write.
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

// A token of an old revision fills neither memory nor storage, and the readers that wait
// for it get a token of the new revision.
func TestOtherRevisionDuringMint(t *testing.T) {
	for name, delayed := range map[string]func(time.Duration, answer) answer{
		"the old mint is cancelled": slow, "the old mint returns a token": uncancellable,
	} {
		t.Run(name, func(t *testing.T) {
			withAccount(t, Policy{}, func(w *world) {
				w.provider.set(delayed(10*time.Second, tokens(time.Hour)))
				read := w.startRead("a")
				w.advance(time.Second)
				w.provider.set(slow(time.Second, tokens(time.Hour)))
				second := w.put("2", Policy{})
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

func TestOtherRevisionDropsToken(t *testing.T) {
	withToken(t, Policy{}, func(w *world) {
		w.put("2", Policy{})
		equal(w, "last failure", w.wantState(Empty).LastFailure, nil)
		w.wantToken(w.get("a", 0), 2)
		w.rotate()
		w.put("3", Policy{})
		w.wantToken(w.rotate(), 4) // the last rotate was of another revision
	})
}

// The token of a verified write is served. Its life counts from its request, however long
// the write takes.
func TestVerifiedWrite(t *testing.T) {
	withAccount(t, Policy{}, func(w *world) {
		w.provider.set(fails(token.Refused, 0))
		w.getFailure("a")
		a := w.account("a", "2")
		verified := &token.Token{Sent: w.clock.now().Add(-time.Second), Access: "verified", Lifetime: time.Hour}
		w.wantErr("put", w.Put(w.t.Context(), "a", a, verified, func() error {
			time.Sleep(5 * time.Second)
			w.store.write(a)
			return nil
		}), nil)
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

// A verified write of the same revision brings a token, so nobody waits for the running
// mint any longer.
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

// A write of the same revision keeps the token and its reads, and applies the new policy.
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

// A write of the same revision keeps the running mint, whose token gets the new policy.
func TestSameRevisionDuringMint(t *testing.T) {
	withAccount(t, Policy{}, func(w *world) {
		w.provider.set(slow(10*time.Second, tokens(time.Hour)))
		read := w.startRead("a")
		w.advance(time.Second)
		w.put("1", Policy{MaxTTL: time.Minute})
		g := w.must(read())
		equal(w, "lifetime", g.Lifetime, time.Minute)
		equal(w, "left", g.Left, 50*time.Second)
		w.wantMints(1)
	})
}

// A write of an account that is not in memory leaves it out of memory, and keeps the
// stored token of the same revision.
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
		w.provider.set(slow(10*time.Second, tokens(time.Hour)))
		read := w.startRead("a")
		w.advance(time.Second)
		waited := w.timed(func() {
			w.delete("a")
			_, err := read()
			w.wantErr("get", err, ErrNotFound)
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

func TestInvalidate(t *testing.T) {
	withAccount(t, Policy{}, func(w *world) {
		w.Invalidate("nobody")
		w.provider.set(slow(10*time.Second, tokens(time.Hour)))
		read := w.startRead("a")
		w.advance(time.Second)
		second := w.account("a", "2")
		w.store.write(second) // by another node
		w.Invalidate("a")
		g := w.must(read())
		equal(w, "account", g.Account, Account(second))
		w.wantToken(g, 2)
		w.advance(time.Minute)
		equal(w, "reported mints", len(w.results()), 1)
		w.wantStored("2", 2)
		w.Invalidate("a")
		w.wantToken(w.get("a", 0), 2)
		equal(w, "loads", w.store.loads, 3)
		w.wantMints(2)
	})
}

// After a write that fails, storage decides which revision is current.
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
				w.provider.set(slow(10*time.Second, tokens(time.Hour)))
				read := w.start(func() (Grant, error) { return w.Get(w.t.Context(), "a", 30*time.Minute) })
				second := w.account("a", "2")
				verified := &token.Token{Access: "verified", Lifetime: time.Hour}
				w.wantErr("put", w.Put(w.t.Context(), "a", second, verified, func() error {
					if test.written {
						w.store.write(second)
					}
					return errStorage
				}), errStorage)
				g := w.must(read())
				w.wantToken(g, 3)
				equal(w, "revision", g.Account.Revision(), test.revision)
				w.wantStored(test.revision, 3)
			})
		})
	}
}

// A caller that found an entry just before it was forgotten does nothing with it.
func TestForgottenEntry(t *testing.T) {
	withToken(t, Policy{}, func(w *world) {
		e, err := w.entry(w.t.Context(), "a")
		w.wantErr("entry", err, nil)
		w.Invalidate("a")
		for name, use := range map[string]func() (Grant, error){
			"get":    func() (Grant, error) { return w.Cache.get(w.t.Context(), e, 0) },
			"wait":   func() (Grant, error) { return w.wait(w.t.Context(), e, 0) },
			"rotate": func() (Grant, error) { return w.Cache.rotate(w.t.Context(), e) },
		} {
			_, err := use()
			w.wantErr(name, err, errSuperseded)
		}
		w.refreshInBackground(e)
		w.wantMints(1)
	})
}

// A write of another revision that comes while a mint saves its token takes effect last.
// The test runs in real time, because a synctest bubble does not wait for locks.
func TestWriteDuringSave(t *testing.T) {
	saving, wrote := make(chan string, 10), make(chan struct{})
	provider := &fakeProvider{clock: clock.System(), answer: tokens(time.Hour)}
	store := newFakeStore()
	store.onSave = func(_ string, a Account, _ token.Token) {
		if saving <- a.Revision(); a.Revision() == "1" {
			<-wrote
		}
	}
	cache := New(Options{Store: store})
	defer cache.Close()
	store.write(&fakeAccount{name: "a", revision: "1", provider: provider})
	second := &fakeAccount{name: "a", revision: "2", provider: provider}

	read := make(chan Grant, 1)
	go func() {
		g, _ := cache.Get(t.Context(), "a", 0)
		read <- g
	}()
	<-saving
	put := make(chan error, 1)
	go func() {
		put <- cache.Put(t.Context(), "a", second, nil, func() error { store.write(second); return nil })
	}()
	close(wrote)
	if err := <-put; err != nil {
		t.Fatalf("put: got error %v, want none", err)
	}
	<-read
	g, err := cache.Get(t.Context(), "a", 0)
	if err != nil || g.Account != Account(second) {
		t.Errorf("got account %+v and error %v, want the account of revision 2", g.Account, err)
	}
	if got := store.tokens["a"].revision; got != "2" {
		t.Errorf("got a stored token of revision %s, want 2", got)
	}
}

// Close ends running mints, answers readers that wait, and stores nothing more. Readers
// of a valid token still get it.
func TestClose(t *testing.T) {
	withToken(t, Policy{}, func(w *world) {
		w.write(w.account("b", "1"), nil)
		w.write(w.account("c", "1"), nil)
		w.provider.set(slow(time.Minute, tokens(time.Hour)))
		read := w.startRead("b")
		rotate := w.start(func() (Grant, error) { return w.Rotate(w.t.Context(), "c") })
		w.advance(time.Second)
		waited := w.timed(func() {
			w.Close()
			w.Close()
			_, err := read()
			w.wantErr("get", err, ErrClosed)
			_, err = rotate()
			w.wantErr("rotate", err, ErrClosed)
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
		_, err := read()
		w.wantErr("get", err, ErrClosed)
		w.advance(time.Second)
	})
}
