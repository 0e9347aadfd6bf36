// SPDX-License-Identifier: MPL-2.0

package tokencache

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"vault-plugin-secrets-messaging/internal/token"
)

// manyAccounts writes so many accounts for each of so many hosts.
func manyAccounts(w *world, hosts, each int) (names []string) {
	for h := range hosts {
		for i := range each {
			a := &fakeAccount{name: fmt.Sprintf("%d/%d", h, i), revision: "1", host: fmt.Sprint(h), provider: w.provider}
			w.store.write(a)
			names = append(names, a.name)
		}
	}
	return names
}

func TestLimiterBounds(t *testing.T) {
	for _, test := range []struct {
		name        string
		hosts, each int
		most        int
	}{
		{"few", 1, 10, 10},
		{"at one host", 1, 200, MaxMintsPerHost},
		{"in all", 10, 60, maxMints},
	} {
		t.Run(test.name, func(t *testing.T) {
			inWorld(t, func(w *world) {
				names := manyAccounts(w, test.hosts, test.each)
				w.provider.set(slow(time.Second, tokens(time.Hour)))
				readAtOnce(w, names, 1)
				if w.provider.most != test.most {
					t.Errorf("%d mints at once, want %d", w.provider.most, test.most)
				}
				w.wantMints(len(names))
				w.wantNoSlotTaken()
			})
		})
	}
}

// wantNoSlotTaken fails unless the gate is as it was when it was new.
func (w *world) wantNoSlotTaken() {
	w.t.Helper()
	if !w.limiter.all.TryAcquire(maxMints) || len(w.limiter.hosts) != 0 {
		w.t.Fatalf("slots are taken; hosts: %v", w.limiter.hosts)
	}
	w.limiter.all.Release(maxMints)
}

// TestRefreshesBehind: few run at once, so that they do not stand in the way of
// a reader who waits; and one that a reader comes to wait for waits no longer.
func TestRefreshesBehind(t *testing.T) {
	inWorld(t, func(w *world) {
		names := manyAccounts(w, 1, 50)
		readAtOnce(w, names, 1)
		cold := &fakeAccount{name: "cold", revision: "1", host: "0", provider: w.provider}
		w.store.write(cold)

		w.pass(55 * time.Minute)
		w.provider.most = 0
		w.provider.set(slow(20*time.Second, tokens(time.Hour)))
		w.Tick()
		w.wantMints(50 + maxBackgroundPerHost)
		before := w.age()
		w.get("cold", 0)
		if w.age()-before != 20*time.Second {
			t.Errorf("waited %s", w.age()-before)
		}
		w.wantMints(50 + 2*maxBackgroundPerHost + 1)
		var waiting string
		for _, name := range names {
			if !w.mintedAfter(name, before) {
				waiting = name
			}
		}
		before = w.age()
		if g := w.get(waiting, 30*time.Minute); g.Left < 30*time.Minute || w.age()-before != 20*time.Second {
			t.Errorf("waited %s for %s", w.age()-before, g.Left)
		}
		w.pass(10 * time.Minute)
		w.wantMints(101)
		if w.provider.most > maxBackgroundPerHost+1 {
			t.Errorf("%d mints at once", w.provider.most)
		}
		w.wantNoSlotTaken()
	})
}

// mintedAfter reports whether the provider was asked for the account after that age.
func (w *world) mintedAfter(name string, age time.Duration) bool {
	for _, c := range w.provider.all() {
		if c.name == name && c.at.Sub(w.clock.began) >= age {
			return true
		}
	}
	return false
}

// TestCrowded: a mint that finds no slot in time fails as if the provider were
// down, and one that is given up gives its place back.
func TestCrowded(t *testing.T) {
	inWorld(t, func(w *world) {
		names := manyAccounts(w, 1, MaxMintsPerHost+2)
		w.provider.set(stubborn(2*mintTimeout, tokens(time.Hour)))
		for _, name := range names[:MaxMintsPerHost] {
			w.background(w.t.Context(), name, 0)
		}
		given := w.background(w.t.Context(), names[MaxMintsPerHost], 0)
		w.delete(names[MaxMintsPerHost])
		if _, err := given(); !errors.Is(err, ErrNotFound) {
			t.Errorf("err = %v", err)
		}
		f := w.fail(names[MaxMintsPerHost+1])
		if !errors.Is(f.Err, errNoSlot) || f.Kind != token.Unavailable || w.age() != mintTimeout {
			t.Errorf("failure = %+v after %s", f, w.age())
		}
		w.wantMints(MaxMintsPerHost)
		w.pass(2 * mintTimeout)
		w.wantNoSlotTaken()
	})
}
