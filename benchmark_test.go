// SPDX-License-Identifier: MPL-2.0

package messaging

import (
	"context"
	"fmt"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/vault/sdk/framework"
	"github.com/hashicorp/vault/sdk/logical"

	"vault-plugin-secrets-messaging/internal/account"
	"vault-plugin-secrets-messaging/internal/clock"
	"vault-plugin-secrets-messaging/internal/secret"
	"vault-plugin-secrets-messaging/providers"
)

const benchmarkToken = secret.String("eyJhbGciOiJSUzI1NiIsInR5cCI6IkpXVCJ9.eyJleHAiOjE3OTUzNDEzNzAsImlhdCI6MTc5NTMzNzc3MH0.c2lnbmF0dXJl")

// BenchmarkCachedRead reads a cached token through the framework.
func BenchmarkCachedRead(b *testing.B) {
	forBothModes(b, func(b *testing.B, lease bool) { benchmarkRead(b, cachedRead(b, lease)) })
}

// BenchmarkConstantRead measures the cost of the framework alone. Its backend returns only
// constants.
func BenchmarkConstantRead(b *testing.B) {
	forBothModes(b, func(b *testing.B, lease bool) { benchmarkRead(b, constantRead(b, lease)) })
}

// BenchmarkCachedToConstantRead reports how many times longer a cached read takes than a
// constant read. It measures both in turns, so that other load on the machine affects both.
func BenchmarkCachedToConstantRead(b *testing.B) {
	forBothModes(b, func(b *testing.B, lease bool) {
		const turn = 1_000
		cached, constant := cachedRead(b, lease), constantRead(b, lease)
		var ofCached, ofConstant time.Duration
		for b.Loop() {
			began := time.Now()
			for range turn {
				constant()
			}
			ofConstant += time.Since(began)
			began = time.Now()
			for range turn {
				cached()
			}
			ofCached += time.Since(began)
		}
		b.ReportMetric(float64(ofCached)/float64(ofConstant), "ratio")
	})
}

func forBothModes(b *testing.B, run func(b *testing.B, lease bool)) {
	b.Run("lease", func(b *testing.B) { run(b, true) })
	b.Run("plain", func(b *testing.B) { run(b, false) })
}

func benchmarkRead(b *testing.B, read func()) {
	b.ReportAllocs()
	for b.Loop() {
		read()
	}
}

// newBenchmarkBackend returns a backend whose provider needs no network.
func newBenchmarkBackend(b *testing.B, storage logical.Storage, c clock.Clock) logical.Backend {
	p := newFake(minting(benchmarkToken, time.Hour))
	backend, err := Factory(Options{Providers: []providers.Provider{p}, Clock: c})(b.Context(), &logical.BackendConfig{
		System: logical.TestSystemView(), StorageView: storage,
	})
	if err != nil {
		b.Fatal(err)
	}
	return backend
}

// benchmarkRequest makes a request that must succeed.
func benchmarkRequest(b *testing.B, backend logical.Backend, storage logical.Storage, op logical.Operation, path string, data fields) {
	resp, err := backend.HandleRequest(b.Context(), &logical.Request{Operation: op, Path: path, Storage: storage, Data: data})
	if err != nil || resp.IsError() {
		b.Fatal(resp, err)
	}
}

// cachedRead returns a function that reads creds/a from an engine that has cached the token.
func cachedRead(b *testing.B, lease bool) func() {
	storage := &logical.InmemStorage{}
	backend := newBenchmarkBackend(b, storage, nil)
	b.Cleanup(func() { backend.Cleanup(context.Background()) })
	benchmarkRequest(b, backend, storage, logical.CreateOperation, "config/a", with(fields{"lease": lease}, fakeConfig))
	return reader(b, backend, storage)
}

// constantRead returns a function that reads creds/a from a backend that returns only constants.
func constantRead(b *testing.B, lease bool) func() {
	backend := &framework.Backend{Paths: []*framework.Path{{
		Pattern: "creds/" + framework.GenericNameRegex("name"),
		Fields:  map[string]*framework.FieldSchema{"name": {Type: framework.TypeString}},
		Callbacks: map[logical.Operation]framework.OperationFunc{
			logical.ReadOperation: func(context.Context, *logical.Request, *framework.FieldData) (*logical.Response, error) {
				return constantAnswer(lease), nil
			},
		},
	}}}
	if err := backend.Setup(b.Context(), &logical.BackendConfig{System: logical.TestSystemView()}); err != nil {
		b.Fatal(err)
	}
	return reader(b, backend, &logical.InmemStorage{})
}

// reader returns a function that reads creds/a of a backend.
func reader(b *testing.B, backend logical.Backend, storage logical.Storage) func() {
	req := &logical.Request{Operation: logical.ReadOperation, Path: "creds/a", MountPoint: "messaging/", Storage: storage}
	ctx := context.Background()
	return func() {
		if resp, err := backend.HandleRequest(ctx, req); err != nil || resp.Data["access_token"] != benchmarkToken.Reveal() {
			b.Fatal(resp, err)
		}
	}
}

func constantAnswer(lease bool) *logical.Response {
	resp := &logical.Response{Data: map[string]any{
		"access_token": benchmarkToken.Reveal(),
		"expire_time":  "2026-11-22T08:20:51Z",
		"provider":     "constant",
		"token_type":   "Bearer",
	}}
	if !lease {
		resp.Data["ttl"], resp.Data["rotation_period"], resp.Data["last_vault_rotation"] = int64(3000), int64(3600), "2026-11-22T07:20:51Z"
		return resp
	}
	resp.Secret = &logical.Secret{
		LeaseOptions: logical.LeaseOptions{TTL: time.Hour, MaxTTL: time.Hour},
		InternalData: map[string]any{"secret_type": "constant"},
	}
	return resp
}

// withoutTokens is a storage in memory that drops tokens. In production, stored tokens take none of
// the plugin's memory.
type withoutTokens struct{ *logical.InmemStorage }

func (s withoutTokens) Put(ctx context.Context, e *logical.StorageEntry) error {
	if strings.HasPrefix(e.Key, account.TokenPrefix) {
		return nil
	}
	return s.InmemStorage.Put(ctx, e)
}

// BenchmarkGrowth creates and reads many accounts. It reports:
//   - the memory per account, without the stored token
//   - how long the periodic function takes if no token is due, and if 1,000 tokens are due
//   - how long a new backend takes to give its first answer
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
	writer := newBenchmarkBackend(b, storage, clock.instant)
	for i := range n {
		benchmarkRequest(b, writer, storage, logical.CreateOperation, fmt.Sprintf("config/account-%d", i), fields{
			"provider": "fake", "verify_connection": false, "username": fmt.Sprintf("user-%d", i), "password": fmt.Sprintf("password-%d", i)})
	}
	writer.Cleanup(b.Context())

	began := time.Now()
	backend := newBenchmarkBackend(b, storage, clock.instant)
	benchmarkRequest(b, backend, storage, logical.ReadOperation, "creds/account-0", nil)
	b.ReportMetric(float64(time.Since(began).Nanoseconds()), "ns/first-answer")
	defer backend.Cleanup(b.Context())

	due := min(n, 1_000)
	before := heap()
	for i := range n {
		if i == due {
			clock.advance(30 * time.Minute)
		}
		benchmarkRequest(b, backend, storage, logical.ReadOperation, fmt.Sprintf("creds/account-%d", i), nil)
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
