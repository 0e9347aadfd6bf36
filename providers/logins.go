// SPDX-License-Identifier: MPL-2.0

package providers

import (
	"context"
	"sync"
	"time"

	"vault-plugin-secrets-messaging/internal/token"
)

// SerialLogins is a [Provider] whose logins of one user must run one after another. Keycloak
// with brute-force detection refuses a login during another login of the user, and for a
// moment after that login, with the words for a wrong password.
type SerialLogins interface {
	// User returns the user that logs in; "" if logins with s may run at the same time.
	User(s Settings) string
}

// loginPause is the time between two logins of a user, in which Keycloak notes that the
// first login has ended.
const loginPause = 100 * time.Millisecond

// logins lets one login of each user run at a time. It is safe for concurrent use.
type logins struct {
	mu    sync.Mutex
	users map[string]*turn // users with a login that runs or waits
}

// turn is the right of one user to log in.
type turn struct {
	free    chan struct{} // holds one value while no login of the user runs
	waiting int           // logins that run or wait, and the pause; guarded by logins.mu
}

func newLogins() *logins { return &logins{users: map[string]*turn{}} }

// login mints a token when it is the turn of this login.
func (l *logins) login(ctx context.Context, p Provider, c *Client, s Settings) (token.Token, error) {
	serial, ok := p.(SerialLogins)
	if !ok || serial.User(s) == "" {
		return p.Mint(ctx, c, s)
	}
	user := s.TokenURL + " " + serial.User(s)
	t := l.join(user)
	defer l.leave(user, t)
	select {
	case <-t.free:
	case <-ctx.Done():
		return token.Token{}, &token.Error{Kind: token.Unavailable, Problem: "another login of the same user was still running", Cause: ctx.Err()}
	}
	defer l.pass(user, t)
	return p.Mint(ctx, c, s)
}

func (l *logins) join(user string) *turn {
	l.mu.Lock()
	defer l.mu.Unlock()
	t := l.users[user]
	if t == nil {
		t = &turn{free: make(chan struct{}, 1)}
		t.free <- struct{}{}
		l.users[user] = t
	}
	t.waiting++
	return t
}

func (l *logins) leave(user string, t *turn) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if t.waiting--; t.waiting == 0 {
		delete(l.users, user)
	}
}

// pass gives the turn to the next login after a pause.
func (l *logins) pass(user string, t *turn) {
	l.join(user) // so that the turn exists until the pause is over
	time.AfterFunc(loginPause, func() {
		t.free <- struct{}{}
		l.leave(user, t)
	})
}
