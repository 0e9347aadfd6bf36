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

// After a failed load, the next read loads again.
func TestLoadFails(t *testing.T) {
	withAccount(t, Policy{}, func(w *world) {
		w.store.loadsFail = true
		w.getErr(errStorage)
		w.store.loadsFail = false
		w.get("a", 0)
	})
}

// A reader stops waiting for a slow load when the reader's context ends. Other readers still get
// the account.
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

// After a config write, reads do not use the result of an older load.
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

func TestCloseDuringLoad(t *testing.T) {
	withAccount(t, Policy{}, func(w *world) {
		w.store.onLoad = func(string) { time.Sleep(time.Second) }
		read := w.startRead("a")
		w.Close()
		w.resultErr(read, ErrClosed)
		w.advance(time.Second)
	})
}

// After a failed save, readers get the new token, and the old token is removed from the store.
// Ticks repeat the save.
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

// After an account is deleted, ticks no longer try to save its token.
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

// If a config write cannot save or remove the token, Put returns the reason. A later tick saves or
// removes the token.
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

// A config write waits until a running mint has saved its token. The test needs real time, because
// in synctest time stops while a goroutine waits for a lock.
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
