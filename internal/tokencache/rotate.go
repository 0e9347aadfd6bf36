// SPDX-License-Identifier: MPL-2.0

package tokencache

import (
	"context"
	"errors"

	"vault-plugin-secrets-messaging/internal/clock"
)

// Rotate replaces the named account's token with a new token and returns it, without
// counting a read. Rotate logs in even if there is a refresh token. It forgets earlier
// failures first, except a Retry-After that has not passed. Concurrent rotates share one
// login. Rotates within 10 s of the login's end share its result, because some clients
// repeat a failed request by themselves. If the login fails, readers keep the cached token.
func (c *Cache) Rotate(ctx context.Context, name string) (Grant, error) {
	for {
		e, err := c.entry(ctx, name)
		if err != nil {
			return Grant{}, err
		}
		g, err := c.rotate(ctx, e)
		if !errors.Is(err, errSuperseded) {
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
	m := e.rotation
	if !e.rotated(now) {
		e.backoff.clear(now)
		if failure := e.backoff.blocked(now); failure != nil {
			c.publish(e)
			e.mu.Unlock()
			return Grant{}, failure
		}
		// A running login brings a token that nobody has seen, so rotate joins it. A
		// running refresh brings a token of the old session, so a login must follow it.
		if m = e.mint; m == nil {
			m = c.startMint(e, now, rotation)
		}
		if m.refresh == "" {
			e.rotation = m
		}
		m.promote()
	}
	e.mu.Unlock()

	select {
	case <-m.done:
	case <-ctx.Done():
		return Grant{}, ctx.Err()
	case <-c.ctx.Done():
		return Grant{}, ErrClosed
	}
	s, now := e.snapshot.Load(), c.clock()
	switch {
	case m.superseded || m.refresh != "" || s.gone:
		return Grant{}, errSuperseded
	case m.failure != nil:
		return Grant{}, m.failure
	case s.cached.left(now) <= 0:
		return Grant{}, errSuperseded
	}
	g := s.peek(now, 0)
	g.Replaced = m.replaced
	return g, nil
}

// rotated reports whether the result of the last rotate, or of the running one, also
// answers a rotate now; the caller holds e.mu.
func (e *entry) rotated(now clock.Instant) bool {
	m := e.rotation
	if m == nil || m == e.mint {
		return m != nil
	}
	return now.Since(m.ended) < newest && (m.failure != nil || e.cached.left(now) > 0)
}
