// SPDX-License-Identifier: MPL-2.0

package tokencache

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"vault-plugin-secrets-messaging/internal/clock"
	"vault-plugin-secrets-messaging/internal/token"
)

// TestConcurrentUse calls all methods from many goroutines, for the race detector. The cache's
// clock runs a thousand times as fast as real time.
func TestConcurrentUse(t *testing.T) {
	const goroutines, rounds, accounts = 8, 3000, 4
	began := time.Now()
	fast := func() clock.Instant {
		now := time.Since(began) * 1000
		return clock.Instant{Wall: began.Round(0).Add(now), Mono: now}
	}
	provider := &fakeProvider{clock: fast, answer: func(ctx context.Context, c call) (token.Token, error) {
		switch rand.IntN(10) {
		case 0:
			return fails(token.Unavailable, 0)(ctx, c)
		case 1:
			return fails(token.RateLimited, time.Second)(ctx, c)
		}
		return sessions(20*time.Second, 0)(ctx, c)
	}}
	store := newFakeStore()
	store.onSave = func(name string, a Account, _ token.Token) {
		store.mu.Lock()
		defer store.mu.Unlock()
		if current := store.accounts[name]; current == nil || current.revision != a.Revision() {
			t.Errorf("%s: got a saved token of revision %s, want none of an old revision", name, a.Revision())
		}
	}
	cache := New(options(store, fast))
	defer cache.Close()

	put := func(name, revision string) {
		a := &fakeAccount{name: name, revision: revision, provider: provider}
		if _, err := cache.Put(t.Context(), name, a, nil, func() error { store.write(a); return nil }); err != nil {
			t.Errorf("put %s: got error %v, want none", name, err)
		}
	}
	act := func(name string) {
		switch p := rand.IntN(1000); {
		case p < 900:
			g, err := cache.Get(t.Context(), name, time.Duration(rand.IntN(3))*5*time.Second)
			if f := (*Failure)(nil); err != nil && !errors.As(err, &f) && !errors.Is(err, ErrNotFound) && !errors.Is(err, ErrStillMinting) {
				t.Errorf("get %s: got error %v, want a Failure, %v or %v", name, err, ErrNotFound, ErrStillMinting)
			}
			if err == nil && g.Left <= 0 {
				t.Errorf("get %s: got a token with %s left, want a valid token", name, g.Left)
			}
		case p < 960:
			cache.Tick()
			cache.Due()
			cache.Status(name)
		case p < 980:
			_, _ = cache.Rotate(t.Context(), name)
		case p < 990:
			put(name, fmt.Sprint(rand.Int()))
		case p < 995:
			cache.Invalidate(name)
		default:
			_ = cache.Delete(name, func() error { return store.delete(name) })
			put(name, fmt.Sprint(rand.Int()))
		}
	}

	var all sync.WaitGroup
	for range goroutines {
		all.Go(func() {
			for range rounds {
				act(fmt.Sprint("account-", rand.IntN(accounts)))
			}
		})
	}
	all.Wait()
}
