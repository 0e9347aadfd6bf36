// SPDX-License-Identifier: MPL-2.0

package messaging

import (
	"context"
	"testing"
	"time"

	"github.com/hashicorp/vault/sdk/framework"
	"github.com/hashicorp/vault/sdk/logical"

	"vault-plugin-secrets-messaging/internal/secret"
	"vault-plugin-secrets-messaging/internal/token"
	"vault-plugin-secrets-messaging/providers"
)

// constant is a provider that needs no network.
type constant struct{ providers.Base }

func (constant) Spec() providers.Spec {
	return providers.Spec{Name: "constant",
		Fields:    []providers.Field{{Name: "username"}, {Name: "password", Secret: true}},
		Endpoints: []providers.Endpoint{{Environment: "production", TokenURL: "https://constant.example/token"}},
	}
}

func (constant) Mint(context.Context, *providers.Client, providers.Settings) (token.Token, error) {
	return token.Token{Access: benchmarkToken, Type: "Bearer", Lifetime: time.Hour}, nil
}

const benchmarkToken = secret.String("eyJhbGciOiJSUzI1NiIsInR5cCI6IkpXVCJ9.eyJleHAiOjE3OTUzNDEzNzAsImlhdCI6MTc5NTMzNzc3MH0.c2lnbmF0dXJl")

// BenchmarkCachedRead reads a cached token through the framework.
func BenchmarkCachedRead(b *testing.B) {
	forBothModes(b, func(b *testing.B, lease bool) { benchmarkRead(b, cachedRead(b, lease)) })
}

// BenchmarkConstantRead reads the same answer from a backend that has only constants, which
// is the cost of the framework alone.
func BenchmarkConstantRead(b *testing.B) {
	forBothModes(b, func(b *testing.B, lease bool) { benchmarkRead(b, constantRead(b, lease)) })
}

// BenchmarkCachedToConstantRead reports the time of a cached read divided by the time of a constant
// read. It measures both reads in turns, so that other work of the machine affects both.
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

// cachedRead returns a function that reads creds/a of an engine that has the token.
func cachedRead(b *testing.B, lease bool) func() {
	storage := &logical.InmemStorage{}
	backend, err := Factory(Options{Providers: []providers.Provider{constant{}}})(b.Context(), &logical.BackendConfig{
		System: logical.TestSystemView(), StorageView: storage,
	})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { backend.Cleanup(context.Background()) })
	resp, err := backend.HandleRequest(b.Context(), &logical.Request{Operation: logical.CreateOperation, Path: "config/a", Storage: storage,
		Data: map[string]any{"provider": "constant", "lease": lease}})
	if err != nil || resp.IsError() {
		b.Fatal(resp, err)
	}
	return reader(b, backend, storage)
}

// constantRead returns a function that reads creds/a of a backend of constants.
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
