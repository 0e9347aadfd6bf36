// SPDX-License-Identifier: MPL-2.0

package tokencache

import (
	"context"
	"fmt"
	"runtime"
	"sync/atomic"
	"testing"
	"time"

	"vault-plugin-secrets-messaging/internal/clock"
	"vault-plugin-secrets-messaging/internal/token"
)

// benchCache returns a Cache with accounts. Each account has a token, which was read once.
func benchCache(b *testing.B, accounts int, now clock.Clock, p *fakeProvider) *Cache {
	c := New(options(newFakeStore(), now))
	for i := range accounts {
		name := fmt.Sprint("account-", i)
		t := &token.Token{Access: "token", Type: "Bearer", Lifetime: time.Hour, Sent: now()}
		if _, err := c.Put(b.Context(), name, &fakeAccount{name: name, revision: "1", provider: p}, t, nil); err != nil {
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
	c, ctx := benchCache(b, 1, clock.System(), nil), context.Background()
	defer c.Close()
	b.ReportAllocs()
	for b.Loop() {
		if _, err := c.Get(ctx, "account-0", 0); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkGetHitParallel reads one cached token from all CPUs.
func BenchmarkGetHitParallel(b *testing.B) {
	c, ctx := benchCache(b, 1, clock.System(), nil), context.Background()
	defer c.Close()
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
	c := benchCache(b, 100_000, clock.System(), nil)
	defer c.Close()
	b.ReportAllocs()
	for b.Loop() {
		if c.Due() {
			b.Fatal("Due: got true, want false")
		}
		c.Tick()
	}
}

// BenchmarkTickDue ticks while 100,000 tokens are due. It reports the goroutines and the memory
// that the tick adds.
func BenchmarkTickDue(b *testing.B) {
	for b.Loop() {
		b.StopTimer()
		var ahead atomic.Int64
		now := func() clock.Instant {
			now := clock.System()()
			return now.Add(time.Duration(ahead.Load()))
		}
		c := benchCache(b, 100_000, now, &fakeProvider{clock: now, answer: hangs})
		ahead.Store(int64(55 * time.Minute))
		var before, after runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&before)
		goroutines := runtime.NumGoroutine()
		b.StartTimer()
		c.Tick()
		b.StopTimer()
		added := runtime.NumGoroutine() - goroutines
		runtime.GC()
		runtime.ReadMemStats(&after)
		b.ReportMetric(float64(added), "goroutines")
		b.ReportMetric((float64(after.HeapInuse)-float64(before.HeapInuse)+float64(after.StackInuse)-float64(before.StackInuse))/1e6, "MB")
		c.Close()
		b.StartTimer()
	}
}
