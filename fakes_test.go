// SPDX-License-Identifier: MPL-2.0

package messaging

import (
	"bytes"
	"context"
	"errors"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/vault/sdk/helper/consts"
	"github.com/hashicorp/vault/sdk/logical"

	"vault-plugin-secrets-messaging/internal/account"
	"vault-plugin-secrets-messaging/internal/clock"
	"vault-plugin-secrets-messaging/internal/secret"
	"vault-plugin-secrets-messaging/internal/token"
	"vault-plugin-secrets-messaging/providers"
)

// errStorage is what a storage says that is made to fail.
var errStorage = errors.New("raft is out of quorum")

// storage is a storage that counts what is asked of it and fails on demand.
type storage struct {
	logical.InmemStorage

	mu    sync.Mutex
	calls []string                   // such as "put config/a"
	fail  func(op, key string) error // nil: never
}

func (s *storage) call(op, key string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.calls = append(s.calls, op+" "+key)
	if s.fail == nil {
		return nil
	}
	return s.fail(op, key)
}

// failing makes calls fail that f returns an error for; nil makes it well again.
func (s *storage) failing(f func(op, key string) error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.fail = f
}

// taken returns the calls since it was last called.
func (s *storage) taken() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	calls := s.calls
	s.calls = nil
	return calls
}

func (s *storage) Get(ctx context.Context, key string) (*logical.StorageEntry, error) {
	if err := s.call("get", key); err != nil {
		return nil, err
	}
	return s.InmemStorage.Get(ctx, key)
}

func (s *storage) Put(ctx context.Context, e *logical.StorageEntry) error {
	if err := s.call("put", e.Key); err != nil {
		return err
	}
	return s.InmemStorage.Put(ctx, e)
}

func (s *storage) Delete(ctx context.Context, key string) error {
	if err := s.call("delete", key); err != nil {
		return err
	}
	return s.InmemStorage.Delete(ctx, key)
}

func (s *storage) List(ctx context.Context, prefix string) ([]string, error) {
	if err := s.call("list", prefix); err != nil {
		return nil, err
	}
	return s.InmemStorage.List(ctx, prefix)
}

// snapshot returns all that is stored, uncounted.
func (s *storage) snapshot() map[string]string {
	all := map[string]string{}
	for _, prefix := range []string{account.ConfigPrefix, account.TokenPrefix} {
		names, _ := s.InmemStorage.List(context.Background(), prefix)
		for _, name := range names {
			e, _ := s.InmemStorage.Get(context.Background(), prefix+name)
			all[prefix+name] = string(e.Value)
		}
	}
	return all
}

// put stores a value, uncounted.
func (s *storage) put(key, value string) {
	_ = s.InmemStorage.Put(context.Background(), &logical.StorageEntry{Key: key, Value: []byte(value)})
}

// keys returns what is stored, by name.
func (s *storage) keys() []string { return slices.Sorted(maps.Keys(s.snapshot())) }

// system is a system view that can be changed and counts what it is asked. Of the
// methods that are not here each call is a panic, and so a 500.
type system struct {
	logical.SystemView

	mu       sync.Mutex
	state    consts.ReplicationState
	tainted  bool
	local    bool
	calls    int
	stateful int // calls of ReplicationState
}

func newSystem() *system { return &system{} }

func (s *system) set(f func(*system)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	f(s)
}

// taken returns the calls, and those of ReplicationState, since it was last called.
func (s *system) taken() (calls, stateful int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	calls, stateful = s.calls, s.stateful
	s.calls, s.stateful = 0, 0
	return calls, stateful
}

func (s *system) ReplicationState() consts.ReplicationState {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.calls++
	s.stateful++
	return s.state
}

func (s *system) Tainted() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.calls++
	return s.tainted
}

func (s *system) LocalMount() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.calls++
	return s.local
}

func (s *system) GetConsumptionBillingManager() logical.ConsumptionBillingManager {
	return logical.NewNullConsumptionBillingManager()
}

func (s *system) PluginEnv(context.Context) (*logical.PluginEnvironment, error) {
	return &logical.PluginEnvironment{VaultVersion: "1.21.1"}, nil
}

// fake is a provider that does as it is told.
type fake struct {
	mint atomic.Pointer[func(context.Context) (token.Token, error)]
}

func newFake(mint func(context.Context) (token.Token, error)) *fake {
	f := &fake{}
	f.mint.Store(&mint)
	return f
}

func (*fake) Spec() providers.Spec {
	return providers.Spec{
		Name:        "fake",
		Description: "Fake.",
		Fields:      []providers.Field{{Name: "password", Required: true, Secret: true, Description: "The password."}},
		Endpoints:   []providers.Endpoint{{Environment: "production", TokenURL: "https://fake.example/token"}},
	}
}

func (f *fake) Mint(ctx context.Context, _ *providers.Client, _ providers.Settings) (token.Token, error) {
	return (*f.mint.Load())(ctx)
}

// fakeConfig is the data of a config of a fake.
var fakeConfig = fields{"provider": "fake", "password": "fake-hunter2"}

// lives returns a mint of tokens that live for so long; the text is the token.
func lives(text string, d time.Duration) func(context.Context) (token.Token, error) {
	return func(context.Context) (token.Token, error) {
		return token.Token{Access: secret.String(text), Type: "Bearer", Lifetime: d}, nil
	}
}

// block makes f's mints wait: each tells in asked that it was, and goes on with
// release, or when its context ends.
func block(f *fake) (asked <-chan struct{}, release func()) {
	here, released := make(chan struct{}, 100), make(chan struct{})
	mint := func(ctx context.Context) (token.Token, error) {
		here <- struct{}{}
		select {
		case <-released:
		case <-ctx.Done():
			return token.Token{}, &token.Error{Kind: token.Unavailable}
		}
		return token.Token{Access: "late-token", Type: "Bearer", Lifetime: time.Hour}, nil
	}
	f.mint.Store(&mint)
	return here, sync.OnceFunc(func() { close(released) })
}

// fakeClock is a clock that stands still until it is moved.
type fakeClock struct {
	mu  sync.Mutex
	now clock.Instant
}

func (c *fakeClock) instant() clock.Instant {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *fakeClock) wall() time.Time { return c.instant().Wall }

func (c *fakeClock) advance(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

// logBuffer holds a log.
type logBuffer struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (b *logBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.Write(p)
}

func (b *logBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.String()
}
