// SPDX-License-Identifier: MPL-2.0

package tokencache

import (
	"fmt"
	"testing"
	"time"
)

func TestTimeline(t *testing.T) {
	const s, m, h = time.Second, time.Minute, time.Hour
	for _, test := range []struct {
		name     string
		policy   Policy
		lifetime time.Duration
		want     timeline
	}{
		{"defaults, an hour", Policy{}, h, timeline{h, 30 * s, 48 * m}},
		{"defaults, a day", Policy{}, 24 * h, timeline{24 * h, 30 * s, 24 * h / 5 * 4}},
		{"default min TTL, at most 10 %", Policy{}, 100 * s, timeline{100 * s, 10 * s, 80 * s}},
		{"default min TTL, at least 2 s", Policy{}, 10 * s, timeline{10 * s, 2 * s, 8 * s}},
		{"default min TTL, at most half the lifetime", Policy{}, 3 * s, timeline{3 * s, 1500 * time.Millisecond, 2400 * time.Millisecond}},
		{"refresh window", Policy{RefreshWindow: ptr(10 * m)}, h, timeline{h, 30 * s, 50 * m}},
		{"refresh window 0: never early", Policy{RefreshWindow: ptr(0 * s)}, h, timeline{h, 30 * s, h}},
		{"refresh window as long as the lifetime", Policy{RefreshWindow: ptr(h)}, h, timeline{h, 30 * s, 6 * m}},
		{"refresh window longer than the lifetime", Policy{RefreshWindow: ptr(5 * h)}, h, timeline{h, 30 * s, 6 * m}},
		{"min TTL over 10 %", Policy{MinTTL: ptr(20 * m)}, h, timeline{h, 20 * m, 48 * m}},
		{"min TTL under 2 s", Policy{MinTTL: ptr(0 * s)}, h, timeline{h, 2 * s, 48 * m}},
		{"min TTL over half the lifetime", Policy{MinTTL: ptr(50 * m)}, h, timeline{h, 30 * m, 48 * m}},
		{"max TTL under the lifetime", Policy{MaxTTL: 10 * m}, h, timeline{10 * m, 30 * s, 8 * m}},
		{"max TTL over the lifetime", Policy{MaxTTL: 2 * h}, h, timeline{h, 30 * s, 48 * m}},
		{"all three", Policy{RefreshWindow: ptr(5 * m), MinTTL: ptr(m), MaxTTL: 20 * m}, h, timeline{20 * m, m, 15 * m}},
	} {
		t.Run(test.name, func(t *testing.T) {
			if got := test.policy.timeline(test.lifetime); got != test.want {
				t.Errorf("got %v, want %v", got, test.want)
			}
		})
	}
}

// Reads do what the picture in the package comment says.
func TestZones(t *testing.T) {
	const mint = 500 * time.Millisecond
	never := Policy{RefreshWindow: ptr(time.Duration(0))}
	for _, test := range []struct {
		name   string
		policy Policy
		age    time.Duration
		token  int           // that the read gets
		wait   time.Duration // of the read
		mints  int           // after the background refresh, if any
	}{
		{"fresh", Policy{}, time.Second, 1, 0, 1},
		{"end of fresh", Policy{}, 48*time.Minute - 1, 1, 0, 1},
		{"refresh window", Policy{}, 48 * time.Minute, 1, 0, 2},
		{"end of refresh window", Policy{}, 59*time.Minute + 30*time.Second, 1, 0, 2},
		{"min TTL", Policy{}, 59*time.Minute + 30*time.Second + 1, 2, mint, 2},
		{"less than 2 s left", Policy{}, time.Hour - 2*time.Second + 1, 2, mint, 2},
		{"expired", Policy{}, time.Hour, 2, mint, 2},
		{"long expired", Policy{}, 100 * time.Hour, 2, mint, 2},
		{"no refresh window: fresh", never, 59 * time.Minute, 1, 0, 1},
		{"no refresh window: min TTL", never, 59*time.Minute + 31*time.Second, 2, mint, 2},
		{"max TTL: refresh window", Policy{MaxTTL: 10 * time.Minute}, 8 * time.Minute, 1, 0, 2},
		{"max TTL: expired", Policy{MaxTTL: 10 * time.Minute}, 10 * time.Minute, 2, mint, 2},
	} {
		t.Run(test.name, func(t *testing.T) {
			withToken(t, test.policy, func(w *world) {
				w.provider.set(slow(mint, tokens(time.Hour)))
				w.advance(test.age)
				waited := w.timed(func() { w.wantToken(w.get("a", 0), test.token) })
				equal(w, "wait", waited, test.wait)
				w.advance(time.Second)
				w.wantMints(test.mints)
			})
		})
	}
}

// Frequent reads cause no more mints than the timeline allows.
func TestMintsPerLifetime(t *testing.T) {
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
			tl := policy.timeline(lifetime)
			t.Run(fmt.Sprintf("lifetime %s, refresh at %s, min TTL %s", tl.lifetime, tl.refreshAt, tl.minTTL), func(t *testing.T) {
				withAccount(t, policy, func(w *world) {
					w.provider.set(tokens(lifetime))
					total := 20 * tl.lifetime
					w.readFor(total, tl.lifetime/500, tl.lifetime/40, func(Grant) {})
					shortest := tl.lifetime - max(tl.lifetime-tl.refreshAt, tl.minTTL)
					if got, limit := len(w.provider.allCalls()), int(total/shortest)+1; got > limit || got < 20 {
						t.Errorf("got %d mints in 20 lifetimes, want 20 to %d", got, limit)
					}
				})
			})
		}
	}
}
