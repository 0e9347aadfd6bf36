// SPDX-License-Identifier: MPL-2.0

package account

import (
	"context"
	"errors"
	"time"

	"vault-plugin-secrets-messaging/internal/clock"
	"vault-plugin-secrets-messaging/internal/secret"
	"vault-plugin-secrets-messaging/internal/token"
	"vault-plugin-secrets-messaging/internal/tokencache"
)

// TokenPrefix is the storage prefix of tokens. The config's name follows. Tokens are local to
// the cluster.
const TokenPrefix = "token/"

const tokenVersion = 1

// tokenRecord is a token as it is stored.
type tokenRecord struct {
	Version  int    `json:"version"`
	Revision string `json:"revision"` // of the config under which the token was minted

	AccessToken string    `json:"access_token"`
	TokenType   string    `json:"token_type"`
	Sent        time.Time `json:"sent"`
	LifetimeMS  int64     `json:"lifetime_ms"` // from Sent

	RefreshToken      string `json:"refresh_token,omitempty"`
	RefreshLifetimeMS int64  `json:"refresh_lifetime_ms,omitempty"` // from Sent; 0 if unknown

	Outputs map[string]string `json:"outputs,omitempty"`
}

// newTokenRecord returns the record of a token that was minted under a config revision.
func newTokenRecord(revision string, t token.Token) tokenRecord {
	return tokenRecord{
		Version:           tokenVersion,
		Revision:          revision,
		AccessToken:       t.Access.Reveal(),
		TokenType:         t.Type,
		Sent:              t.Sent.Wall,
		LifetimeMS:        t.Lifetime.Milliseconds(),
		RefreshToken:      t.Refresh.Reveal(),
		RefreshLifetimeMS: t.RefreshLifetime.Milliseconds(),
		Outputs:           t.Outputs,
	}
}

// token returns the token in r.
func (r *tokenRecord) token() *token.Token {
	return &token.Token{
		Access:          secret.String(r.AccessToken),
		Type:            r.TokenType,
		Sent:            clock.Instant{Wall: r.Sent},
		Lifetime:        time.Duration(r.LifetimeMS) * time.Millisecond,
		Refresh:         secret.String(r.RefreshToken),
		RefreshLifetime: time.Duration(r.RefreshLifetimeMS) * time.Millisecond,
		Outputs:         r.Outputs,
	}
}

func (r *tokenRecord) isValid() bool {
	const limit = int64(token.MaxLifetime / time.Millisecond)
	return r.AccessToken != "" && !r.Sent.IsZero() &&
		r.LifetimeMS > 0 && r.LifetimeMS <= limit && r.RefreshLifetimeMS >= 0 && r.RefreshLifetimeMS <= limit
}

// Load implements [tokencache.Store].
func (r *Registry) Load(ctx context.Context, name string) (tokencache.Account, *token.Token, error) {
	a, t, err := r.LoadAccount(ctx, name)
	if a == nil {
		return nil, nil, err
	}
	return a, t, err
}

// LoadAccount returns the named account and its stored token, or a nil token if none is stored.
// If the config does not exist, the error wraps [tokencache.ErrNotFound]. If the stored config
// cannot be used, the error is a [*RecordError].
func (r *Registry) LoadAccount(ctx context.Context, name string) (*Account, *token.Token, error) {
	c, err := r.ReadConfig(ctx, name)
	if err != nil {
		return nil, nil, err
	}
	if c == nil {
		r.removeOrphan(ctx, name)
		return nil, nil, tokencache.ErrNotFound
	}
	a, err := r.Account(name, c)
	if err != nil { // the config was valid when it was written
		return nil, nil, &RecordError{key: ConfigPrefix + name, err: err}
	}
	var t *token.Token
	if c.spendsRefresh() {
		t, err = r.refresh.token(ctx, name, c)
	} else {
		t, err = r.loadToken(ctx, name, c.Revision)
	}
	return a, t, err
}

// removeOrphan removes the stored token of a config that no longer exists. A performance secondary
// keeps such a token when the primary cluster deletes the config.
func (r *Registry) removeOrphan(ctx context.Context, name string) {
	entry, err := get(ctx, r.storage, TokenPrefix+name)
	if err == nil && entry != nil {
		err = r.Remove(ctx, name)
	}
	if err != nil {
		r.opts.Log().Warn("the token of a deleted config could not be removed from storage", "config", name, "error", err)
	}
}

// loadToken returns the named config's stored token for the given revision; nil if the token is
// missing or damaged. A storage error is returned, because nil would cause a login.
func (r *Registry) loadToken(ctx context.Context, name, revision string) (*token.Token, error) {
	entry, err := get(ctx, r.storage, TokenPrefix+name)
	if err != nil || entry == nil {
		return nil, err
	}
	var record tokenRecord
	err = decodeRecord(entry.Value, tokenVersion, &record)
	if err == nil && !record.isValid() {
		err = errDamaged
	}
	if err != nil {
		r.opts.Log().Warn("the stored token cannot be used, a new token will be minted", "config", name, "error", err)
		return nil, nil
	}
	if record.Revision != revision {
		return nil, nil
	}
	return record.token(), nil
}

// Save implements [tokencache.Store].
func (r *Registry) Save(ctx context.Context, name string, a tokencache.Account, t token.Token) error {
	if a := a.(*Account); a.Config.spendsRefresh() {
		return r.refresh.save(ctx, a, t)
	}
	return put(ctx, r.storage, TokenPrefix+name, newTokenRecord(a.Revision(), t))
}

// Remove implements [tokencache.Store].
func (r *Registry) Remove(ctx context.Context, name string) error {
	err := remove(ctx, r.storage, TokenPrefix+name)
	if r.refresh.knows(name) {
		err = errors.Join(err, r.refresh.removeToken(ctx, name))
	}
	return err
}
