// SPDX-License-Identifier: MPL-2.0

package messaging

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/vault/sdk/framework"
	"github.com/hashicorp/vault/sdk/logical"

	"vault-plugin-secrets-messaging/internal/secret"
	"vault-plugin-secrets-messaging/internal/tokencache"
	"vault-plugin-secrets-messaging/providers"
)

const (
	// revokePatience is how long the revocation of a lease waits for the provider.
	// Vault blocks disable and move meanwhile.
	revokePatience = 3 * time.Second

	// revokePause is for how long a revocation endpoint that failed is not asked
	// again, if it does not want to be left alone for longer.
	revokePause = 30 * time.Second

	// walRevocation is the kind of the write-ahead entries of tokens that are still
	// to be revoked. They lie under framework.WALPrefix in storage.
	walRevocation = "revocation"

	// ownSecretType is the type of the leases of tokens that one reader has alone.
	// Vault stores it with each lease.
	ownSecretType = "messaging_own_token"
)

// revocation is a token that is to be ended at its provider. It is stored, as its
// internalData, in leases and in the write-ahead log only, which Vault encrypts.
type revocation struct {
	Config       string        `json:"config"`
	URL          string        `json:"revocation_url"` // "" if the provider is not to be told
	AccessToken  secret.String `json:"access_token"`
	RefreshToken secret.String `json:"refresh_token"`
	Expires      int64         `json:"expires"` // Unix time, after which there is nothing to end
}

func newRevocation(a *account, t tokencache.Token) revocation {
	return revocation{
		Config:       a.name,
		URL:          a.settings.RevocationURL,
		AccessToken:  t.Access,
		RefreshToken: t.Refresh,
		Expires:      t.Sent.Wall.Add(t.Lifetime).Unix(), // its own end: max_ttl is none of the provider's
	}
}

// internalData returns r as it is stored.
func (r revocation) internalData() map[string]any {
	data := map[string]any{"secret_type": ownSecretType, "config": r.Config, "expires": r.Expires}
	if r.URL != "" {
		data["revocation_url"], data["access_token"], data["refresh_token"] = r.URL, r.AccessToken.Reveal(), r.RefreshToken.Reveal()
	}
	return data
}

// decodeRevocation reads what a lease, or the write-ahead log, says.
func decodeRevocation(data any) (r revocation, err error) {
	encoded, err := json.Marshal(data)
	if err == nil {
		err = json.Unmarshal(encoded, &r)
	}
	if err != nil {
		return r, errDamaged // the error of encoding/json may quote a token
	}
	return r, nil
}

// revoker ends tokens at their providers, now or later.
type revoker struct {
	*backend
	ctx   context.Context // ends with close
	close context.CancelFunc

	waiting  atomic.Bool // whether there may be something in the write-ahead log
	draining sync.Mutex  // held by the one drain that runs

	// The endpoints that failed: where someone waited, who has little patience, and
	// where no one did. A slow one that fails the first may do for the second.
	hurried, patient *pauses
}

func newRevoker(b *backend) *revoker {
	r := &revoker{backend: b, hurried: newPauses(b.clock), patient: newPauses(b.clock)}
	r.ctx, r.close = context.WithCancel(context.Background())
	r.waiting.Store(true) // what another process has left: the first tick looks
	return r
}

// errMoved says that a config no longer names the endpoint at which a token was
// to be revoked. Its client's credentials are not for any other.
var errMoved = errors.New("the config is gone or has another revocation_url, so the token is left to expire")

// errPaused says that an endpoint is not asked because it failed lately.
var errPaused = errors.New("the revocation endpoint failed lately")

// hopeless reports whether no later attempt at a revocation can succeed.
func hopeless(err error) bool {
	var e *providers.Error
	return errors.Is(err, errMoved) ||
		errors.As(err, &e) && e.Code == "unsupported_token_type" // RFC 7009 §2.2.1
}

// due reports whether there is anything to end.
func (r *revoker) due(rev revocation) bool {
	return rev.URL != "" && rev.Expires > r.clock().Wall.Unix()
}

// revoke ends a token with the credentials of the config as it is now, unless p
// has its endpoint left alone.
func (r *revoker) revoke(ctx context.Context, rev revocation, p *pauses) error {
	c, err := r.readConfig(ctx, r.storage, rev.Config)
	if err != nil {
		return err
	}
	if c == nil || c.RevocationURL != rev.URL {
		return errMoved
	}
	a, err := r.account(rev.Config, c)
	if err != nil {
		return err
	}
	return r.revokeAs(ctx, a, rev, p)
}

// revokeAs is revoke with the credentials of a.
func (r *revoker) revokeAs(ctx context.Context, a *account, rev revocation, p *pauses) error {
	provider, ok := a.provider.Provider.(providers.Revoker)
	if !ok {
		return errMoved
	}
	if p.has(rev) {
		return errPaused
	}
	err := provider.Revoke(ctx, a.client, a.settings, rev.AccessToken, rev.RefreshToken)
	if err != nil {
		p.begin(rev, err)
		return err
	}
	hurried, patient := r.hurried.end(rev), r.patient.end(rev)
	if (hurried || patient) && r.waiting.Load() {
		go r.drain() // it is there again
	}
	return nil
}

