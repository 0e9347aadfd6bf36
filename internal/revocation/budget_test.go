// SPDX-License-Identifier: MPL-2.0

package revocation

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"vault-plugin-secrets-messaging/internal/clock"
	"vault-plugin-secrets-messaging/internal/token"
)

// newHangingFixture returns a fixture whose provider accepts requests and never answers. The
// fixture uses the clock of the synctest bubble.
func newHangingFixture(t *testing.T) *fixture {
	f := newFixture(t)
	f.Close()
	f.start(clock.System())
	f.provider.hang()
	return f
}

// Requests that follow one another wait 5 s in total, however many endpoints hang.
func TestManyEndpointsHang(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newHangingFixture(t)
		defer f.Close()
		start := time.Now()
		for i := range 100 {
			f.RevokeOrQueue(f.token(f.config(fmt.Sprint("config-", i)), "leased"))
		}
		if got := time.Since(start); got > budgetWait {
			t.Errorf("100 configs one after the other: got a wait of %s, want at most %s", got, budgetWait)
		}
		f.wantQueued(100)

		time.Sleep(budgetPeriod) // the budget is whole again
		start = time.Now()
		var requests sync.WaitGroup
		for i := range 100 {
			rev := f.token(f.config(fmt.Sprint("other-", i)), "leased")
			requests.Go(func() {
				time.Sleep(time.Duration(i) * 100 * time.Millisecond)
				f.RevokeOrQueue(rev)
			})
		}
		requests.Wait()
		if got, want := time.Since(start), 99*100*time.Millisecond; got > want+time.Millisecond {
			t.Errorf("100 concurrent configs: got %s until the last answer, want %s, because the budget ends earlier", got, want)
		}
		f.wantQueued(200)
	})
}

// Deletions share the budget of the mount.
func TestDeletionsOfManyConfigsThatHang(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newHangingFixture(t)
		defer f.Close()
		start := time.Now()
		for i := range 20 {
			a := f.config(fmt.Sprint("config-", i))
			if err := f.Prepare(f.token(a, "shared")); err != nil {
				t.Fatal(err)
			}
			wantContains(t, f.EndConfig(a.Name, a), "left to expire")
		}
		if got := time.Since(start); got > budgetWait {
			t.Errorf("got a wait of %s, want at most %s", got, budgetWait)
		}
	})
}

// A tainted mount waits for nothing.
func TestTaintedMountDoesNotWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newHangingFixture(t)
		defer f.Close()
		f.tainted = true
		start := time.Now()
		for i := range 15 {
			f.RevokeOrQueue(f.token(f.config(fmt.Sprint("config-", i)), "leased"))
		}
		if got := time.Since(start); got != 0 {
			t.Errorf("got a wait of %s, want none", got)
		}
		f.wantQueued(15)
		f.wantSent()
	})
}

// If a request has no time left for a working endpoint, the token is revoked in the background
// at once.
func TestBudgetLeavesTheRestToADrain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newHangingFixture(t)
		defer f.Close()
		for i := range 2 {
			f.RevokeOrQueue(f.token(f.config(fmt.Sprint("hangs-", i)), "leased"))
		}
		f.provider.fail(nil)
		start := time.Now()
		wantContains(t, f.RevokeOrQueue(f.token(f.config("works"), "one")), "requests have waited 5s")
		if got := time.Since(start); got != 0 {
			t.Errorf("got a wait of %s, want none", got)
		}
		synctest.Wait()
		f.wantQueued(0)
	})
}

// An endpoint may be too slow for a request and fast enough for a background revocation,
// because requests wait for a shorter time.
func TestSlowEndpointDoesNotHoldUpTheQueue(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newHangingFixture(t)
		defer f.Close()
		f.provider.set(func(ctx context.Context, _ string) error {
			select {
			case <-time.After(4 * time.Second):
				return nil
			case <-ctx.Done():
				return &token.Error{Kind: token.Unavailable, Cause: ctx.Err()}
			}
		})
		a := f.config("a")
		f.RevokeOrQueue(f.token(a, "one"))
		f.RevokeOrQueue(f.token(a, "two"))
		f.wantSent("one")
		f.Drain()
		f.wantQueued(0)
	})
}

// In any 30 s requests wait at most 5 s, whatever the pattern of the waits.
func TestBudget(t *testing.T) {
	var now clock.Instant
	b := &budget{clock: func() clock.Instant { return now }}
	var waits []clock.Instant // one for each 100 ms that a request waited
	for step := range 6000 {
		left, end := b.start()
		if left > 0 && step%3 != 0 {
			waits = append(waits, now)
			now = now.Add(100 * time.Millisecond)
			end()
			continue
		}
		if left > 0 {
			end()
		}
		now = now.Add(100 * time.Millisecond)
	}
	for i := range waits {
		if j := i + 50; j < len(waits) && waits[i].Until(waits[j]) < budgetPeriod-200*time.Millisecond {
			t.Fatalf("got more than 50 waits of 100 ms in %s", waits[i].Until(waits[j]))
		}
	}
	if len(waits) < 500 {
		t.Errorf("got %d waits of 100 ms in 10 minutes, want at least 500", len(waits))
	}
}

// A steady load that waits less than 5 s in 30 s never exhausts the budget, and needs little
// memory.
func TestBudgetOfASteadyLoad(t *testing.T) {
	var now clock.Instant
	b := &budget{clock: func() clock.Instant { return now }}
	for range 100_000 {
		left, end := b.start()
		if left == 0 {
			t.Fatalf("after %s: got nothing left, want a budget that 20 ms of waiting in 200 ms do not exhaust", now.Mono)
		}
		now = now.Add(20 * time.Millisecond)
		end()
		now = now.Add(180 * time.Millisecond)
	}
	if got := len(b.spells); got > 40 {
		t.Errorf("got %d spells in memory, want at most 40", got)
	}
}

// Waits at the same time count once.
func TestBudgetOfConcurrentWaits(t *testing.T) {
	var now clock.Instant
	b := &budget{clock: func() clock.Instant { return now }}
	_, endFirst := b.start()
	now = now.Add(2 * time.Second)
	left, endSecond := b.start()
	if left != 3*time.Second {
		t.Errorf("after 2 s of waiting: got %s left, want 3s", left)
	}
	now = now.Add(2 * time.Second)
	endFirst()
	endSecond()
	if left, _ := b.start(); left != time.Second {
		t.Errorf("after 4 s of waiting: got %s left, want 1s", left)
	}
}
