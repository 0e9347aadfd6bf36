// SPDX-License-Identifier: MPL-2.0

package messaging

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hashicorp/vault/sdk/helper/consts"
	"github.com/hashicorp/vault/sdk/logical"

	"vault-plugin-secrets-messaging/internal/account"
	"vault-plugin-secrets-messaging/internal/secret"
	"vault-plugin-secrets-messaging/internal/token"
	"vault-plugin-secrets-messaging/providers"
)

// spender is a provider that accepts each refresh token once. A second use ends all tokens of the
// same consent (RFC 9700 §4.14.2).
type spender struct {
	providers.Base

	mu       sync.Mutex
	current  string // the refresh token of the only consent; "" after the consent was ended
	issued   int
	requests int
	ended    int // consents that a second use has ended

	// The functions run before and after each use of a refresh token. Both may be nil. If the first
	// fails, the refresh token stays unused. If the second fails, the answer is lost.
	before, after func() error
}

func (*spender) Spec() providers.Spec {
	return providers.Spec{
		Name: "spender", Title: "Spender.", SpendsRefresh: true,
		Fields: []providers.Field{
			{Name: "refresh_token", Required: true, Secret: true, Description: "The refresh token."},
			{Name: "client_secret", Secret: true, Description: "The client secret."},
		},
		Endpoints: []providers.Endpoint{{Environment: "production", TokenURL: "https://spender.example/token"}},
	}
}

// consent returns a refresh token of a new consent.
func (p *spender) consent() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.issued++
	p.current = fmt.Sprintf("refresh-hunter2-%d", p.issued)
	return p.current
}

func (p *spender) Mint(_ context.Context, _ *providers.Client, s providers.Settings) (token.Token, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.requests++
	if p.before != nil {
		if err := p.before(); err != nil {
			return token.Token{}, err
		}
	}
	if s.Value("refresh_token") != p.current {
		if p.current != "" {
			p.current = ""
			p.ended++
		}
		return token.Token{}, &token.Error{Kind: token.Refused, Status: 400, Code: "invalid_grant"}
	}
	p.issued++
	p.current = fmt.Sprintf("refresh-hunter2-%d", p.issued)
	if p.after != nil {
		if err := p.after(); err != nil {
			return token.Token{}, err
		}
	}
	return token.Token{Access: secret.String(fmt.Sprintf("access-token-%d", p.issued)), Type: "Bearer",
		Lifetime: time.Hour, Refresh: secret.String(p.current)}, nil
}

func (p *spender) set(before, after func() error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.before, p.after = before, after
}

// counts returns how many requests came, and how many consents the provider ended.
func (p *spender) counts() (requests, ended int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.requests, p.ended
}

// wantCounts fails the test unless counts returns these two numbers.
func (p *spender) wantCounts(t *testing.T, when string, requests, ended int) {
	t.Helper()
	gotRequests, gotEnded := p.counts()
	equal(t, "requests and ended consents "+when, []int{gotRequests, gotEnded}, []int{requests, ended})
}

var errNoAnswer = &token.Error{Kind: token.Unavailable, Problem: "no complete answer"}

// newSpenderMount returns a mount with a config of a spender.
func newSpenderMount(t *testing.T) (*mount, *spender) {
	p := &spender{}
	m := newBareMount(t, []providers.Provider{p})
	m.write("config/a", fields{"provider": "spender", "refresh_token": p.consent()}).want(t, http.StatusNoContent)
	return m, p
}

// wantRefreshState fails the test unless status shows this state of the refresh token.
func (m *mount) wantRefreshState(want string) {
	m.t.Helper()
	equal(m.t, "refresh_token_state", m.status("refresh_token_state"), want)
}

// waitForMint waits until no mint of config/a runs, so that the clock does not advance during a
// mint.
func (m *mount) waitForMint() {
	m.t.Helper()
	eventually(m.t, "the mint ends", func() bool { return m.status("state") != "refreshing" })
}

