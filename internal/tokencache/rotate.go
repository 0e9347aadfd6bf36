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

// ErrUnshared reports that an unshared account has no token to rotate.
var ErrUnshared = errors.New("the account has no shared token")

// Rotated is the outcome of Rotate.
type Rotated struct {
	Grant

	// Replaced holds the tokens that were replaced since the rotate began. The caller revokes these
	// tokens. Concurrent rotates never return the same replaced token.
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

// Rotate logs in, even if there is a refresh token, and returns the named account's new token.
// First, Rotate ends the backoff, except a Retry-After that has not passed. If the login fails,
// readers still get the cached token. Concurrent rotates share one login. Rotates within the next
// 10 s share the result, because some clients repeat failed requests. If the account is unshared,
// the error wraps ErrUnshared. A rotate does not count as a read.
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

// rotate joins or starts a mint, and waits for the mint. If the error is errSuperseded, call rotate
// again.
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

// joinRotation returns the mint that a rotate must wait for. If no mint runs, joinRotation starts a
// mint.
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
	// A rotate needs the token of a new login. If the running mint uses the refresh token, the
	// rotate waits for that mint and then logs in.
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

// rotated reports whether a rotate can share the result of an earlier rotate.
func (e *entry) rotated(now clock.Instant) bool {
	m := e.rotation
	if m == nil || m == e.mint {
		return m != nil
	}
	return !m.noSlot && now.Since(m.ended) < newest && (m.failure != nil || e.cached.left(now) > 0)
}
