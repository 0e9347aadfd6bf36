// SPDX-License-Identifier: MPL-2.0

package revocation

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/vault/sdk/framework"
	"github.com/hashicorp/vault/sdk/logical"

	"vault-plugin-secrets-messaging/internal/account"
	"vault-plugin-secrets-messaging/internal/clock"
	"vault-plugin-secrets-messaging/internal/secret"
	"vault-plugin-secrets-messaging/internal/telemetry"
	"vault-plugin-secrets-messaging/internal/token"
)

const (
	// maxWait is how long a request waits for a revocation. Vault blocks disabling and
	// moving the mount meanwhile.
	maxWait = 3 * time.Second

	// walKind is the kind of the write-ahead entries of tokens to revoke. They are stored
	// under framework.WALPrefix.
	walKind = "revocation"
)

// Options configure a Revoker. All are required.
type Options struct {
	Storage  logical.Storage // of the mount
	Registry *account.Registry
	Clock    clock.Clock
	Log      func() hclog.Logger
}

// Revoker ends tokens at their providers. It is safe for concurrent use.
type Revoker struct {
	Options
	ctx    context.Context // ends with Close
	cancel context.CancelFunc

	pending  atomic.Bool // the write-ahead log may have entries
	draining sync.Mutex  // held by the drain that runs

	// The endpoints that failed for a request, which waits a short time, and for a drain,
	// which waits longer. A slow endpoint may fail for a request and work for a drain.
	interactive, background *cooldowns
}

// NewRevoker returns a Revoker. Its first Drain also handles what another process queued.
func NewRevoker(opts Options) *Revoker {
	r := &Revoker{Options: opts, interactive: newCooldowns(opts.Clock), background: newCooldowns(opts.Clock)}
	r.ctx, r.cancel = context.WithCancel(context.Background())
	r.pending.Store(true)
	return r
}

// Close cancels the running revocations and returns without waiting for them.
func (r *Revoker) Close() { r.cancel() }

// Pending reports whether Drain may have anything to do.
func (r *Revoker) Pending() bool { return r.pending.Load() }

var (
	// errMoved reports that a config no longer has the revocation endpoint of a token. The
	// config's credentials must not go to another endpoint.
	errMoved = errors.New("the config is gone or has another revocation_url, so the token is left to expire")

	errCooldown = errors.New("the revocation endpoint failed lately")
)

// isPermanent reports whether no later attempt at a revocation can succeed.
func isPermanent(err error) bool {
	var e *token.Error
	return errors.Is(err, errMoved) || errors.As(err, &e) && e.Code == "unsupported_token_type" // RFC 7009 §2.2.1
}

// alive reports whether there is a token to end and an endpoint that ends it.
func (r *Revoker) alive(rev Revocation) bool {
	return rev.URL != "" && rev.Expires > r.Clock().Wall.Unix()
}

// revoke ends a token with the credentials of the config as it is now.
func (r *Revoker) revoke(ctx context.Context, rev Revocation, c *cooldowns) error {
	cfg, err := r.Registry.ReadConfig(ctx, r.Storage, rev.Config)
	if err != nil {
		return err
	}
	if cfg == nil || cfg.RevocationURL != rev.URL {
		return errMoved
	}
	a, err := r.Registry.Account(rev.Config, cfg)
	if err != nil {
		return err
	}
	return r.revokeAs(ctx, a, rev, c)
}

// revokeAs ends a token with the credentials of a.
func (r *Revoker) revokeAs(ctx context.Context, a *account.Account, rev Revocation, c *cooldowns) error {
	if !a.CanRevoke() {
		return errMoved
	}
	if c.active(rev) {
		return errCooldown
	}
	if err := a.Revoke(ctx, rev.AccessToken, rev.RefreshToken); err != nil {
		c.start(rev, err)
		return err
	}
	interactive, background := r.interactive.end(rev), r.background.end(rev)
	if (interactive || background) && r.pending.Load() {
		go r.Drain() // the endpoint works again
	}
	return nil
}

