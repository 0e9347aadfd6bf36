// SPDX-License-Identifier: MPL-2.0

package providers

import (
	"context"
	"errors"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"vault-plugin-secrets-messaging/internal/secret"
	"vault-plugin-secrets-messaging/internal/token"
)

// solo is a provider whose logins take a second and must not meet.
type solo struct {
	mu      sync.Mutex
	running map[string]int
	most    int
	times   []time.Time
}

func (*solo) Spec() Spec             { return Spec{Name: "solo"} }
func (*solo) User(s Settings) string { return s.Value("username") }

func (p *solo) Mint(_ context.Context, _ *Client, s Settings) (token.Token, error) {
	user := s.TokenURL + s.Value("username")
	p.mu.Lock()
	p.running[user]++
	p.most = max(p.most, p.running[user])
	p.times = append(p.times, time.Now())
	p.mu.Unlock()
	time.Sleep(time.Second)
	p.mu.Lock()
	defer p.mu.Unlock()
	p.running[user]--
	return token.Token{}, nil
}

func (p *solo) login(t *testing.T, c *Client, url, user string, n int) time.Duration {
	began := time.Now()
	var all sync.WaitGroup
	for range n {
		all.Go(func() {
			s := Settings{TokenURL: url, Values: map[string]secret.String{"username": secret.String(user)}}
			if _, err := Renew(t.Context(), p, c, s, ""); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	return time.Since(began)
}

func TestLoginsOfOneUserFollowEachOther(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, c := &solo{running: map[string]int{}}, &Client{logins: newLogins()}
		if took := p.login(t, c, "u", "acme", 5); p.most != 1 || took != 5*time.Second+4*loginPause {
			t.Errorf("%d at once, took %s", p.most, took)
		}
		p.most = 0
		if took := p.login(t, c, "u", "", 5); p.most != 5 || took != time.Second {
			t.Errorf("of no user: %d at once, took %s", p.most, took)
		}
		time.Sleep(loginPause)
		synctest.Wait()
		if n := len(c.logins.users); n != 0 {
			t.Errorf("%d users are remembered", n)
		}
	})
}

func TestLoginsOfDifferentUsersRunAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, c := &solo{running: map[string]int{}}, &Client{logins: newLogins()}
		began := time.Now()
		var all sync.WaitGroup
		all.Go(func() { p.login(t, c, "u", "acme", 1) })
		all.Go(func() { p.login(t, c, "u", "other", 1) })
		all.Go(func() { p.login(t, c, "elsewhere", "acme", 1) })
		all.Wait()
		if took := time.Since(began); took != time.Second {
			t.Errorf("took %s", took)
		}
		time.Sleep(loginPause)
	})
}

func TestLoginThatGivesUpItsTurn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, c := &solo{running: map[string]int{}}, &Client{logins: newLogins()}
		go p.login(t, c, "u", "acme", 1)
		synctest.Wait()
		ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
		defer cancel()
		_, err := Renew(ctx, p, c, Settings{TokenURL: "u", Values: map[string]secret.String{"username": "acme"}}, "")
		var e *token.Error
		if !errors.As(err, &e) || e.Kind != token.Unavailable || !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("%v", err)
		}
		time.Sleep(time.Second + loginPause)
	})
}
