// SPDX-License-Identifier: MPL-2.0

package tokencache

import (
	"fmt"
	"testing"
	"time"
)

func TestSpan(t *testing.T) {
	const s, m, h = time.Second, time.Minute, time.Hour
	for _, test := range []struct {
		name      string
		policy    Policy
		lifetime  time.Duration
		used      time.Duration // the lifetime as it is used
		minTTL    time.Duration
		refreshAt time.Duration
	}{
		{"defaults, an hour", Policy{}, h, h, 30 * s, 48 * m},
		{"defaults, a day", Policy{}, 24 * h, 24 * h, 30 * s, 24 * h / 5 * 4},
		{"default min ttl is at most 10 %", Policy{}, 100 * s, 100 * s, 10 * s, 80 * s},
		{"min ttl is never under 2 s", Policy{}, 10 * s, 10 * s, 2 * s, 8 * s},
		{"but at most half the lifetime", Policy{}, 3 * s, 3 * s, 1500 * time.Millisecond, 2400 * time.Millisecond},
		{"refresh window of its own", Policy{RefreshWindow: ptr(10 * m)}, h, h, 30 * s, 50 * m},
		{"refresh window 0: never early", Policy{RefreshWindow: ptr(0 * s)}, h, h, 30 * s, h},
		{"refresh window of the lifetime", Policy{RefreshWindow: ptr(h)}, h, h, 30 * s, 6 * m},
		{"refresh window beyond the lifetime", Policy{RefreshWindow: ptr(5 * h)}, h, h, 30 * s, 6 * m},
		{"min ttl of its own, above 10 %", Policy{MinTTL: ptr(20 * m)}, h, h, 20 * m, 48 * m},
		{"min ttl of its own, under 2 s", Policy{MinTTL: ptr(0 * s)}, h, h, 2 * s, 48 * m},
		{"min ttl of its own, above half", Policy{MinTTL: ptr(50 * m)}, h, h, 30 * m, 48 * m},
		{"max ttl cuts", Policy{MaxTTL: 10 * m}, h, 10 * m, 30 * s, 8 * m},
		{"max ttl beyond the lifetime", Policy{MaxTTL: 2 * h}, h, h, 30 * s, 48 * m},
		{"all three", Policy{RefreshWindow: ptr(5 * m), MinTTL: ptr(m), MaxTTL: 20 * m}, h, 20 * m, m, 15 * m},
	} {
		t.Run(test.name, func(t *testing.T) {
			got := test.policy.timeline(test.lifetime)
			if want := (timeline{test.used, test.minTTL, test.refreshAt}); got != want {
				t.Errorf("span = %v, want %v", got, want)
			}
		})
	}
}

func TestWant(t *testing.T) {
	sp := Policy{}.timeline(time.Hour)
	for asked, want := range map[time.Duration]time.Duration{
		0:                30 * time.Second,
		10 * time.Second: 30 * time.Second,
		10 * time.Minute: 10 * time.Minute,
		30 * time.Minute: 30 * time.Minute,
		31 * time.Minute: 30 * time.Minute,
		99 * time.Hour:   30 * time.Minute,
		-1 * time.Second: 30 * time.Second,
	} {
		if got := sp.want(asked); got != want {
			t.Errorf("asked %s, want %s, got %s", asked, want, got)
		}
	}
}

