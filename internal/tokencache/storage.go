// SPDX-License-Identifier: MPL-2.0

package tokencache

import (
	"context"
	"fmt"
	"time"

	"vault-plugin-secrets-messaging/internal/secret"
	"vault-plugin-secrets-messaging/internal/token"
)

// Store keeps accounts and tokens in storage. The Cache makes one call per name at a time. Reads of
// a valid token never wait for the store.
type Store interface {
	// Load returns the named account and its token. If no token is stored for the account's
	// revision, the token is nil. Load sets the token's Sent.Wall, but not Sent.Mono. If the
	// account does not exist, the error wraps ErrNotFound.
	Load(ctx context.Context, name string) (Account, *token.Token, error)

	// Save stores the newest token of an account. If Save fails, the cache still serves the
	// token, and a later tick saves it.
	Save(ctx context.Context, name string, a Account, t token.Token) error

	// Remove removes the stored token of an account, if there is one.
	Remove(ctx context.Context, name string) error
}

const storeTimeout = 10 * time.Second // for a load, or for all store calls of one mint

// lock takes the lock in c.writing for name.
func (c *Cache) lock(name string) (unlock func()) {
	mu := c.writing.join(name)
	mu.Lock()
	return func() {
		mu.Unlock()
		c.writing.leave(name)
	}
}

// load loads the named account and its token from the store into memory.
func (c *Cache) load(name string) (*entry, error) {
	defer c.lock(name)()
	if e := c.inMemory(name); e != nil {
		return e, nil
	}
	ctx, cancel := context.WithTimeout(c.ctx, storeTimeout)
	defer cancel()
	a, t, err := c.opts.Store.Load(ctx, name)
	if err != nil {
		return nil, err
	}
	e := &entry{name: name}
	e.mu.Lock()
	defer e.mu.Unlock()
	e.account = a
	if t != nil {
		e.restore(c.clock(), *t)
	}
	c.publish(e)
	c.entries.Store(name, e)
	return e, nil
}

// replace stores t over an older token. If t cannot be stored, replace removes the older token,
// because an operator may have rotated a leaked token. The error says why t is not stored.
func (c *Cache) replace(ctx context.Context, name string, a Account, t token.Token) error {
	// A slow mint may leave no time in ctx, so the store gets its own timeout.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), storeTimeout)
	defer cancel()
	defer context.AfterFunc(c.ctx, cancel)()
	err := c.persist(ctx, name, a, &t)
	if err == nil {
		return nil
	}
	if removeErr := c.persist(ctx, name, a, nil); removeErr != nil {
		return fmt.Errorf("%w; an older token may still be stored: %w", err, removeErr)
	}
	return err
}

// persist saves t, or removes the stored token if t is nil. A panic of the store becomes an error.
func (c *Cache) persist(ctx context.Context, name string, a Account, t *token.Token) (err error) {
	defer secret.RecoverTo(&err)
	if t == nil {
		return c.opts.Store.Remove(ctx, name)
	}
	return c.opts.Store.Save(ctx, name, a, *t)
}

// resave saves the cached token of e, or removes the stored token, if the store is not up to date.
func (c *Cache) resave(e *entry) {
	defer c.lock(e.name)()
	e.mu.Lock()
	a, unsaved := e.account, e.unsaved && !e.gone && c.ctx.Err() == nil
	var t *token.Token
	if e.cached != nil {
		t = &e.cached.Token
	}
	e.mu.Unlock()
	if !unsaved {
		return
	}
	ctx, cancel := context.WithTimeout(c.ctx, storeTimeout)
	defer cancel()
	err := c.persist(ctx, e.name, a, t)
	e.mu.Lock()
	defer e.mu.Unlock()
	e.unsaved = err != nil
	c.publish(e)
}
