// SPDX-License-Identifier: MPL-2.0

package revocation

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/vault/sdk/framework"
	"github.com/hashicorp/vault/sdk/logical"

	"vault-plugin-secrets-messaging/internal/account"
	"vault-plugin-secrets-messaging/internal/clock"
	"vault-plugin-secrets-messaging/internal/secret"
	"vault-plugin-secrets-messaging/internal/token"
	"vault-plugin-secrets-messaging/providers"
)

var (
	errStorage = errors.New("raft is out of quorum")

	errDown     = &token.Error{Kind: token.Unavailable, Problem: "connection refused"}
	errWrong    = &token.Error{Kind: token.Malformed, Status: 404, Problem: "revocation_url is probably wrong"}
	errRejected = &token.Error{Kind: token.Malformed, Status: 400, Problem: "the answer gives no reason"}
)

// fakeProvider records the tokens that the revoker sends. Tests choose the answers.
type fakeProvider struct {
	providers.Base
	name string

	mu     sync.Mutex
	sent   []string
	answer func(ctx context.Context, access string) error // nil: success
}

func (p *fakeProvider) Spec() providers.Spec {
	return providers.Spec{Name: p.name, Title: "Fake.", CanRevoke: true,
		Fields: []providers.Field{
			{Name: "client_id", Description: "Client."},
			{Name: "password", Secret: true, Description: "Password."},
			{Name: "scopes", Description: "Scopes."},
		},
		Endpoints: []providers.Endpoint{
			{Environment: "production", TokenURL: "https://fake.example/token"},
			{Environment: "uat", TokenURL: "https://uat.example/token"},
		}}
}

func (*fakeProvider) Mint(context.Context, *providers.Client, providers.Settings) (token.Token, error) {
	return token.Token{}, errDown
}

func (*fakeProvider) Validate(providers.Settings) error { return nil }

func (*fakeProvider) Refresh(context.Context, *providers.Client, providers.Settings, secret.String) (token.Token, error) {
	return token.Token{}, errDown
}

func (p *fakeProvider) Revoke(ctx context.Context, _ *providers.Client, _ providers.Settings, access, _ secret.String) error {
	p.mu.Lock()
	p.sent = append(p.sent, access.Reveal())
	answer := p.answer
	p.mu.Unlock()
	if answer == nil {
		return nil
	}
	return answer(ctx, access.Reveal())
}

// set makes the provider answer with f from now on.
func (p *fakeProvider) set(f func(ctx context.Context, access string) error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.answer = f
}

// fail makes the provider answer with err. If err is nil, revocations succeed.
func (p *fakeProvider) fail(err error) {
	p.set(func(context.Context, string) error { return err })
}

// failFor makes the provider fail for one token, and revoke all other tokens.
func (p *fakeProvider) failFor(failing string, err error) {
	p.set(func(_ context.Context, access string) error {
		if access == failing {
			return err
		}
		return nil
	})
}

// hang makes the provider accept requests and never answer.
func (p *fakeProvider) hang() {
	p.set(func(ctx context.Context, _ string) error {
		<-ctx.Done()
		return &token.Error{Kind: token.Unavailable, Cause: ctx.Err()}
	})
}

// take returns the tokens that the provider got since the last call of take.
func (p *fakeProvider) take() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	sent := p.sent
	p.sent = nil
	return sent
}

// fakeStorage counts its calls, and fails on demand.
type fakeStorage struct {
	logical.InmemStorage

	mu    sync.Mutex
	calls int
	fail  string // the operation that fails on the write-ahead log
}

func (s *fakeStorage) call(op, key string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.calls++
	if s.fail == op && strings.HasPrefix(key, framework.WALPrefix) {
		return errStorage
	}
	return nil
}

func (s *fakeStorage) Get(ctx context.Context, key string) (*logical.StorageEntry, error) {
	if err := s.call("get", key); err != nil {
		return nil, err
	}
	return s.InmemStorage.Get(ctx, key)
}

func (s *fakeStorage) Put(ctx context.Context, e *logical.StorageEntry) error {
	if err := s.call("put", e.Key); err != nil {
		return err
	}
	return s.InmemStorage.Put(ctx, e)
}

func (s *fakeStorage) Delete(ctx context.Context, key string) error {
	if err := s.call("delete", key); err != nil {
		return err
	}
	return s.InmemStorage.Delete(ctx, key)
}

func (s *fakeStorage) List(ctx context.Context, prefix string) ([]string, error) {
	if err := s.call("list", prefix); err != nil {
		return nil, err
	}
	return s.InmemStorage.List(ctx, prefix)
}

func (s *fakeStorage) failOn(op string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.fail = op
}

// take returns the number of calls since the previous take.
func (s *fakeStorage) take() (n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	n, s.calls = s.calls, 0
	return n
}

// lockedBuffer holds a log.
type lockedBuffer struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.Write(p)
}

func (b *lockedBuffer) count(text string) int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return strings.Count(b.text.String(), text)
}

// fixture is a Revoker with a fake provider, storage and clock.
type fixture struct {
	*Revoker
	t        testing.TB
	provider *fakeProvider
	other    *fakeProvider
	storage  *fakeStorage
	setup    *account.Registry // on the same storage, without its faults
	log      *lockedBuffer
	tainted  bool

	mu  sync.Mutex
	now clock.Instant
}

