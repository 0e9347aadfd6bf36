// SPDX-License-Identifier: MPL-2.0

package tokencache

import (
	"fmt"
	"testing"
	"time"

	"vault-plugin-secrets-messaging/internal/token"
)

// putMany stores accounts for each of several hosts, and returns their names.
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

// wantNoSlotTaken fails unless the limiter is as new.
func (w *world) wantNoSlotTaken() {
	w.t.Helper()
	if !w.limiter.all.TryAcquire(maxMints) {
		w.t.Fatalf("after %s: got taken slots, want none", w.elapsed())
	}
	w.limiter.all.Release(maxMints)
	equal(w, "hosts with mints", len(w.limiter.hosts), 0)
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
				readAtOnce(w, names, 1)
				equal(w, "most mints at once", w.provider.maxRunning, test.want)
				w.wantMints(len(names))
				w.wantNoSlotTaken()
			})
		})
	}
}

// Background refreshes leave slots for readers that wait. A refresh for which a reader
// waits is promoted, so it needs no background slot.
func TestBackgroundSlots(t *testing.T) {
	inWorld(t, func(w *world) {
		names := putMany(w, 1, 50)
		readAtOnce(w, names, 1)
		other := w.account("other", "1")
		other.host = "0"
		w.store.write(other)

		w.advance(55 * time.Minute)
		w.provider.maxRunning = 0
		w.provider.set(slow(20*time.Second, tokens(time.Hour)))
		w.Tick()
		w.wantMints(50 + maxBackgroundPerHost)
		ticked := time.Now()
		waited := w.timed(func() { w.get("other", 0) })
		equal(w, "wait for the account without a token", waited, 20*time.Second)
		w.wantMints(50 + 2*maxBackgroundPerHost + 1)

		refreshed := map[string]bool{}
		for _, c := range w.provider.allCalls() {
			refreshed[c.name] = refreshed[c.name] || !c.at.Before(ticked)
		}
		var queued string
		for _, name := range names {
			if !refreshed[name] {
				queued = name
			}
		}
		waited = w.timed(func() {
			if g := w.get(queued, 30*time.Minute); g.Left < 30*time.Minute {
				t.Errorf("got %s left, want at least 30m", g.Left)
			}
		})
		equal(w, "wait for the promoted refresh", waited, 20*time.Second)
		w.advance(10 * time.Minute)
		w.wantMints(101)
		if got := w.provider.maxRunning; got > maxBackgroundPerHost+1 {
			t.Errorf("got %d mints at once, want at most %d", got, maxBackgroundPerHost+1)
		}
		w.wantNoSlotTaken()
	})
}

// A mint that finds no slot in time fails as if the provider were unavailable. A mint
// that is superseded while it waits takes no slot.
func TestNoSlot(t *testing.T) {
	inWorld(t, func(w *world) {
		names := putMany(w, 1, MaxMintsPerHost+2)
		w.provider.set(uncancellable(2*mintTimeout, tokens(time.Hour)))
		for _, name := range names[:MaxMintsPerHost] {
			w.startRead(name)
		}
		superseded := w.startRead(names[MaxMintsPerHost])
		w.delete(names[MaxMintsPerHost])
		_, err := superseded()
		w.wantErr("get", err, ErrNotFound)
		f := w.getFailure(names[MaxMintsPerHost+1])
		w.wantErr("get", f, errNoSlot)
		equal(w, "kind", f.Kind, token.Unavailable)
		equal(w, "elapsed time", w.elapsed(), mintTimeout)
		w.wantMints(MaxMintsPerHost)
		w.advance(2 * mintTimeout)
		w.wantNoSlotTaken()
	})
}
