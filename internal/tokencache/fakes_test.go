// SPDX-License-Identifier: MPL-2.0

package tokencache

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"vault-plugin-secrets-messaging/internal/clock"
	"vault-plugin-secrets-messaging/internal/secret"
	"vault-plugin-secrets-messaging/internal/token"
)

// call is one call of Mint.
type call struct {
	*fakeAccount
	n       int // counted from 1
	refresh secret.String
	force   bool
	at      time.Time
}

// answer decides what a mint by the fake provider returns. If the answer has no access token, the
// n-th mint returns accessToken(n).
type answer func(context.Context, call) (token.Token, error)

// fakeProvider mints the tokens of all fake accounts.
type fakeProvider struct {
	clock clock.Clock

	mu                  sync.Mutex
	answer              answer
	calls               []call
	running, maxRunning int
}

func (p *fakeProvider) set(a answer) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.answer = a
}

func (p *fakeProvider) allCalls() []call {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.calls
}

// logins returns the calls without a refresh token.
func (p *fakeProvider) logins() []call {
	return slices.DeleteFunc(slices.Clone(p.allCalls()), func(c call) bool { return c.refresh != "" })
}

// callsOf returns the calls for the named account.
func (p *fakeProvider) callsOf(name string) []call {
	return slices.DeleteFunc(slices.Clone(p.allCalls()), func(c call) bool { return c.name != name })
}

// accessToken returns the access token of call n.
func accessToken(n int) secret.String { return secret.String(fmt.Sprintf("token-%d", n)) }

// tokens answers with tokens of this lifetime.
func tokens(lifetime time.Duration) answer {
	return func(context.Context, call) (token.Token, error) {
		return token.Token{Type: "Bearer", Lifetime: lifetime}, nil
	}
}

// sessions answers each mint with an access token and a refresh token.
func sessions(lifetime, refreshLifetime time.Duration) answer {
	return func(_ context.Context, c call) (token.Token, error) {
		return token.Token{Lifetime: lifetime, RefreshLifetime: refreshLifetime,
			Refresh: secret.String(fmt.Sprintf("refresh-%d", c.n))}, nil
	}
}

func fails(kind token.Kind, retryAfter time.Duration) answer {
	return func(context.Context, call) (token.Token, error) {
		return token.Token{}, &token.Error{Kind: kind, RetryAfter: retryAfter, Problem: "the provider says so"}
	}
}

func panics(v any) answer { return func(context.Context, call) (token.Token, error) { panic(v) } }

// slow answers after d, or fails when the mint is canceled.
func slow(d time.Duration, a answer) answer {
	return func(ctx context.Context, c call) (token.Token, error) {
		select {
		case <-time.After(d):
			return a(ctx, c)
		case <-ctx.Done():
			return token.Token{}, ctx.Err()
		}
	}
}

// uncancellable answers after d, even if the mint is canceled.
func uncancellable(d time.Duration, a answer) answer {
	return func(ctx context.Context, c call) (token.Token, error) {
		time.Sleep(d)
		return a(ctx, c)
	}
}

// hangs answers only when the mint is canceled.
func hangs(ctx context.Context, _ call) (token.Token, error) {
	<-ctx.Done()
	return token.Token{}, ctx.Err()
}

type fakeAccount struct {
	name, revision, host string
	serial, client       string
	policy               Policy
	unshared             bool
	provider             *fakeProvider
}

func (a *fakeAccount) Revision() string  { return a.revision }
func (a *fakeAccount) Policy() Policy    { return a.policy }
func (a *fakeAccount) Share() bool       { return !a.unshared }
func (a *fakeAccount) Host() string      { return a.host }
func (a *fakeAccount) SerialKey() string { return a.serial }
func (a *fakeAccount) RateKey() string   { return a.host + a.client }

func (a *fakeAccount) Mint(ctx context.Context, refresh secret.String, force bool) (token.Token, error) {
	p := a.provider
	p.mu.Lock()
	c := call{fakeAccount: a, n: len(p.calls) + 1, refresh: refresh, force: force, at: time.Now()}
	p.calls = append(p.calls, c)
	sent := p.clock()
	p.running++
	p.maxRunning = max(p.maxRunning, p.running)
	answer := p.answer
	p.mu.Unlock()
	defer func() {
		p.mu.Lock()
		defer p.mu.Unlock()
		p.running--
	}()
	t, err := answer(ctx, c)
	t.Sent = sent
	if t.Access == "" {
		t.Access = accessToken(c.n)
	}
	return t, err
}

// saved is a stored token with its revision.
type saved struct {
	revision string
	token    token.Token
}

// With this answer, mints with a refresh token fail, and logins succeed.
func refuses(kind token.Kind, retryAfter time.Duration) answer {
	return func(ctx context.Context, c call) (token.Token, error) {
		if c.refresh != "" {
			return fails(kind, retryAfter)(ctx, c)
		}
		return sessions(time.Hour, 0)(ctx, c)
	}
}

// fakeStore keeps configs and tokens in memory.
type fakeStore struct {
	mu        sync.Mutex
	accounts  map[string]*fakeAccount
	tokens    map[string]saved
	loads     int
	loadsFail bool
	failNext  int               // how many of the next saves and removals fail
	onLoad    func(name string) // may be nil
	onSave    func(name string, a Account, t token.Token)
	onRemove  func(name string, err error)
}

func newFakeStore() *fakeStore {
	return &fakeStore{accounts: map[string]*fakeAccount{}, tokens: map[string]saved{}}
}

// write stores a config. If the revision changed, write deletes the stored token.
func (s *fakeStore) write(a *fakeAccount) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if t, ok := s.tokens[a.name]; ok && t.revision != a.revision {
		delete(s.tokens, a.name)
	}
	s.accounts[a.name] = a
}

func (s *fakeStore) delete(name string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.accounts, name)
	delete(s.tokens, name)
	return nil
}

// failSaves makes the next n saves and removals fail.
func (s *fakeStore) failSaves(n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.failNext = n
}

// writeFails reports whether this save or removal must fail. The caller holds s.mu.
func (s *fakeStore) writeFails() bool {
	s.failNext--
	return s.failNext >= 0
}

var errStorage = errors.New("storage is down")

func (s *fakeStore) Load(_ context.Context, name string) (Account, *token.Token, error) {
	if s.onLoad != nil {
		s.onLoad(name)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.loads++
	a := s.accounts[name]
	switch {
	case s.loadsFail:
		return nil, nil, errStorage
	case a == nil:
		return nil, nil, fmt.Errorf("loading %s: %w", name, ErrNotFound)
	}
	if t, ok := s.tokens[name]; ok && t.revision == a.revision {
		stored := t.token
		stored.Sent = clock.Instant{Wall: stored.Sent.Wall}
		return a, &stored, nil
	}
	return a, nil, nil
}

func (s *fakeStore) Save(_ context.Context, name string, a Account, t token.Token) error {
	if s.onSave != nil {
		s.onSave(name, a, t)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.writeFails() {
		return errStorage
	}
	s.tokens[name] = saved{a.Revision(), t}
	return nil
}

func (s *fakeStore) Remove(_ context.Context, name string) (err error) {
	if s.onRemove != nil {
		defer func() { s.onRemove(name, err) }()
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.writeFails() {
		return errStorage
	}
	delete(s.tokens, name)
	return nil
}
