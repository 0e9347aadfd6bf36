// SPDX-License-Identifier: MPL-2.0

package tokencache

import (
	"fmt"
	"slices"
	"testing"
	"time"
)

func putMany(w *world, hosts, accounts int) (names []string) {
	for h := range hosts {
		for i := range accounts {
			a := w.account(fmt.Sprintf("%d/%d", h, i), "1")
			a.host = fmt.Sprint(h)
			w.store.write(a)
			names = append(names, a.name)
		}
	}
	return names
}

// wantNoSlotTaken fails unless all slots are free.
func (w *world) wantNoSlotTaken() {
	w.t.Helper()
	if !w.limiter.all.TryAcquire(maxMints) {
		w.t.Fatalf("after %s: got taken slots, want none", w.elapsed())
	}
	w.limiter.all.Release(maxMints)
	equal(w, "hosts with mints", len(w.limiter.hosts.values), 0)
}

func TestLimiterBounds(t *testing.T) {
	for _, test := range []struct {
		name            string
		hosts, accounts int
		want            int // mints at once
	}{
		{"below the limits", 1, 10, 10},
		{"per host", 1, 200, MaxMintsPerHost},
		{"in all", 10, 60, maxMints},
	} {
		t.Run(test.name, func(t *testing.T) {
			inWorld(t, func(w *world) {
				names := putMany(w, test.hosts, test.accounts)
				w.provider.set(slow(time.Second, tokens(time.Hour)))
				readAtOnce(w, names, 10)
				equal(w, "most mints at once", w.provider.maxRunning, test.want)
				w.wantMints(len(names))
				w.wantNoSlotTaken()
			})
		})
	}
}

// Background refreshes leave slots for readers. If a refresh waits for a slot, a reader can still
// start a mint.
func TestBackgroundSlots(t *testing.T) {
	inWorld(t, func(w *world) {
		const mint = 2 * time.Second
		names := putMany(w, 1, 50)
		readAtOnce(w, names, 1)
		other := w.account("other", "1")
		other.host = "0"
		w.store.write(other)

		w.advance(55 * time.Minute)
		w.provider.maxRunning = 0
		w.provider.set(slow(mint, tokens(time.Hour)))
		w.Tick()
		w.wantMints(50 + maxBackgroundPerHost)
		waited := w.timed(func() { w.get("other", 0) })
		equal(w, "wait for the account without a token", waited, mint)
		w.wantMints(50 + 2*maxBackgroundPerHost + 1)

		i := slices.IndexFunc(names, func(name string) bool { return len(w.provider.callsOf(name)) == 1 })
		queued := names[i] // its refresh still waits
		waited = w.timed(func() { equal(w, "short", w.get(queued, 30*time.Minute).Short, false) })
		equal(w, "wait for the refresh that waited", waited, mint)
		w.advance(time.Minute) // without another tick
		w.wantMints(101)
		if got := w.provider.maxRunning; got > maxBackgroundPerHost+1 {
			t.Errorf("got %d mints at once, want at most %d", got, maxBackgroundPerHost+1)
		}
		w.wantNoSlotTaken()
	})
}

// A mint that gets no slot in time does not count as failed.
func TestNoSlot(t *testing.T) {
	inWorld(t, func(w *world) {
		names := putMany(w, 1, MaxMintsPerHost+2)
		w.provider.set(uncancellable(2*mintTimeout, tokens(time.Hour)))
		for _, name := range names[:MaxMintsPerHost] {
			w.startRead(name)
		}
		superseded := w.startRead(names[MaxMintsPerHost])
		w.delete(names[MaxMintsPerHost])
		w.resultErr(superseded, ErrNotFound)
		last := names[MaxMintsPerHost+1]
		w.resultErr(w.startRead(last), ErrStillMinting)
		equal(w, "elapsed time", w.elapsed(), MaxWait)
		w.advance(mintTimeout - MaxWait - time.Second)
		w.resultErr(w.startRead(last), ErrStillMinting)
		equal(w, "elapsed time", w.elapsed(), mintTimeout)
		s, _ := w.Status(last)
		equal(w, "failures", s.Failures, 0)
		w.wantMints(MaxMintsPerHost)
		w.advance(2 * mintTimeout)
		w.wantNoSlotTaken()
		equal(w, "reported mints", len(w.results()), MaxMintsPerHost)
		w.provider.set(tokens(time.Hour))
		w.get(last, 0)
	})
}

// One user's logins run one after another, with a pause. A waiting login holds no slot.
func TestSerialLogins(t *testing.T) {
	inWorld(t, func(w *world) {
		const configs, login = 40, 300 * time.Millisecond
		put := func(name, user string) {
			a := w.account(name, "1")
			a.host, a.serial = "host", user
			w.write(a, nil)
		}
		w.provider.set(slow(login, tokens(time.Hour)))
		for i := range configs {
			put(fmt.Sprint(i), "user 1")
			w.startRead(fmt.Sprint(i))
		}
		put("other", "user 2")
		equal(w, "wait of the other user", w.timed(func() { w.get("other", 0) }), login)
		w.advance(configs * (login + loginPause))
		logins := slices.DeleteFunc(w.provider.logins(), func(c call) bool { return c.serial != "user 1" })
		w.wantInTurn(logins, configs, login)
		w.wantNoSlotTaken()
	})
}

// wantInTurn fails unless n logins of this duration ran one after another.
func (w *world) wantInTurn(logins []call, n int, login time.Duration) {
	w.t.Helper()
	equal(w, "logins", len(logins), n)
	for i := range logins[1:] {
		if pause := logins[i+1].at.Sub(logins[i].at); pause < login+loginPause {
			w.t.Errorf("got a login %s after the start of another login of the user, want %s", pause, login+loginPause)
		}
	}
}

// A mint with a refresh token does not wait for the user's logins.
func TestRefreshNeedsNoTurn(t *testing.T) {
	inWorld(t, func(w *world) {
		for _, name := range []string{"a", "b"} {
			a := w.account(name, "1")
			a.serial = "user"
			w.write(a, nil)
		}
		w.provider.set(sessions(time.Hour, 0))
		w.get("a", 0)
		w.advance(50 * time.Minute)
		w.provider.set(slow(2*time.Second, sessions(time.Hour, 0)))
		w.startRead("b")
		w.wantMints(2)
		w.Tick()
		w.wantMints(3)
		w.wantRefreshToken("refresh-1")
	})
}
