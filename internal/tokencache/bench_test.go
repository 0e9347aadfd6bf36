// SPDX-License-Identifier: MPL-2.0

package tokencache

import (
	"context"
	"fmt"
	"testing"
	"time"

	"vault-plugin-secrets-messaging/internal/token"
)

// benchCache returns a Cache with that many accounts. Each has a token that was read.
func benchCache(b *testing.B, accounts int) *Cache {
	c := New(Options{Store: newFakeStore()})
	b.Cleanup(c.Close)
	for i := range accounts {
		name := fmt.Sprint("account-", i)
		t := &token.Token{Access: "token", Type: "Bearer", Lifetime: 100 * time.Hour, Sent: c.clock()}
		if err := c.Put(b.Context(), name, &fakeAccount{name: name, revision: "1"}, t, nil); err != nil {
			b.Fatal(err)
		}
		if _, err := c.Get(b.Context(), name, 0); err != nil {
			b.Fatal(err)
		}
	}
	return c
}

// BenchmarkGetHit reads a cached token.
func BenchmarkGetHit(b *testing.B) {
	c, ctx := benchCache(b, 1), context.Background()
	b.ReportAllocs()
	for b.Loop() {
		if _, err := c.Get(ctx, "account-0", 0); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkGetHitParallel reads one cached token from all CPUs.
func BenchmarkGetHitParallel(b *testing.B) {
	c, ctx := benchCache(b, 1), context.Background()
	b.ReportAllocs()
	b.RunParallel(func(p *testing.PB) {
		for p.Next() {
			if _, err := c.Get(ctx, "account-0", 0); err != nil {
				b.Error(err)
				return
			}
		}
	})
}

// BenchmarkTickIdle ticks while none of 100,000 accounts is due.
func BenchmarkTickIdle(b *testing.B) {
	c := benchCache(b, 100_000)
	b.ReportAllocs()
	for b.Loop() {
		if c.Due() {
			b.Fatal("Due: got true, want false")
		}
		c.Tick()
	}
}