func TestRefreshTokenIsKept(t *testing.T) {
	m, p := newSpenderMount(t)
	seed := "refresh-hunter2-1"
	first := m.token("a")
	m.wantRefreshState("stored")
	for step, act := range map[string]func(){
		"a refresh":                func() { m.clock.advance(55 * time.Minute); m.tick(); m.waitForMint() },
		"a rotate":                 func() { m.rotate("a").want(t, http.StatusOK) },
		"a restart":                func() { m = m.restart() },
		"the same refresh token":   func() { m.write("config/a", fields{"refresh_token": seed}).want(t, http.StatusNoContent) },
		"another client secret":    func() { m.patch("config/a", fields{"client_secret": "hunter2"}).want(t, http.StatusNoContent) },
		"another field":            func() { m.patch("config/a", fields{"min_ttl": 60}).want(t, http.StatusNoContent) },
		"a write of another node":  func() { m.InvalidateKey(t.Context(), account.RefreshPrefix+"a") },
		"a config of another node": func() { m.InvalidateKey(t.Context(), account.ConfigPrefix+"a") },
		"a write that is refused": func() {
			m.patch("config/a", fields{"share": false}).want(t, http.StatusBadRequest, "share: must be true")
		},
		"a token that was rejected": func() { m.clock.advance(time.Minute); m.read("creds/a?rejected=x") },
	} {
		act()
		m.clock.advance(2 * time.Hour)
		differ(t, "token after "+step, m.token("a"), first)
		m.wantRefreshState("stored")
	}
	_, ended := p.counts()
	equal(t, "ended consents", ended, 0)
}

// Terraform writes the first refresh token again at every apply. Such a write changes nothing.
func TestSpentRefreshTokenIsWrittenAgain(t *testing.T) {
	m, p := newSpenderMount(t)
	access := m.token("a")
	before, _ := p.counts()
	for range 3 {
		m.write("config/a", fields{"provider": "spender", "refresh_token": "refresh-hunter2-1"}).want(t, http.StatusNoContent)
	}
	equal(t, "token", m.token("a"), access)
	p.wantCounts(t, "after the writes", before, 0)
}

// A user who knows an old refresh token cannot redirect the newest refresh token to another
// endpoint.
func TestSpentRefreshTokenMovesNothing(t *testing.T) {
	m, p := newSpenderMount(t)
	p.set(func() error { return errNoAnswer }, nil)
	m.patch("config/a", fields{"refresh_token": "refresh-hunter2-1", "token_url": "https://evil.example/token", "verify_connection": false}).want(t, http.StatusNoContent)
	entry, _ := m.storage.InmemStorage.Get(t.Context(), account.RefreshPrefix+"a")
	if entry != nil && strings.Contains(string(entry.Value), p.current) {
		t.Errorf("got the record %s after a write of another endpoint, want it without the current refresh token", entry.Value)
	}
}

func TestRefreshTokenOutcomes(t *testing.T) {
	fails := func(e token.Error) func() error { return func() error { return &e } }
	for name, test := range map[string]struct {
		before, after func() error
		state         string // after the failed use
		lost          bool   // after a further use
	}{
		"no connection":             {before: fails(token.Error{Kind: token.Unavailable, Unsent: true}), state: "stored"},
		"a 429":                     {before: fails(token.Error{Kind: token.RateLimited, Status: 429}), state: "stored"},
		"a 503":                     {before: fails(token.Error{Kind: token.Unavailable, Status: 503}), state: "stored"},
		"a wrong client secret":     {before: fails(token.Error{Kind: token.Refused, Status: 401, Code: "invalid_client"}), state: "stored"},
		"a blocked account":         {before: fails(token.Error{Kind: token.Refused, Operator: true, Code: "-1"}), state: "stored"},
		"a 500 before the use":      {before: fails(token.Error{Kind: token.Unavailable, Status: 500}), state: "unknown"},
		"a timeout before the use":  {before: func() error { return errNoAnswer }, state: "unknown"},
		"a timeout after the use":   {after: func() error { return errNoAnswer }, state: "unknown", lost: true},
		"a bad answer to the use":   {after: fails(token.Error{Kind: token.Malformed, Status: 200}), state: "unknown", lost: true},
		"a panic before the answer": {after: func() error { panic("hunter2") }, state: "unknown", lost: true},
		"a refusal":                 {before: fails(token.Error{Kind: token.Refused, Status: 400, Code: "invalid_grant"}), state: "lost", lost: true},
	} {
		t.Run(name, func(t *testing.T) {
			m, p := newSpenderMount(t)
			p.set(test.before, test.after)
			m.clock.advance(2 * time.Hour)
			if a := m.read("creds/a"); a.status < 400 {
				t.Errorf("got %d for a read while the provider fails, want an error", a.status)
			}
			m.wantRefreshState(test.state)
			p.set(nil, nil)
			m.clock.advance(2 * time.Hour)
			a := m.read("creds/a")
			if !test.lost {
				a.want(t, http.StatusOK)
				m.wantRefreshState("stored")
				return
			}
			a.want(t, http.StatusBadRequest, "the provider no longer accepts the refresh token", "write it to refresh_token")
			m.wantRefreshState("lost")
			before, ended := p.counts()
			m.clock.advance(2 * time.Hour)
			m.read("creds/a").want(t, http.StatusBadRequest)
			m.restart().read("creds/a").want(t, http.StatusBadRequest)
			p.wantCounts(t, "with a lost refresh token", before, ended)
			m.write("config/a", fields{"refresh_token": p.consent()}).want(t, http.StatusNoContent)
			m.read("creds/a").want(t, http.StatusOK)
			m.wantRefreshState("stored")
		})
	}
}

