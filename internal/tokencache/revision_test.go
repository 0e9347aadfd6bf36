// SPDX-License-Identifier: MPL-2.0

package tokencache

import (
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"vault-plugin-secrets-messaging/internal/token"
)

func (w *world) delete(name string) {
	w.t.Helper()
	if err := w.Delete(name, func() error { return w.store.delete(name) }); err != nil {
		w.t.Fatal("delete:", err)
	}
}

// TestOtherRevisionDuringFlight: the old flight fills neither cache nor store,
// and those who wait for it get the new revision's token.
func TestOtherRevisionDuringFlight(t *testing.T) {
	for name, deaf := range map[string]bool{"the old mint is given up": false, "the old mint comes back": true} {
		t.Run(name, func(t *testing.T) {
			inWorld(t, func(w *world) {
				w.put("a", "1", Policy{})
				if deaf {
					w.provider.set(stubborn(10*time.Second, tokens(time.Hour)))
				} else {
					w.provider.set(slow(10*time.Second, tokens(time.Hour)))
				}
				read := w.background(w.t.Context(), "a", 0)
				w.pass(time.Second)
				w.provider.set(slow(time.Second, tokens(time.Hour)))
				second := w.put("a", "2", Policy{})
				before := w.age()
				g, err := read()
				if err != nil || g.Account != Account(second) || w.age()-before != time.Second {
					t.Errorf("grant = %+v, %v, after %s", g, err, w.age()-before)
				}
				w.pass(time.Minute)
				w.wantToken(w.get("a", 0), 2)
				if saved := w.store.tokens["a"]; saved.revision != "2" || saved.token.Access != accessToken(2) {
					t.Errorf("stored %+v", saved)
				}
				w.wantMints(2)
				if len(w.told()) != 1 {
					t.Errorf("%d flights were told of", len(w.told()))
				}
			})
		})
	}
}

func TestOtherRevisionDropsToken(t *testing.T) {
	inWorld(t, func(w *world) {
		w.put("a", "1", Policy{})
		w.get("a", 0)
		w.put("a", "2", Policy{})
		if s, ok := w.Status("a"); !ok || s.State != Empty || s.LastFailure != nil {
			t.Errorf("status = %+v", s)
		}
		w.wantToken(w.get("a", 0), 2)
		w.rotate("a")
		w.put("a", "3", Policy{})
		w.wantToken(w.rotate("a"), 4) // the last rotate was of another revision
	})
}