// RevokeOrQueue ends a token, or queues it for a later attempt. It returns what a user
// should know if the token has not ended yet, otherwise "". It returns no error, because
// Vault keeps a lease whose revocation fails, in the end for good. It takes no context,
// because the token has to end even if the client is gone.
func (r *Revoker) RevokeOrQueue(rev Revocation) (warning string) {
	if !r.alive(rev) {
		return ""
	}
	ctx, cancel := context.WithTimeout(r.ctx, maxWait)
	defer cancel()
	err := r.revoke(ctx, rev, r.interactive)
	log := r.Log().With("config", rev.Config)
	switch {
	case err == nil:
		return ""
	case isPermanent(err):
		log.Warn("a token was not revoked", "error", err)
	default:
		// A tainted mount queues too: it may be on the move, which keeps its storage.
		if err := r.queue(rev); err != nil {
			log.Error("a token was not revoked and is left to expire: it could not be stored for a later attempt", "error", err)
			return fmt.Sprintf("the old token was not revoked and is left to expire: %s", err)
		}
		log.Warn("a token was not revoked yet; the engine tries again until the token expires or the mount is disabled", "error", err)
		return fmt.Sprintf("the old token was not revoked yet; the engine tries again until the token expires: %s", err)
	}
	return fmt.Sprintf("the old token was not revoked and is left to expire: %s", err)
}

// RevokeOnce ends the token of a config that was deleted, with the credentials that a
// still has. A later attempt would have no credentials. RevokeOnce returns what a user
// should know if the token has not ended, otherwise "".
func (r *Revoker) RevokeOnce(a *account.Account, rev Revocation) (warning string) {
	if !r.alive(rev) {
		return ""
	}
	ctx, cancel := context.WithTimeout(r.ctx, maxWait)
	defer cancel()
	err := r.revokeAs(ctx, a, rev, r.interactive)
	if err == nil {
		return ""
	}
	r.Log().Warn("the token of a deleted config was not revoked and is left to expire", "config", rev.Config, "error", err)
	return fmt.Sprintf("the config is deleted; its token was not revoked and is left to expire: %s", err)
}

// queue stores a token for a later attempt. It works after Close too: another process
// makes the attempt.
func (r *Revoker) queue(rev Revocation) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(r.ctx), maxWait)
	defer cancel()
	if _, err := framework.PutWAL(ctx, r.Storage, walKind, rev.Stored()); err != nil {
		return fmt.Errorf("storing a token to revoke: %w", err)
	}
	r.pending.Store(true)
	return nil
}

// Drain tries again to end the queued tokens. A concurrent Drain returns at once.
func (r *Revoker) Drain() {
	if !r.draining.TryLock() {
		return
	}
	defer r.draining.Unlock()
	var err error
	defer func() { telemetry.LogPanic(r.Log(), err) }()
	defer secret.RecoverTo(&err)
	r.pending.Store(false) // before the list: an entry that is queued later sets it again
	keys, listErr := framework.ListWAL(r.ctx, r.Storage)
	if listErr != nil {
		r.pending.Store(true)
		r.Log().Error("listing the tokens to revoke failed", "error", listErr)
		return
	}
	// In random order, so that an entry that always fails does not hold up the others.
	rand.Shuffle(len(keys), func(i, j int) { keys[i], keys[j] = keys[j], keys[i] })
	for _, key := range keys {
		if r.ctx.Err() != nil {
			return
		}
		if !r.drainEntry(key) {
			r.pending.Store(true)
		}
	}
}

// drainEntry reports whether an entry of the write-ahead log needs no further attempt.
func (r *Revoker) drainEntry(key string) bool {
	entry, err := framework.GetWAL(r.ctx, r.Storage, key)
	if err != nil {
		r.Log().Error("reading a token to revoke failed", "error", err)
		return false
	}
	if entry == nil || entry.Kind != walKind {
		return true
	}
	rev, err := Decode(entry.Data)
	log := r.Log().With("config", rev.Config)
	switch {
	case err != nil:
		log.Error("a token to revoke cannot be decoded and is left to expire", "error", err)
	case !r.alive(rev):
		log.Warn("a token expired before it could be revoked")
	default:
		switch err = r.revoke(r.ctx, rev, r.background); {
		case err == nil:
			log.Info("a token was revoked at a later attempt")
		case isPermanent(err):
			log.Warn("a token was not revoked", "error", err)
		default:
			return false
		}
	}
	if err := framework.DeleteWAL(r.ctx, r.Storage, key); err != nil {
		r.Log().Error("removing a revoked token from the queue failed", "error", err)
		return false
	}
	return true
}
