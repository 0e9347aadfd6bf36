// SPDX-License-Identifier: MPL-2.0

package revocation

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/vault/sdk/logical"

	"vault-plugin-secrets-messaging/internal/account"
	"vault-plugin-secrets-messaging/internal/clock"
	"vault-plugin-secrets-messaging/internal/secret"
	"vault-plugin-secrets-messaging/internal/telemetry"
	"vault-plugin-secrets-messaging/internal/token"
	"vault-plugin-secrets-messaging/internal/tokencache"
)

// maxWait limits how long a request waits for one revocation or for one storage call.
const maxWait = 3 * time.Second

// Options configure a Revoker. All are required.
type Options struct {
	Registry *account.Registry
	Storage  logical.Storage // of the mount
	Clock    clock.Clock
	Log      func() hclog.Logger
	Tainted  func() bool // whether Vault is disabling or moving the mount
}

// Revoker revokes tokens. It is safe for concurrent use.
type Revoker struct {
	opts   Options
	ctx    context.Context // canceled by Close
	cancel context.CancelFunc

	queue     queue
	endpoints endpoints
	budget    budget
	draining  sync.Mutex // held by the drain that runs
}

// NewRevoker returns a Revoker. The first call of Drain also finds tokens that earlier processes
// queued.
func NewRevoker(opts Options) *Revoker {
	r := &Revoker{
		opts:      opts,
		queue:     queue{storage: opts.Storage, clock: opts.Clock, entries: map[string]*entry{}},
		endpoints: endpoints{clock: opts.Clock, failed: map[endpointID]*endpoint{}},
		budget:    budget{clock: opts.Clock},
	}
	r.ctx, r.cancel = context.WithCancel(context.Background())
	return r
}

// Close cancels the running revocations and returns without waiting for them.
func (r *Revoker) Close() {
	r.cancel()
	if n := r.queue.len(); n > 0 {
		r.opts.Log().Warn("tokens wait to be revoked; they are left to expire if the mount is being disabled, otherwise the next process tries again", "tokens", n)
	}
}

var (
	// errMoved reports that the config no longer has the token's revocation endpoint. Another
	// endpoint must get neither the token nor the credentials.
	errMoved = errors.New("the config is gone, or now has another provider, environment, revocation_url, ca_cert or client_id; the token is left to expire")

	errTainted = fmt.Errorf("%w, because the mount is being disabled or moved", errWaits)
	errBudget  = fmt.Errorf("%[1]w, because in the last %[3]s, requests waited %[2]s for revocation endpoints, which is the limit", errWaits, budgetWait, budgetPeriod)
)

// isPermanent reports whether later attempts at the revocation would fail too.
func isPermanent(err error) bool {
	var e *token.Error
	return errors.Is(err, errMoved) || errors.As(err, &e) && e.Code == "unsupported_token_type" // RFC 7009 §2.2.1
}

// alive reports whether the token can be revoked and has not expired.
func (r *Revoker) alive(rev Revocation) bool {
	return rev.URL != "" && rev.Expires > r.opts.Clock().Wall.Unix()
}

// RevokeOrQueue revokes tokens, or queues them for a later attempt. It returns a warning for the
// user if a token is not revoked yet, otherwise "". RevokeOrQueue waits for providers at most
// budgetWait.
//
// RevokeOrQueue returns no error, because an error would make Vault keep the lease. It takes no
// context, because the revocation must continue if the client disconnects.
func (r *Revoker) RevokeOrQueue(revs ...Revocation) (warning string) {
	return each(revs, r.revokeOrQueue)
}

func (r *Revoker) revokeOrQueue(rev Revocation) (warning string) {
	if !r.alive(rev) {
		return ""
	}
	err := r.revokeNow(rev)
	log := r.opts.Log().With("config", rev.Config)
	switch {
	case err == nil:
		return ""
	case isPermanent(err):
		log.Warn("a token was not revoked", "error", err)
		return fmt.Sprintf("a token was not revoked and is left to expire: %s", err)
	}
	if warning := r.queueOrLog(rev); warning != "" {
		return warning
	}
	level := hclog.Warn
	if errors.Is(err, errWaits) { // no attempt was made
		level = hclog.Debug
	}
	log.Log(level, "a token was not revoked yet; the engine tries again until the token expires or the mount is disabled", "error", err)
	if errors.Is(err, errBudget) {
		go r.Drain() // without the limit of the budget
	}
	return fmt.Sprintf("a token was not revoked yet; the engine tries again until the token expires: %s", err)
}