// TestVerifiedWrite: the token that came with it warms the cache, and its life
// counts from the sending of its request, however long the write took.
func TestVerifiedWrite(t *testing.T) {
	inWorld(t, func(w *world) {
		w.put("a", "1", Policy{})
		w.provider.set(fails(token.Refused, 0))
		w.fail("a")
		a := &fakeAccount{name: "a", revision: "2", provider: w.provider}
		m := &token.Token{Sent: w.clock.now().Add(-time.Second), Access: "verified", Lifetime: time.Hour}
		err := w.Put(w.t.Context(), "a", a, m, func() error {
			time.Sleep(5 * time.Second) // a slow storage
			w.store.write(a)
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		g := w.get("a", 0)
		if g.Token.Access != "verified" || g.Left != time.Hour-6*time.Second || g.Failure != nil {
			t.Errorf("grant = %+v", g)
		}
		if saved := w.store.tokens["a"]; saved.revision != "2" || saved.token.Access != "verified" {
			t.Errorf("stored %+v", saved)
		}
		if s, _ := w.Status("a"); s.Mints != 1 || s.Failures != 0 || s.Reads != 1 {
			t.Errorf("status = %+v", s)
		}
		w.wantMints(1)
	})
}

func TestVerifiedWriteOfNewAccount(t *testing.T) {
	inWorld(t, func(w *world) {
		w.putVerified("a", "1", Policy{}, &token.Token{Access: "verified", Lifetime: time.Hour})
		if g := w.get("a", 0); g.Token.Access != "verified" {
			t.Errorf("grant = %+v", g)
		}
		if w.store.loads != 0 {
			t.Error("the account was loaded")
		}
	})
}

// TestSameRevision: keeps the token and the reads, and applies the new policy.
func TestSameRevision(t *testing.T) {
	inWorld(t, func(w *world) {
		w.put("a", "1", Policy{})
		w.get("a", 0)
		w.pass(20 * time.Minute)
		second := w.put("a", "1", Policy{MaxTTL: 25 * time.Minute, RefreshWindow: ptr(2 * time.Minute)})
		g := w.get("a", 0)
		w.wantToken(g, 1)
		if g.Left != 5*time.Minute || g.Account != Account(second) {
			t.Errorf("grant = %+v", g)
		}
		if s, _ := w.Status("a"); s.Reads != 2 || s.Mints != 1 {
			t.Errorf("status = %+v", s)
		}
		w.pass(3*time.Minute + 30*time.Second)
		w.Tick()
		w.wantMints(2)
	})
}

// TestSameRevisionDuringFlight: keeps the flight, and its token has the new policy.
func TestSameRevisionDuringFlight(t *testing.T) {
	inWorld(t, func(w *world) {
		w.put("a", "1", Policy{})
		w.provider.set(slow(10*time.Second, tokens(time.Hour)))
		read := w.background(w.t.Context(), "a", 0)
		w.pass(time.Second)
		w.put("a", "1", Policy{MaxTTL: time.Minute})
		g, err := read()
		if err != nil || g.Lifetime != time.Minute || g.Left != 50*time.Second {
			t.Errorf("grant = %+v, %v", g, err)
		}
		w.wantMints(1)
	})
}

// TestVerifiedWriteDuringFlight: of the same revision. There is a token now, so
// no one waits for the flight any longer.
func TestVerifiedWriteDuringFlight(t *testing.T) {
	inWorld(t, func(w *world) {
		w.put("a", "1", Policy{})
		w.provider.set(hangs)
		read := w.background(w.t.Context(), "a", 0)
		w.pass(time.Second)
		before := w.age()
		w.putVerified("a", "1", Policy{}, &token.Token{Access: "verified", Lifetime: time.Hour})
		if g, err := read(); err != nil || g.Token.Access != "verified" || w.age() != before {
			t.Errorf("grant = %+v, %v, after %s", g, err, w.age()-before)
		}
		w.wantMints(1)
	})
}

// TestForgottenEntry: one who came upon an entry just before it was forgotten
// does nothing with it.
func TestForgottenEntry(t *testing.T) {
	inWorld(t, func(w *world) {
		w.put("a", "1", Policy{})
		w.get("a", 0)
		e, err := w.entry(w.t.Context(), "a")
		if err != nil {
			t.Fatal(err)
		}
		w.Invalidate("a")
		if _, err := w.Cache.get(w.t.Context(), e, 0); err != errSuperseded {
			t.Errorf("get: %v", err)
		}
		if _, err := w.wait(w.t.Context(), e, 0); err != errSuperseded {
			t.Errorf("wait: %v", err)
		}
		if _, err := w.Cache.rotate(w.t.Context(), e); err != errSuperseded {
			t.Errorf("rotate: %v", err)
		}
		w.refreshInBackground(e)
		w.wantMints(1)
	})
}

// TestWriteOfColdAccount: what is not in memory stays so, and keeps its stored token.
func TestWriteOfColdAccount(t *testing.T) {
	inWorld(t, func(w *world) {
		w.put("a", "1", Policy{})
		w.get("a", 0)
		w.restart()
		w.put("a", "1", Policy{MaxTTL: 30 * time.Minute})
		if _, ok := w.Status("a"); ok {
			t.Error("the write brought the account into memory")
		}
		g := w.get("a", 0)
		w.wantToken(g, 1)
		if g.Lifetime != 30*time.Minute {
			t.Errorf("lifetime = %s", g.Lifetime)
		}
		w.restart()
		w.put("a", "2", Policy{})
		w.wantToken(w.get("a", 0), 2)
	})
}

func TestDeleteDuringFlight(t *testing.T) {
	inWorld(t, func(w *world) {
		w.put("a", "1", Policy{})
		w.provider.set(slow(10*time.Second, tokens(time.Hour)))
		read := w.background(w.t.Context(), "a", 0)
		w.pass(time.Second)
		w.delete("a")
		before := w.age()
		if _, err := read(); !errors.Is(err, ErrNotFound) || w.age() != before {
			t.Errorf("err = %v, after %s", err, w.age()-before)
		}
		w.pass(time.Minute)
		if _, ok := w.Status("a"); ok || len(w.store.tokens) != 0 {
			t.Error("something is left of the account")
		}
		w.put("a", "1", Policy{})
		w.wantToken(w.get("a", 0), 2)
	})
}

func TestDeleteThatFails(t *testing.T) {
	inWorld(t, func(w *world) {
		w.put("a", "1", Policy{})
		w.get("a", 0)
		down := errors.New("storage is down")
		if err := w.Delete("a", func() error { return down }); err != down {
			t.Errorf("err = %v", err)
		}
		w.wantToken(w.get("a", 0), 1) // from the store
		w.wantMints(1)
	})
}

func TestInvalidate(t *testing.T) {
	inWorld(t, func(w *world) {
		w.Invalidate("nobody")
		first := w.put("a", "1", Policy{})
		w.provider.set(slow(10*time.Second, tokens(time.Hour)))
		read := w.background(w.t.Context(), "a", 0)
		w.pass(time.Second)
		second := *first
		second.revision = "2"
		w.store.write(&second) // by another node
		w.Invalidate("a")
		g, err := read()
		if err != nil || g.Account != Account(&second) {
			t.Errorf("grant = %+v, %v", g, err)
		}
		w.wantToken(g, 2)
		w.pass(time.Minute)
		if len(w.told()) != 1 || w.store.tokens["a"].revision != "2" {
			t.Errorf("flights %+v, stored %+v", w.told(), w.store.tokens["a"])
		}
		w.Invalidate("a")
		w.wantToken(w.get("a", 0), 2) // from the store
		w.wantMints(2)
	})
}

// TestCommitThatFails: what is in memory is forgotten, and the store decides.
func TestCommitThatFails(t *testing.T) {
	for name, written := range map[string]bool{"before it wrote": false, "after it wrote": true} {
		t.Run(name, func(t *testing.T) {
			inWorld(t, func(w *world) {
				first := w.put("a", "1", Policy{})
				w.get("a", 0)
				w.pass(40 * time.Minute)
				w.provider.set(slow(10*time.Second, tokens(time.Hour)))
				read := w.background(w.t.Context(), "a", 30*time.Minute)
				second := *first
				second.revision = "2"
				down := errors.New("storage is down")
				err := w.Put(w.t.Context(), "a", &second, &token.Token{Access: "verified", Lifetime: time.Hour}, func() error {
					if written {
						w.store.write(&second)
					}
					return down
				})
				if err != down {
					t.Errorf("err = %v", err)
				}
				g, err := read()
				if err != nil || g.Token.Access != accessToken(3) {
					t.Errorf("grant = %+v, %v", g, err)
				}
				synctest.Wait()
				if want := map[bool]string{false: "1", true: "2"}[written]; g.Account.Revision() != want || w.store.tokens["a"].revision != want {
					t.Errorf("revision %s, stored %s, want %s", g.Account.Revision(), w.store.tokens["a"].revision, want)
				}
			})
		})
	}
}