// If a refresh gets no answer, the engine repeats the refresh only when the access token is about
// to end.
func TestUnknownRefreshTokenWaits(t *testing.T) {
	m, p := newSpenderMount(t)
	m.token("a")
	p.set(func() error { return errNoAnswer }, nil)
	m.rotate("a").want(t, http.StatusBadGateway)
	p.set(nil, nil)
	m.wantRefreshState("unknown")
	before, _ := p.counts()
	for _, n := range []*mount{m, m.restart()} {
		n.clock.advance(25 * time.Minute) // in the refresh window at the second time
		n.token("a")
		n.tick()
		n.token("a")
	}
	p.wantCounts(t, "while the token lives", before, 0)
	m.clock.advance(10*time.Minute - 20*time.Second)
	m.token("a")
	m.wantRefreshState("stored")
	p.wantCounts(t, "near the end of the token", before+1, 0)
}

// Only the primary cluster uses a refresh token. Other clusters serve the replicated access
// token.
func TestRefreshTokenOnASecondary(t *testing.T) {
	for _, local := range []bool{false, true} {
		m, p := newSpenderMount(t)
		access := m.token("a")
		before, _ := p.counts()
		n := m.restart()
		n.system = &system{state: consts.ReplicationPerformanceSecondary, local: local}
		n.start()
		equal(t, fmt.Sprintf("local=%t: token on the secondary", local), n.token("a"), access)
		n.clock.advance(55 * time.Minute)
		n.tick()
		n.waitForMint()
		n.storage.takeCalls()
		n.system.takeCalls()
		for range 3 {
			n.token("a")
		}
		if local {
			n.clock.advance(time.Hour)
			n.token("a") // a local mount has no primary
			continue
		}
		calls, _ := n.system.takeCalls()
		stored := slices.DeleteFunc(n.storage.takeCalls(), func(call string) bool { return call == "list wal/" }) // of the tick
		if len(stored) > 0 || calls > 1 {
			t.Errorf("got %d calls of the system view and the calls %q of storage in cached reads, want at most one of the system view in a second", calls, stored)
		}
		n.clock.advance(time.Hour)
		for _, a := range []answer{n.read("creds/a"), n.rotate("a")} {
			equal(t, a.request+" without a live token is forwarded", a.forwarded, true)
		}
		n.scrape().want(t, of("a", "spender", map[string]float64{`reads_total served="failed"`: 0})) // the primary answers
		p.wantCounts(t, "on the secondary", before, 0)
	}
}

// Cleanup waits until the next refresh token is stored.
func TestCleanupWaitsForRefreshTokens(t *testing.T) {
	m, p := newSpenderMount(t)
	begun, answer := make(chan struct{}), make(chan struct{})
	p.set(func() error { close(begun); <-answer; return nil }, nil)
	go m.requestWith(context.Background(), logical.UpdateOperation, "rotate/a", nil)
	<-begun
	go func() { time.Sleep(50 * time.Millisecond); close(answer) }()
	m.Cleanup(t.Context())
	p.set(nil, nil)
	n := m.restart()
	n.wantRefreshState("stored")
	n.clock.advance(2 * time.Hour)
	n.token("a")
	_, ended := p.counts()
	equal(t, "ended consents", ended, 0)
}