// Queue stores tokens for a later attempt, and does not wait for a provider. You may call Queue
// after Close. Another process then makes the attempt.
func (r *Revoker) Queue(revs ...Revocation) {
	for _, rev := range revs {
		if r.alive(rev) {
			r.queueOrLog(rev)
		}
	}
}

// queueOrLog stores a token for a later attempt. If storage fails, queueOrLog returns a warning for
// the user, otherwise "".
func (r *Revoker) queueOrLog(rev Revocation) (warning string) {
	ctx, cancel := r.storageContext()
	defer cancel()
	err := r.queue.add(ctx, rev)
	if err == nil {
		return ""
	}
	r.opts.Log().Error("a token to revoke could not be stored and is known only to this process", "config", rev.Config, "error", err)
	return fmt.Sprintf("a token was not revoked yet and could not be stored for later; the engine tries the revocation again until the token expires or the plugin restarts: %s", err)
}

// RevokeOnce tries once to revoke tokens with the credentials of the account a. The account need
// not be stored. RevokeOnce returns a warning for the user if a token was not revoked, otherwise
// "". RevokeOnce waits for providers at most budgetWait.
func (r *Revoker) RevokeOnce(a *account.Account, revs ...Revocation) (warning string) {
	return each(revs, func(rev Revocation) string {
		if !r.alive(rev) {
			return ""
		}
		err := errTainted
		if !r.opts.Tainted() {
			err = r.wait(a, rev)
		}
		if err != nil {
			return r.leave(rev.Config, err)
		}
		return ""
	})
}

// leave logs that a token is left to expire, and returns the warning for the user.
func (r *Revoker) leave(config string, err error) (warning string) {
	r.opts.Log().Warn("a token was not revoked and is left to expire, because the credentials for the revocation are not stored", "config", config, "error", err)
	return fmt.Sprintf("a token was not revoked and is left to expire, because the credentials for the revocation are not stored: %s", err)
}

// each calls f for each token and joins the warnings that f returns. Equal warnings appear once.
func each(revs []Revocation, f func(Revocation) string) string {
	var warnings []string
	for _, rev := range revs {
		if w := f(rev); w != "" && !slices.Contains(warnings, w) {
			warnings = append(warnings, w)
		}
	}
	return strings.Join(warnings, "; ")
}

// revokeNow revokes a token with the credentials of the stored config.
func (r *Revoker) revokeNow(rev Revocation) error {
	if r.opts.Tainted() {
		return errTainted
	}
	ctx, cancel := context.WithTimeout(r.ctx, maxWait)
	defer cancel()
	a, _, err := r.load(ctx, rev)
	if err != nil {
		return err
	}
	return r.wait(a, rev)
}

// load returns the account of the stored config. It also returns the stored token, or nil.
func (r *Revoker) load(ctx context.Context, rev Revocation) (*account.Account, *token.Token, error) {
	a, t, err := r.opts.Registry.LoadAccount(ctx, rev.Config)
	if errors.Is(err, tokencache.ErrNotFound) {
		err = errMoved
	}
	return a, t, err
}

// wait revokes a token with the credentials of the account a. It waits as long as r.budget allows.
func (r *Revoker) wait(a *account.Account, rev Revocation) error {
	if err := r.endpoints.blocked(rev.endpointID(), a.Revision()); err != nil {
		return err
	}
	left, end := r.budget.start()
	if left == 0 {
		return errBudget
	}
	defer end()
	ctx, cancel := context.WithTimeout(r.ctx, min(left, maxWait))
	defer cancel()
	return r.send(ctx, a, rev)
}

// send revokes a token with the credentials of the account a. If the provider's code panics, send
// returns an error.
func (r *Revoker) send(ctx context.Context, a *account.Account, rev Revocation) (err error) {
	defer func() { telemetry.LogPanic(r.opts.Log(), err) }()
	defer secret.RecoverTo(&err)
	if !a.CanRevoke() || a.RevocationEndpoint() != rev.Endpoint {
		return errMoved
	}
	began := r.opts.Clock()
	if err := a.Revoke(ctx, rev.AccessToken, rev.RefreshToken); err != nil {
		r.endpoints.fail(ctx, rev.endpointID(), a.Revision(), began, err)
		return err
	}
	if r.endpoints.succeed(rev.endpointID()) && r.queue.wake(rev.endpointID()) {
		go r.Drain()
	}
	return nil
}

// storageContext returns a context for one storage call. The context works after Close too.
func (r *Revoker) storageContext() (context.Context, context.CancelFunc) {
	return context.WithTimeout(context.WithoutCancel(r.ctx), maxWait)
}
