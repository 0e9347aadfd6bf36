// SPDX-License-Identifier: MPL-2.0

package messaging

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/hashicorp/vault/sdk/logical"

	"vault-plugin-secrets-messaging/internal/secret"
	"vault-plugin-secrets-messaging/internal/tokencache"
)

// tokenPrefix is where current tokens lie in storage, by the name of their
// config: local to the cluster and seal-wrapped.
const tokenPrefix = "token/"

// tokenVersion is the version of the stored form of a token, as configVersion is.
const tokenVersion = 1

// tokenRecord is a token as it is stored.
type tokenRecord struct {
	Version  int    `json:"version"`
	Revision string `json:"revision"` // of the config that it was minted under

	AccessToken string    `json:"access_token"`
	TokenType   string    `json:"token_type"`
	Sent        time.Time `json:"sent"`
	LifetimeMS  int64     `json:"lifetime_ms"` // from Sent

	RefreshToken      string `json:"refresh_token,omitempty"`
	RefreshLifetimeMS int64  `json:"refresh_lifetime_ms,omitempty"` // from Sent; 0 if not known to end
}

// store is the [tokencache.Store] of a backend: the mount's storage.
type store struct{ *backend }

// Load implements [tokencache.Store].
func (s *store) Load(ctx context.Context, name string) (tokencache.Account, *tokencache.Token, error) {
	c, err := s.readConfig(ctx, s.storage, name)
	if err != nil {
		return nil, nil, err
	}
	if c == nil {
		return nil, nil, tokencache.ErrNotFound
	}
	a, err := s.account(name, c)
	if err != nil { // it was good when it was written
		return nil, nil, &recordError{key: configPrefix + name, err: err}
	}
	t, err := s.loadToken(ctx, name, c.Revision)
	return a, t, err
}

// loadToken returns the stored token of the named config's revision; nil if there
// is none. A token that cannot be read is as good as none, since another can be
// minted; a storage that fails is not, since every restart would cost a login.
func (s *store) loadToken(ctx context.Context, name, revision string) (*tokencache.Token, error) {
	entry, err := s.storage.Get(ctx, tokenPrefix+name)
	if err != nil {
		return nil, fmt.Errorf("reading %s%s from storage: %w", tokenPrefix, name, err)
	}
	if entry == nil {
		return nil, nil
	}
	r, err := decodeToken(entry.Value)
	if err != nil {
		s.log().Warn("the stored token is of no use, a new one will be minted", "config", name, "error", err)
		return nil, nil
	}
	if r.Revision != revision {
		return nil, nil
	}
	return &tokencache.Token{
		Access:          secret.String(r.AccessToken),
		Type:            r.TokenType,
		Sent:            tokencache.Instant{Wall: r.Sent},
		Lifetime:        time.Duration(r.LifetimeMS) * time.Millisecond,
		Refresh:         secret.String(r.RefreshToken),
		RefreshLifetime: time.Duration(r.RefreshLifetimeMS) * time.Millisecond,
	}, nil
}

// decodeToken reads the stored form of a token. Its errors quote none of it.
func decodeToken(stored []byte) (*tokenRecord, error) {
	var r tokenRecord
	if err := decodeRecord(stored, tokenVersion, &r); err != nil {
		return nil, err
	}
	const most = int64(maxLife / time.Millisecond)
	if r.AccessToken == "" || r.Sent.IsZero() ||
		r.LifetimeMS <= 0 || r.LifetimeMS > most || r.RefreshLifetimeMS < 0 || r.RefreshLifetimeMS > most {
		return nil, errDamaged
	}
	return &r, nil
}

// Save implements [tokencache.Store].
func (s *store) Save(ctx context.Context, name string, a tokencache.Account, t tokencache.Token) {
	err := s.saveToken(ctx, name, tokenRecord{
		Version:           tokenVersion,
		Revision:          a.Revision(),
		AccessToken:       t.Access.Reveal(),
		TokenType:         t.Type,
		Sent:              t.Sent.Wall,
		LifetimeMS:        t.Lifetime.Milliseconds(),
		RefreshToken:      t.Refresh.Reveal(),
		RefreshLifetimeMS: t.RefreshLifetime.Milliseconds(),
	})
	if err != nil {
		s.log().Error("the token is served, but will not outlive a restart", "config", name, "error", err)
	}
}

func (s *store) saveToken(ctx context.Context, name string, r tokenRecord) error {
	entry, err := logical.StorageEntryJSON(tokenPrefix+name, r)
	if err != nil {
		return fmt.Errorf("encoding %s%s: %w", tokenPrefix, name, err)
	}
	if err := s.storage.Put(ctx, entry); err != nil {
		return fmt.Errorf("storing %s%s: %w", tokenPrefix, name, err)
	}
	return nil
}

// recordError is a stored record that cannot be used. It unwraps to nothing: that
// a field of it is bad is not the fault of whoever reads it.
type recordError struct {
	key string
	err error
}

func (e *recordError) Error() string {
	return fmt.Sprintf("the stored %s cannot be used: %s", e.key, e.err)
}

// errDamaged is what a stored record gets that cannot be read. What
// encoding/json says instead would quote the record.
var errDamaged = errors.New("it is damaged")

// decodeRecord reads a stored record into one of our own form. One of a newer
// version than ours is refused by that name, and not misread.
func decodeRecord(stored []byte, ours int, record any) error {
	var head struct {
		Version int `json:"version"`
	}
	if json.Unmarshal(stored, &head) != nil || head.Version < 1 {
		return errDamaged
	}
	if head.Version > ours {
		return fmt.Errorf("a newer plugin wrote it (record version %d, this one knows %d): upgrade the plugin", head.Version, ours)
	}
	if json.Unmarshal(stored, record) != nil {
		return errDamaged
	}
	return nil
}
