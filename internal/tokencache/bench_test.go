// SPDX-License-Identifier: MPL-2.0

package tokencache

import (
	"context"
	"fmt"
	"testing"
	"time"

	"vault-plugin-secrets-messaging/internal/token"
)

// benchCache returns a Cache with so many accounts, each with a token that was read.
func benchCache(b *testing.B, accounts int) *Cache {
	c := New(Options{Store: &fakeStore{accounts: map[string]*fakeAccount{}, tokens: map[string]saved{}}})
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

// BenchmarkGetHit is a read of a token that is in hand.
func BenchmarkGetHit(b *testing.B) {
	c, ctx := benchCache(b, 1), context.Background()
	b.ReportAllocs()
	for b.Loop() {
		if _, err := c.Get(ctx, "account-0", 0); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkGetHitParallel has all readers read the same token.
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

// BenchmarkTickIdle is a tick that finds nothing to do among 100,000 accounts.
func BenchmarkTickIdle(b *testing.B) {
	c := benchCache(b, 100_000)
	b.ReportAllocs()
	for b.Loop() {
		if c.Due() {
			b.Fatal("due")
		}
		c.Tick()
	}
}