// settle ends a token, or sees to it that it is ended later, and returns what a
// user should know where it has not ended yet; "" if there is nothing to know. It
// never fails: a revocation that does makes Vault keep the lease, in the end for
// good. Whoever asked for it may go.
func (r *revoker) settle(rev revocation) (warning string) {
	if !r.due(rev) {
		return ""
	}
	ctx, cancel := context.WithTimeout(r.ctx, revokePatience)
	defer cancel()
	err := r.revoke(ctx, rev, r.hurried)
	log := r.log().With("config", rev.Config)
	switch {
	case err == nil:
		return ""
	case hopeless(err):
		log.Warn("a token was not revoked", "error", err)
	default:
		// Also where the mount is tainted: it may be being moved, which keeps its storage.
		if err := r.queue(rev); err != nil {
			log.Error("a token was not revoked and is left to expire: it could not be stored for a later attempt", "error", err)
			return fmt.Sprintf("the old token was not revoked and is left to expire: %s", err)
		}
		log.Warn("a token was not revoked yet; it will be tried again until it expires or the mount is disabled", "error", err)
		return fmt.Sprintf("the old token was not revoked yet; it will be tried again until it expires: %s", err)
	}
	return fmt.Sprintf("the old token was not revoked and is left to expire: %s", err)
}

// retire ends the token of a config that is no longer stored, with the
// credentials that were: once, since there are none for a later attempt.
func (r *revoker) retire(a *account, rev revocation) *logical.Response {
	if !r.due(rev) {
		return nil
	}
	ctx, cancel := context.WithTimeout(r.ctx, revokePatience)
	defer cancel()
	err := r.revokeAs(ctx, a, rev, r.hurried)
	if err == nil {
		return nil
	}
	r.log().Warn("the token of a deleted config was not revoked and is left to expire", "config", rev.Config, "error", err)
	resp := &logical.Response{}
	resp.AddWarning(fmt.Sprintf("the config is deleted; its token was not revoked and is left to expire: %s", err))
	return resp
}

// queue stores a token for a later attempt.
func (r *revoker) queue(rev revocation) error {
	// Also while the backend is being closed: another process will see to it.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(r.ctx), revokePatience)
	defer cancel()
	if _, err := framework.PutWAL(ctx, r.storage, walRevocation, rev.internalData()); err != nil {
		return fmt.Errorf("storing a token to be revoked: %w", err)
	}
	r.waiting.Store(true)
	return nil
}

// drain tries again to end the tokens in the write-ahead log, on the backend's
// own time; one drain runs at a time.
func (r *revoker) drain() {
	if !r.draining.TryLock() {
		return
	}
	defer r.draining.Unlock()
	defer r.survived()
	r.waiting.Store(false) // before the list: what comes after it sets this again
	keys, err := framework.ListWAL(r.ctx, r.storage)
	if err != nil {
		r.waiting.Store(true)
		r.log().Error("listing the tokens to be revoked failed", "error", err)
		return
	}
	// In any order, so that one that fails again and again does not keep others back.
	rand.Shuffle(len(keys), func(i, j int) { keys[i], keys[j] = keys[j], keys[i] })
	for _, key := range keys {
		if r.ctx.Err() != nil {
			return
		}
		if !r.drainOne(key) {
			r.waiting.Store(true)
		}
	}
}

// drainOne reports whether an entry of the write-ahead log is done with.
func (r *revoker) drainOne(key string) bool {
	entry, err := framework.GetWAL(r.ctx, r.storage, key)
	if err != nil {
		r.log().Error("reading a token to be revoked failed", "error", err)
		return false
	}
	if entry == nil || entry.Kind != walRevocation {
		return true
	}
	rev, err := decodeRevocation(entry.Data)
	log := r.log().With("config", rev.Config)
	switch {
	case err != nil:
		log.Error("a token to be revoked cannot be read and is left to expire", "error", err)
	case !r.due(rev):
		log.Warn("a token expired before it could be revoked")
	default:
		switch err = r.revoke(r.ctx, rev, r.patient); {
		case err == nil:
			log.Info("a token was revoked at a later attempt")
		case hopeless(err):
			log.Warn("a token was not revoked", "error", err)
		default:
			return false
		}
	}
	if err := framework.DeleteWAL(r.ctx, r.storage, key); err != nil {
		r.log().Error("forgetting a token that was revoked failed", "error", err)
		return false
	}
	return true
}

// stored returns the stored token of the named account as something to revoke, and
// the account; nil if there is none, or none that can be read.
func (r *revoker) stored(ctx context.Context, name string) (*account, *revocation, error) {
	loaded, t, err := (&store{r.backend}).Load(ctx, name)
	if damaged := (*recordError)(nil); errors.As(err, &damaged) || errors.Is(err, tokencache.ErrNotFound) {
		return nil, nil, nil
	}
	if err != nil || t == nil {
		return nil, nil, err
	}
	a := loaded.(*account)
	rev := newRevocation(a, *t)
	return a, &rev, nil
}

// secretOwnToken is the type of the leases of tokens that one reader has alone.
func (b *backend) secretOwnToken() *framework.Secret {
	return &framework.Secret{Type: ownSecretType, Fields: tokenFields(), Revoke: b.ownRevoke}
}

// ownRevoke ends a lease and its token: the token at once if the provider is
// there, else as soon as it is.
func (b *backend) ownRevoke(_ context.Context, req *logical.Request, _ *framework.FieldData) (*logical.Response, error) {
	defer b.survived() // a lease that cannot be revoked would stay for good
	rev, err := decodeRevocation(req.Secret.InternalData)
	if err != nil {
		b.log().Error("a lease cannot be read, its token is left to expire", "error", err)
		return nil, nil
	}
	b.revoker.settle(rev)
	return nil, nil
}
