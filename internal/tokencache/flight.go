// SPDX-License-Identifier: MPL-2.0

package tokencache

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"time"

	"vault-plugin-secrets-messaging/internal/secret"
)

// flightTimeout ends a mint, however patient its account is. An Account bounds
// its own exchanges; this is for one that does not.
const flightTimeout = 2 * time.Minute

// purpose is what a flight is for.
type purpose int

const (
	awaited purpose = iota // a reader waits for it
	behind                 // a refresh that no one waits for
	rotates                // an operator wants the token replaced: by login, not by refresh token
)

// flight is one mint under way. It belongs to the cache, not to the reader that
// began it, and goes on when that reader gives up.
type flight struct {
	account Account
	purpose purpose
	cancel  context.CancelFunc
	began   Instant

	// patience lives until someone waits for the flight, who calls hurry.
	patience context.Context
	hurry    context.CancelFunc

	refresh  secret.String // "" to log in
	previous time.Duration // the lifetime of the token that it replaces; 0 if none

	// done is closed when the flight has ended; what follows is set before.
	done       chan struct{}
	superseded bool     // its account is no longer the current one
	failure    *Failure // nil if it succeeded
	landed     Instant  // when it ended
	replaced   *Token   // by the token that it minted; nil if there was none
}

// Flight is a mint that ended, for logs and metrics.
type Flight struct {
	Name    string
	Account Account
	Rotated bool          // begun by Rotate
	Own     bool          // for one reader alone
	Took    time.Duration // on the monotonic clock, with the wait for a slot
	Failure *Failure      // nil if it succeeded
	After   int           // how many failed in a row before it
}

// takeOff begins a mint for e; the caller holds e.mu and has seen that none is
// under way.
func (c *Cache) takeOff(e *entry, now Instant, p purpose) *flight {
	ctx, cancel := context.WithTimeout(c.ctx, flightTimeout)
	f := &flight{account: e.account, purpose: p, cancel: cancel, began: now, done: make(chan struct{})}
	f.patience, f.hurry = context.WithCancel(ctx)
	if p != behind {
		f.hurry()
	}
	if e.held != nil && p != rotates {
		f.refresh, f.previous = e.held.refreshToken(now), e.held.Lifetime
	}
	e.flight = f
	c.publish(e)
	go func() {
		defer cancel()
		m, err := c.mint(ctx, f)
		if ended := c.land(ctx, e, f, m, err); ended != nil {
			c.tell(*ended)
		}
	}()
	return f
}

// ground gives up the flight of e, if there is one; the caller holds e.mu. Its
// waiters begin again at once.
func (e *entry) ground() {
	if f := e.flight; f != nil {
		f.superseded = true
		f.cancel()
		close(f.done)
		e.flight = nil
	}
}

func (c *Cache) mint(ctx context.Context, f *flight) (m Minted, err error) {
	defer recovered(&err)
	leave, err := c.gate.enter(ctx, f.patience, f.account.Host())
	if err != nil {
		return Minted{}, err
	}
	defer leave()
	asked := c.clock()
	m, err = f.account.Mint(ctx, f.refresh)
	if err != nil {
		return Minted{}, err
	}
	// Took leaves out any time for which the machine was suspended.
	now := c.clock()
	took := m.Took + now.Since(asked) - (now.Mono - asked.Mono)
	if span := f.account.Policy().span(m.Lifetime); span.lifetime <= took {
		return Minted{}, &MintError{Kind: Malformed, Err: fmt.Errorf(
			"the token lives %s and took %s to come", span.lifetime, took.Round(time.Millisecond))}
	}
	m.Sent = now.Add(-took)
	// A session that nears its end answers refreshes with ever shorter tokens
	// (Keycloak cuts them to what is left of it, and may round by a second): the
	// next mint is a login.
	if f.refresh != "" && m.Lifetime <= f.previous/10*9 && m.Lifetime < f.previous-time.Second {
		m.Refresh = ""
	}
	return m, nil
}

