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

func newHangingFixture(t *testing.T) *fixture {
	f := newFixture(t)
	f.Close()
	f.start(clock.System())
	f.provider.hang()
	return f
}

// All requests together wait at most 5 s, even if many endpoints hang.
func TestManyEndpointsHang(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newHangingFixture(t)
		defer f.Close()
		start := time.Now()
		for i := range 100 {
			f.RevokeOrQueue(f.token(f.config(fmt.Sprint("config-", i)), "leased"))
		}
		wantWaited(t, start, budgetWait)
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
		wantWaited(t, start, 99*100*time.Millisecond+time.Millisecond) // until the last answer
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
			f.prepare(f.token(a, "shared"))
			wantContains(t, f.EndConfig(a.Name, a), "left to expire")
		}
		wantWaited(t, start, budgetWait)
	})
}

// If requests already waited 5 s, the next request does not wait. The engine revokes the token in
// the background.
func TestBudgetLeavesTheRestToADrain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newHangingFixture(t)
		defer f.Close()
		for i := range 2 {
			f.RevokeOrQueue(f.token(f.config(fmt.Sprint("hangs-", i)), "leased"))
		}
		f.provider.fail(nil)
		start := time.Now()
		wantContains(t, f.RevokeOrQueue(f.token(f.config("works"), "one")), "requests waited 5s for revocation endpoints")
		wantWaited(t, start, 0)
		synctest.Wait()
		f.wantQueued(0)
	})
}

// The endpoint needs 4 s, but a request waits at most 3 s. The engine revokes the tokens in the
// background.
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

// In any 30 s, requests wait at most 5 s.
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

// Requests may always wait for 3 s in any 30 s.
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
