// SPDX-License-Identifier: MPL-2.0

package providers

import (
	"context"
	"errors"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"vault-plugin-secrets-messaging/internal/clock"
	"vault-plugin-secrets-messaging/internal/secret"
	"vault-plugin-secrets-messaging/internal/token"
)

// serialProvider is a [SerialLogins] provider whose logins take a second.
type serialProvider struct {
	mu         sync.Mutex
	running    map[string]int // logins by token URL and user
	maxRunning int            // the most logins of one user at the same time
}

func (*serialProvider) Spec() Spec             { return Spec{Name: "serial"} }
func (*serialProvider) User(s Settings) string { return s.Value("username") }

func (p *serialProvider) Mint(_ context.Context, _ *Client, s Settings) (token.Token, error) {
	user := s.TokenURL + s.Value("username")
	p.mu.Lock()
	p.running[user]++
	p.maxRunning = max(p.maxRunning, p.running[user])
	p.mu.Unlock()
	time.Sleep(time.Second)
	p.mu.Lock()
	defer p.mu.Unlock()
	p.running[user]--
	return token.Token{}, nil
}

func TestLogins(t *testing.T) {
	acme := Settings{TokenURL: "u", Values: values("username", "acme")}
	other := Settings{TokenURL: "u", Values: values("username", "other")}
	elsewhere := Settings{TokenURL: "elsewhere", Values: values("username", "acme")}
	for name, test := range map[string]struct {
		logins     []Settings
		maxRunning int
		took       time.Duration
	}{
		"of one user":        {[]Settings{acme, acme, acme, acme, acme}, 1, 5*time.Second + 4*loginPause},
		"without a user":     {[]Settings{{TokenURL: "u"}, {TokenURL: "u"}, {TokenURL: "u"}}, 3, time.Second},
		"of different users": {[]Settings{acme, other, elsewhere}, 1, time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p, c := &serialProvider{running: map[string]int{}}, &Client{logins: newLogins(), clock: clock.System()}
				began := time.Now()
				var all sync.WaitGroup
				for _, s := range test.logins {
					all.Go(func() {
						if _, err := Renew(t.Context(), p, c, s, ""); err != nil {
							t.Error(err)
						}
					})
				}
				all.Wait()
				if took := time.Since(began); p.maxRunning != test.maxRunning || took != test.took {
					t.Errorf("got %d logins of a user at once, in %s; want %d in %s", p.maxRunning, took, test.maxRunning, test.took)
				}
				time.Sleep(loginPause)
				synctest.Wait()
				if n := len(c.logins.users); n != 0 {
					t.Errorf("got %d users after the last login, want none", n)
				}
			})
		})
	}
}

func TestLoginGivesUpItsTurn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, c := &serialProvider{running: map[string]int{}}, &Client{logins: newLogins(), clock: clock.System()}
		s := Settings{TokenURL: "u", Values: values("username", "acme")}
		go Renew(t.Context(), p, c, s, "")
		synctest.Wait()
		ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
		defer cancel()
		_, err := Renew(ctx, p, c, s, "")
		var e *token.Error
		if !errors.As(err, &e) || e.Kind != token.Unavailable || !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("got %v, want it unavailable because of the deadline", err)
		}
		time.Sleep(time.Second + loginPause)
	})
}

func TestUser(t *testing.T) {
	for _, test := range []struct {
		provider SerialLogins
		values   map[string]secret.String
		want     string
	}{
		{sinchIndia{}, values("username", "acme", "password", hidden), "acme"},
		{oauth2{}, values("client_id", "acme", "grant_type", "password", "username", "joe", "password", hidden), "joe"},
		{oauth2{}, values("client_id", "acme", "client_secret", hidden), ""},
	} {
		if got := test.provider.User(Settings{Values: test.values}); got != test.want {
			t.Errorf("%T with %v: got user %q, want %q", test.provider, test.values, got, test.want)
		}
	}
}