// TestZones has a row for each part of the picture in the package's comment.
func TestZones(t *testing.T) {
	const mint = 500 * time.Millisecond
	for _, test := range []struct {
		name   string
		policy Policy
		age    time.Duration
		token  int           // which the read gets
		waits  time.Duration // how long it waits for it
		mints  int           // when all is done
	}{
		{"fresh", Policy{}, time.Second, 1, 0, 1},
		{"fresh to the end", Policy{}, 48*time.Minute - 1, 1, 0, 1},
		{"refresh window", Policy{}, 48 * time.Minute, 1, 0, 2},
		{"refresh window to the end", Policy{}, 59*time.Minute + 30*time.Second, 1, 0, 2},
		{"min ttl", Policy{}, 59*time.Minute + 30*time.Second + 1, 2, mint, 2},
		{"under 2 s", Policy{}, time.Hour - 2*time.Second + 1, 2, mint, 2},
		{"expired", Policy{}, time.Hour, 2, mint, 2},
		{"long expired", Policy{}, 100 * time.Hour, 2, mint, 2},
		{"no refresh window: fresh until min ttl", Policy{RefreshWindow: ptr(time.Duration(0))}, 59 * time.Minute, 1, 0, 1},
		{"no refresh window: min ttl", Policy{RefreshWindow: ptr(time.Duration(0))}, 59*time.Minute + 31*time.Second, 2, mint, 2},
		{"max ttl: refresh window", Policy{MaxTTL: 10 * time.Minute}, 8 * time.Minute, 1, 0, 2},
		{"max ttl: expired", Policy{MaxTTL: 10 * time.Minute}, 10 * time.Minute, 2, mint, 2},
	} {
		t.Run(test.name, func(t *testing.T) {
			inWorld(t, func(w *world) {
				w.put("a", "1", test.policy)
				w.get("a", 0)
				w.provider.set(slow(mint, tokens(time.Hour)))
				w.pass(test.age)

				before := w.age()
				g := w.get("a", 0)
				if waited := w.age() - before; waited != test.waits {
					t.Errorf("waited %s, want %s", waited, test.waits)
				}
				w.wantToken(g, test.token)
				w.pass(time.Second)
				w.wantMints(test.mints)
			})
		})
	}
}

func TestGrant(t *testing.T) {
	inWorld(t, func(w *world) {
		a := w.put("a", "1", Policy{MaxTTL: 40 * time.Minute})
		w.provider.set(slow(2*time.Second, tokens(time.Hour)))
		sent := w.clock.now().Wall
		w.get("a", 0)
		w.pass(8 * time.Second)
		g := w.get("a", 0)
		if g.Left != 40*time.Minute-10*time.Second {
			t.Errorf("Left = %s: it counts from the sending of the request", g.Left)
		}
		if g.Lifetime != 40*time.Minute || g.MinTTL != 30*time.Second || g.Short || g.Failure != nil || g.Account != Account(a) {
			t.Errorf("grant = %+v", g)
		}
		if want := sent.Add(40 * time.Minute); !g.Expires.Equal(want) || !g.Token.Sent.Wall.Equal(sent) {
			t.Errorf("sent %s, expires %s, want %s, %s", g.Token.Sent.Wall, g.Expires, sent, want)
		}
	})
}

// TestMintsStayWithinFormula reads and ticks all the time, and counts.
func TestMintsStayWithinFormula(t *testing.T) {
	for _, policy := range []Policy{
		{},
		{RefreshWindow: ptr(time.Duration(0))},
		{RefreshWindow: ptr(time.Second)},
		{RefreshWindow: ptr(10 * time.Minute)},
		{RefreshWindow: ptr(10 * time.Hour)},
		{MinTTL: ptr(20 * time.Minute)},
		{MinTTL: ptr(time.Duration(0)), RefreshWindow: ptr(time.Duration(0))},
		{MaxTTL: 5 * time.Minute},
		{MaxTTL: 5 * time.Minute, RefreshWindow: ptr(time.Minute), MinTTL: ptr(2 * time.Minute)},
	} {
		for _, lifetime := range []time.Duration{4 * time.Second, time.Minute, time.Hour} {
			sp := policy.timeline(lifetime)
			name := fmt.Sprintf("%s: refresh at %s, min ttl %s", sp.lifetime, sp.refreshAt, sp.minTTL)
			t.Run(name, func(t *testing.T) {
				inWorld(t, func(w *world) {
					w.put("a", "1", policy)
					w.provider.set(tokens(lifetime))
					total, tick := 20*sp.lifetime, w.age()
					for w.age() < total {
						w.get("a", 0)
						if w.age() >= tick {
							w.Tick()
							tick += sp.lifetime / 40
						}
						w.pass(sp.lifetime / 500)
					}
					least := sp.lifetime - max(sp.lifetime-sp.refreshAt, sp.minTTL)
					if got, most := len(w.provider.all()), int(total/least)+1; got > most || got < 20 {
						t.Errorf("%d mints, want at most %d (and 20)", got, most)
					}
				})
			})
		}
	}
}
