// SPDX-License-Identifier: MPL-2.0

package providers

import (
	"context"
	"sync"
	"time"

	"vault-plugin-secrets-messaging/internal/token"
)

// SerialLogins is a [Provider] at which two logins of one user may not be under way
// at once. Keycloak, with brute-force detection on, refuses the second in the
// words of a wrong password, and so it does for a moment after the first.
type SerialLogins interface {
	// User names the user that s logs in as; "" if its logins may run at once.
	User(s Settings) string
}

// loginPause is how long a login waits after the one before it of the same user,
// so that Keycloak has noted the end of that one.
const loginPause = 100 * time.Millisecond

// logins lets the logins of one user through one at a time. It is safe for
// concurrent use.
type logins struct {
	mu    sync.Mutex
	users map[string]*turn // those who log in or wait to
}

// turn is the right of one user to log in.
type turn struct {
	free    chan struct{} // holds one value while no one logs in
	waiting int           // guarded by the mu of logins
}

func newLogins() *logins { return &logins{users: map[string]*turn{}} }

// login mints a token by p, in its turn.
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
		return token.Token{}, &token.Error{Kind: token.Unavailable, Problem: "another login of the same user is under way", Cause: ctx.Err()}
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

// pass gives the turn to the next, after a pause.
func (l *logins) pass(user string, t *turn) {
	l.join(user) // what is known of the user stays until the pause is over
	time.AfterFunc(loginPause, func() {
		t.free <- struct{}{}
		l.leave(user, t)
	})
}
