// SPDX-License-Identifier: MPL-2.0

package messaging

import (
	"bytes"
	"context"
	"errors"
	"maps"
	"slices"
	"strings"
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

// errStorage is the error of a storage that fails.
var errStorage = errors.New("raft is out of quorum")

// storage records the calls that it gets, and fails on demand.
type storage struct {
	logical.InmemStorage

	mu    sync.Mutex
	calls []string                   // such as "put config/a"
	fail  func(op, key string) error // nil: no call fails
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

// failWith makes a storage call fail if f returns an error for the call. A nil f makes no call
// fail.
func (s *storage) failWith(f func(op, key string) error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.fail = f
}

// failOn makes a storage call fail if the call starts with one of the arguments, such as "put
// config/". The argument "" makes every call fail.
func (s *storage) failOn(calls ...string) {
	s.failWith(func(op, key string) error {
		if slices.ContainsFunc(calls, func(call string) bool { return strings.HasPrefix(op+" "+key, call) }) {
			return errStorage
		}
		return nil
	})
}

// takeCalls returns the calls since the previous takeCalls.
func (s *storage) takeCalls() []string {
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

// snapshot returns the stored configs and tokens, without recording a call.
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

// put stores a value, without recording a call.
func (s *storage) put(key, value string) {
	_ = s.InmemStorage.Put(context.Background(), &logical.StorageEntry{Key: key, Value: []byte(value)})
}

// keys returns the keys of the stored configs and tokens, sorted.
func (s *storage) keys() []string { return slices.Sorted(maps.Keys(s.snapshot())) }

// system is a fake system view that counts calls. Methods without an implementation panic.
type system struct {
	logical.SystemView

	mu         sync.Mutex
	state      consts.ReplicationState
	tainted    bool
	local      bool
	calls      int
	stateCalls int // of ReplicationState
}

// set changes the view with f.
func (s *system) set(f func(*system)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	f(s)
}

// takeCalls returns the number of calls since the previous takeCalls. stateCalls counts only calls
// of ReplicationState.
func (s *system) takeCalls() (calls, stateCalls int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	calls, stateCalls = s.calls, s.stateCalls
	s.calls, s.stateCalls = 0, 0
	return calls, stateCalls
}

func (s *system) ReplicationState() consts.ReplicationState {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.calls++
	s.stateCalls++
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

// mintFunc is the Mint of a fake provider.
type mintFunc func(context.Context) (token.Token, error)

// fake is a provider that mints with a function.
type fake struct {
	providers.Base
	mint atomic.Pointer[mintFunc]
}

func newFake(mint mintFunc) *fake {
	f := &fake{}
	f.set(mint)
	return f
}

// set makes f mint with mint from now on.
func (f *fake) set(mint mintFunc) { f.mint.Store(&mint) }

func (*fake) Spec() providers.Spec {
	return providers.Spec{
		Name:  "fake",
		Title: "Fake.",
		Fields: []providers.Field{
			{Name: "username", Description: "The user name."},
			{Name: "password", Required: true, Secret: true, Description: "The password."},
		},
		CanRevoke: true,
		Endpoints: []providers.Endpoint{{Environment: "production", TokenURL: "https://fake.example/token"}},
	}
}

func (f *fake) Mint(ctx context.Context, _ *providers.Client, _ providers.Settings) (token.Token, error) {
	return (*f.mint.Load())(ctx)
}

// fakeConfig is the data of a config of a fake.
var fakeConfig = fields{"provider": "fake", "password": "fake-hunter2"}

// minting returns a mint that always returns the token text.
func minting(text secret.String, lifetime time.Duration) mintFunc {
	return func(context.Context) (token.Token, error) {
		return token.Token{Access: text, Type: "Bearer", Lifetime: lifetime}, nil
	}
}

// down is a mint at a provider that does not answer.
func down(context.Context) (token.Token, error) {
	return token.Token{}, &token.Error{Kind: token.Unavailable}
}

// panics is a mint that panics with a secret.
func panics(context.Context) (token.Token, error) { panic("the password is hunter2") }

// block makes each mint of f wait until release is called or the mint's context ends. Each mint
// first sends to started.
func block(f *fake) (started <-chan struct{}, release func()) {
	here, released := make(chan struct{}, 100), make(chan struct{})
	f.set(func(ctx context.Context) (token.Token, error) {
		here <- struct{}{}
		select {
		case <-released:
			return minting("late-token", time.Hour)(ctx)
		case <-ctx.Done():
			return down(ctx)
		}
	})
	return here, sync.OnceFunc(func() { close(released) })
}

// simulate changes settings of the simulator.
func (m *mount) simulate(settings string) {
	m.t.Helper()
	if err := m.sim.Patch([]byte(settings)); err != nil {
		m.t.Fatal(err)
	}
}

// hold delays the simulator's answers until release is called. After that, the simulator answers at
// once, whatever its latency. Call hold on the mount that made the simulator.
func (m *mount) hold() (release func()) {
	m.t.Helper()
	held := make(chan struct{})
	m.mu.Lock()
	m.held = held
	m.mu.Unlock()
	m.simulate(`{"latency": 600}`)
	return sync.OnceFunc(func() {
		m.simulate(`{"latency": 0}`)
		close(held)
	})
}

// delay is the Sleep of the simulator. It returns early when answers are no longer held.
func (m *mount) delay(ctx context.Context, d time.Duration) {
	m.mu.Lock()
	held := m.held
	m.mu.Unlock()
	select {
	case <-time.After(d):
	case <-held:
	case <-ctx.Done():
	}
}

// fakeClock is a clock that stands still until a test advances it.
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