// land ends f: it stores the token, shows it to readers, and wakes those who wait.
// It returns what is to be told of f; nil if f was given up.
func (c *Cache) land(ctx context.Context, e *entry, f *flight, m Minted, err error) *Flight {
	stripe := c.stripe(e.name)
	stripe.Lock()
	defer stripe.Unlock()

	e.mu.Lock()
	current := e.flight == f && c.ctx.Err() == nil
	e.mu.Unlock()
	if !current {
		return nil
	}
	if err == nil {
		err = c.save(ctx, e.name, f.account, m.Token)
	}

	// Only holders of the stripe take a flight from its entry: f is still there.
	e.mu.Lock()
	defer e.mu.Unlock()
	if errors.Is(err, errCrowded) && f.patience.Err() == nil {
		// No slot for a refresh that no one waits for: no one has failed, and the
		// next read or tick tries again.
		e.ground()
		c.publish(e)
		return nil
	}
	f.landed = c.clock()
	ended := Flight{Name: e.name, Account: e.account, Rotated: f.purpose == rotates, Took: f.landed.Mono - f.began.Mono}
	if last := e.backoff.last; last != nil {
		ended.After = last.Failures
	}
	if err == nil {
		if e.held != nil {
			f.replaced = &e.held.Token
		}
		e.minted(m.Token)
	} else {
		f.failure = e.backoff.failed(f.landed, err)
		e.lastFailure, ended.Failure = f.failure, f.failure
	}
	e.counts.mint(ended)
	e.flight = nil
	c.publish(e)
	close(f.done)
	return &ended
}

// tell tells of a mint that ended. What is told must not end the process.
func (c *Cache) tell(ended Flight) {
	var err error
	defer recovered(&err)
	if c.opts.Flown != nil {
		c.opts.Flown(ended)
	}
}

// save stores t. Its only error is a panic of the store's, which reports its failures.
func (c *Cache) save(ctx context.Context, name string, a Account, t Token) (err error) {
	defer recovered(&err)

	// A flight that took nearly all of its time still gets to store its token.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), storeTimeout)
	defer cancel()
	defer context.AfterFunc(c.ctx, cancel)()
	c.opts.Store.Save(ctx, name, a, t)
	return nil
}

// Rotate replaces the named account's token with a new one and returns it,
// uncounted as a read. It logs in, whether or not there is a refresh token, and
// forgets failures first, but for a Retry-After that still runs. Rotates share one
// attempt, and its outcome until 10 s after it ended: clients repeat one that
// failed by themselves. If it fails, the token in hand goes on being served.
func (c *Cache) Rotate(ctx context.Context, name string) (Grant, error) {
	for {
		e, err := c.entry(ctx, name)
		if err != nil {
			return Grant{}, err
		}
		g, err := c.rotate(ctx, e)
		if err != errSuperseded {
			return g, err
		}
	}
}

func (c *Cache) rotate(ctx context.Context, e *entry) (Grant, error) {
	e.mu.Lock()
	now := c.clock()
	if e.gone {
		e.mu.Unlock()
		return Grant{}, errSuperseded
	}
	f := e.rotation
	if !e.rotated(now) {
		e.backoff.clear(now)
		if failure := e.backoff.blocked(now); failure != nil {
			c.publish(e)
			e.mu.Unlock()
			return Grant{}, failure
		}
		// The token of a login under way is one that nobody has seen: it will do.
		// That of a refresh is of the old session: a login follows when it has ended.
		if f = e.flight; f == nil {
			f = c.takeOff(e, now, rotates)
		}
		if f.refresh == "" {
			e.rotation = f
		}
		f.hurry()
	}
	e.mu.Unlock()

	select {
	case <-f.done:
	case <-ctx.Done():
		return Grant{}, ctx.Err()
	case <-c.ctx.Done():
		return Grant{}, ErrClosed
	}
	v, now := e.view.Load(), c.clock()
	switch {
	case f.superseded || f.refresh != "" || v.gone:
		return Grant{}, errSuperseded
	case f.failure != nil:
		return Grant{}, f.failure
	case v.held.left(now) <= 0:
		return Grant{}, errSuperseded
	}
	g := v.peek(now, 0)
	g.Replaced = f.replaced
	return g, nil
}

// rotated reports whether the outcome of the last rotate, or of the one under way,
// is that of a rotate now as well; the caller holds e.mu.
func (e *entry) rotated(now Instant) bool {
	f := e.rotation
	if f == nil || f == e.flight {
		return f != nil
	}
	return now.Since(f.landed) < newest && (f.failure != nil || e.held.left(now) > 0)
}

// PanicError is the error of a mint, or of a load, that panicked.
type PanicError struct {
	Type  string // of the value that it panicked with, which may hold a secret
	Stack []byte // where
}

func (e *PanicError) Error() string { return "internal error (a panic, see the server's log)" }

// recovered makes an error of a panic: one that got away would end the process,
// and with it every mount that it serves.
func recovered(err *error) {
	if p := recover(); p != nil {
		*err = &PanicError{Type: fmt.Sprintf("%T", p), Stack: debug.Stack()}
	}
}

// errCrowded is what a mint gets that found no slot in time.
var errCrowded = errors.New("too many mints are under way")
