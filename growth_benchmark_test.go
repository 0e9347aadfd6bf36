// SPDX-License-Identifier: MPL-2.0

package messaging

import (
	"context"
	"fmt"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/vault/sdk/logical"

	"vault-plugin-secrets-messaging/internal/account"
	"vault-plugin-secrets-messaging/internal/clock"
	"vault-plugin-secrets-messaging/providers"
)

// withoutTokens is a storage that drops tokens, because in a server stored tokens do not use the
// plugin's memory.
type withoutTokens struct{ *logical.InmemStorage }

func (s withoutTokens) Put(ctx context.Context, e *logical.StorageEntry) error {
	if strings.HasPrefix(e.Key, account.TokenPrefix) {
		return nil
	}
	return s.InmemStorage.Put(ctx, e)
}

// BenchmarkGrowth creates and reads many accounts. It reports the memory per account without
// the token's text, the time of a tick with no due token and with 1,000 due tokens, and the
// time from a backend's start to its first answer.
func BenchmarkGrowth(b *testing.B) {
	for _, n := range []int{1, 1_000, 100_000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			for b.Loop() {
				benchmarkGrowth(b, n)
			}
			b.ReportMetric(0, "ns/op") // the time of everything together says nothing
		})
	}
}

func benchmarkGrowth(b *testing.B, n int) {
	storage := withoutTokens{&logical.InmemStorage{}}
	clock := &fakeClock{now: clock.Instant{Wall: time.Now(), Mono: time.Hour}}
	start := func() logical.Backend {
		backend, err := Factory(Options{Providers: []providers.Provider{constant{}}, Clock: clock.instant})(b.Context(), &logical.BackendConfig{
			System: logical.TestSystemView(), StorageView: storage,
		})
		if err != nil {
			b.Fatal(err)
		}
		return backend
	}
	request := func(backend logical.Backend, op logical.Operation, path string, data map[string]any) {
		resp, err := backend.HandleRequest(b.Context(), &logical.Request{Operation: op, Path: path, Storage: storage, Data: data})
		if err != nil || resp.IsError() {
			b.Fatal(resp, err)
		}
	}
	writer := start()
	for i := range n {
		request(writer, logical.CreateOperation, fmt.Sprintf("config/account-%d", i), map[string]any{
			"provider": "constant", "verify_connection": false, "username": fmt.Sprintf("user-%d", i), "password": fmt.Sprintf("password-%d", i)})
	}
	writer.Cleanup(b.Context())

	began := time.Now()
	backend := start()
	request(backend, logical.ReadOperation, "creds/account-0", nil)
	b.ReportMetric(float64(time.Since(began).Nanoseconds()), "ns/first-answer")
	defer backend.Cleanup(b.Context())

	due := min(n, 1_000)
	before := heap()
	for i := range n {
		if i == due {
			clock.advance(30 * time.Minute)
		}
		request(backend, logical.ReadOperation, fmt.Sprintf("creds/account-%d", i), nil)
	}
	b.ReportMetric(float64(heap()-before)/float64(n), "B/account")
	b.ReportMetric(float64(ticked(b, backend)), "ns/idle-tick")
	if n <= due {
		clock.advance(30 * time.Minute)
	}
	clock.advance(25 * time.Minute) // the first accounts are due at random moments
	b.ReportMetric(float64(ticked(b, backend)), "ns/tick-with-1000-due")
	runtime.KeepAlive(backend)
}

// ticked returns how long a tick takes.
func ticked(b *testing.B, backend logical.Backend) time.Duration {
	began := time.Now()
	if _, err := backend.HandleRequest(b.Context(), &logical.Request{Operation: logical.RollbackOperation}); err != nil {
		b.Fatal(err)
	}
	return time.Since(began)
}

// heap returns the number of bytes in use.
func heap() int64 {
	var m runtime.MemStats
	runtime.GC()
	runtime.GC()
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}
