// SPDX-License-Identifier: MPL-2.0

package tokencache

import (
	"context"
	"errors"
	"fmt"
	"time"

	"vault-plugin-secrets-messaging/internal/clock"
	"vault-plugin-secrets-messaging/internal/token"
)

// ErrUnshared reports that a rotate failed because the account is unshared.
var ErrUnshared = errors.New("the account has no shared token")

// Rotated is the outcome of Rotate.
type Rotated struct {
	Grant

	// Replaced holds the tokens that were replaced since the rotate began. The caller revokes them.
	// If several rotates wait for a mint, only one of them returns the token that the mint
	// replaced.
	Replaced []Replaced

	Shared  bool  // another rotate within the last 10 s logged in
	Again   bool  // the provider returned the cached token again
	Unsaved error // why the new token was not saved; a tick tries again
}

// Replaced is a token that is no longer served, and the account under which it was minted.
type Replaced struct {
	Account Account
	Token   token.Token
}

// Rotate replaces the named account's token with a new token and returns the new token. It does
// not count as a read. It logs in even if there is a refresh token. First it ends the backoff,
// unless a Retry-After has not passed. If the login fails, readers still get the cached token.
// Concurrent rotates share one login. A rotate within 10 s after the login returns the same
// result, because some clients repeat a failed request by themselves. If the account is unshared,
// the error wraps ErrUnshared.
func (c *Cache) Rotate(ctx context.Context, name string) (Rotated, error) {
	var r Rotated
	for {
		e, err := c.entry(ctx, name)
		if err != nil {
			return r, err
		}
		if err = c.rotate(ctx, e, &r); !errors.Is(err, errSuperseded) {
			return r, err
		}
	}
}

// rotate waits for one mint. It returns errSuperseded if the rotate must wait for another mint.
func (c *Cache) rotate(ctx context.Context, e *entry, r *Rotated) error {
	m, err := c.joinRotation(e, r)
	if err != nil {
		return err
	}
	select {
	case <-m.done:
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-c.ctx.Done():
		return ErrClosed
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	now := c.clock()
	if m.replaced != nil { // handed out once
		r.Replaced = append(r.Replaced, Replaced{m.account, *m.replaced})
		m.replaced = nil
	}
	switch {
	case m.superseded || e.gone:
		return errSuperseded
	case m.noSlot:
		return ErrStillMinting
	case !m.loggedIn: // the mint used the refresh token
		return errSuperseded
	case m.failure != nil:
		return m.failure
	case e.cached.left(now) <= 0:
		return errSuperseded
	}
	r.Grant, r.Unsaved, r.Again = e.published.Load().peek(now, 0), m.unsaved, m.again
	return nil
}

// joinRotation returns the mint that a rotate must wait for, and starts one if none runs.
func (c *Cache) joinRotation(e *entry, r *Rotated) (*mint, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	now := c.clock()
	switch {
	case e.gone:
		return nil, errSuperseded
	case !e.account.Share():
		return nil, ErrUnshared
	case e.rotated(now):
		r.Shared = true
		return e.rotation, nil
	}
	e.backoff.clear(now)
	if failure := e.backoff.blocked(now); failure != nil {
		c.publish(e)
		return nil, failure
	}
	if left, wait := e.cached.left(now), now.Until(e.oldEnough()); left > 0 && wait > 0 {
		return nil, &token.Error{Kind: token.RateLimited, Problem: fmt.Sprintf(
			"the provider allows no new token before %s", now.Wall.Add(wait).UTC().Format(time.RFC3339))}
	}
	// A running login serves the rotate too, because nobody has seen its token yet. A mint that
	// uses the refresh token continues the old session, so a login must follow that mint.
	m := e.mint
	if m == nil {
		if err := c.opts.MayMint(e.account, true); err != nil {
			return nil, err
		}
		m = c.startMint(e, now, rotation, nil)
	}
	if m.refresh == "" {
		e.rotation = m
	}
	return m, nil
}

// rotated reports whether a new rotate can share the result of the last or the running rotate.
func (e *entry) rotated(now clock.Instant) bool {
	m := e.rotation
	if m == nil || m == e.mint {
		return m != nil
	}
	return !m.noSlot && now.Since(m.ended) < newest && (m.failure != nil || e.cached.left(now) > 0)
}