func newFixture(t testing.TB) *fixture {
	f := &fixture{t: t, provider: &fakeProvider{name: "fake"}, other: &fakeProvider{name: "other"},
		storage: &fakeStorage{}, log: &lockedBuffer{},
		now: clock.Instant{Wall: time.Date(2026, 11, 22, 8, 0, 0, 0, time.UTC), Mono: time.Hour}}
	f.start(func() clock.Instant {
		f.mu.Lock()
		defer f.mu.Unlock()
		return f.now
	})
	return f
}

// start makes the Revoker, as a start of the process does.
func (f *fixture) start(c clock.Clock) {
	observe := func(string) func() func() { return func() func() { return func() {} } }
	log := hclog.New(&hclog.LoggerOptions{Level: hclog.Trace, Output: f.log})
	logger := func() hclog.Logger { return log }
	registry := func(s logical.Storage) *account.Registry {
		return account.NewRegistry(account.RegistryOptions{Builtin: []providers.Provider{f.provider, f.other},
			Clients: providers.NewClients(providers.ClientOptions{}), Observe: observe, Log: logger, Storage: s})
	}
	f.setup = registry(&f.storage.InmemStorage)
	f.Revoker = NewRevoker(Options{
		Registry: registry(f.storage), Storage: f.storage,
		Clock: c, Log: logger, Tainted: func() bool { return f.tainted },
	})
	f.t.Cleanup(f.Close)
}

// restart makes a new Revoker on the same storage.
func (f *fixture) restart() {
	f.Close()
	f.start(f.opts.Clock)
}

func (f *fixture) advance(d time.Duration) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.now = f.now.Add(d)
}

// tick does what a tick of the mount does, and waits for it.
func (f *fixture) tick() {
	if f.Pending() {
		f.Drain()
	}
}

// ticks makes n ticks, each after a minute.
func (f *fixture) ticks(n int) {
	for range n {
		f.advance(time.Minute)
		f.tick()
	}
}

// prepare begins the deletion of a config.
func (f *fixture) prepare(rev Revocation) {
	f.t.Helper()
	if err := f.Prepare(rev); err != nil {
		f.t.Fatal(err)
	}
}

// config stores a config and returns the account. The functions in changes modify the config first.
func (f *fixture) config(name string, changes ...func(*account.Config)) *account.Account {
	f.t.Helper()
	c := &account.Config{Revision: "1", Provider: "fake", RevocationURL: "https://fake.example/revoke", Lease: true,
		Fields: map[string]secret.String{"client_id": "acme", "password": "hunter2"}}
	for _, change := range changes {
		change(c)
	}
	if err := f.setup.WriteConfig(f.t.Context(), name, nil, c); err != nil {
		f.t.Fatal(err)
	}
	c, err := f.setup.ReadConfig(f.t.Context(), name)
	if err != nil {
		f.t.Fatal(err)
	}
	a, err := f.setup.Account(name, c)
	if err != nil {
		f.t.Fatal(err)
	}
	return a
}

// token returns the revocation of a 2-hour token that belongs to the account a.
func (f *fixture) token(a *account.Account, access string) Revocation {
	return New(a, token.Token{Access: secret.String(access), Sent: f.opts.Clock(), Lifetime: 2 * time.Hour})
}

// save stores the shared token of a.
func (f *fixture) save(a *account.Account, access string) {
	f.opts.Registry.Save(f.t.Context(), a.Name, a, token.Token{Access: secret.String(access), Sent: f.opts.Clock(), Lifetime: 2 * time.Hour})
}

// wantQueued checks the number of stored revocations.
func (f *fixture) wantQueued(want int) {
	f.t.Helper()
	keys, err := framework.ListWAL(f.t.Context(), &f.storage.InmemStorage)
	if err != nil || len(keys) != want {
		f.t.Errorf("got %d queued tokens, error %v, want %d", len(keys), err, want)
	}
}

// wantRequests checks the number of requests since the last call of take.
func (f *fixture) wantRequests(what string, low, high int) {
	f.t.Helper()
	if got := len(f.provider.take()); got < low || got > high {
		f.t.Errorf("%s: got %d requests, want %d to %d", what, got, low, high)
	}
}

// wantSent checks which tokens the provider got since the last call of take.
func (f *fixture) wantSent(want ...string) {
	f.t.Helper()
	if got := f.provider.take(); fmt.Sprint(got) != fmt.Sprint(want) {
		f.t.Errorf("got revocations of %q, want %q", got, want)
	}
}

// wantContains fails the test unless text contains part.
func wantContains(t *testing.T, text, part string) {
	t.Helper()
	if !strings.Contains(text, part) {
		t.Errorf("got %q, want %q in it", text, part)
	}
}

func wantNone(t *testing.T, warning string) {
	t.Helper()
	if warning != "" {
		t.Errorf("got warning %q, want none", warning)
	}
}

// wantWaited fails the test if the time since start is longer than limit.
func wantWaited(t *testing.T, start time.Time, limit time.Duration) {
	t.Helper()
	if got := time.Since(start); got > limit {
		t.Errorf("got a wait of %s, want at most %s", got, limit)
	}
}
