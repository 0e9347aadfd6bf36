// SPDX-License-Identifier: MPL-2.0

package account

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/vault/sdk/logical"

	"vault-plugin-secrets-messaging/internal/clock"
	"vault-plugin-secrets-messaging/internal/secret"
	"vault-plugin-secrets-messaging/internal/token"
	"vault-plugin-secrets-messaging/internal/tokencache"
	"vault-plugin-secrets-messaging/providers"
)

// Records are stored under these prefixes, by config name. Tokens are local to the cluster.
const (
	ConfigPrefix = "config/"
	TokenPrefix  = "token/"
)

// Versions of stored records. A version is raised if an older plugin would misread the new
// form.
const (
	configVersion = 2 // of configs with a key that the engine made; 1 of others
	tokenVersion  = 1
)

// configRecord is a config as it is stored. An absent member has its default.
type configRecord struct {
	Version  int    `json:"version"`
	Revision string `json:"revision"`

	Provider      string `json:"provider"`
	Definition    string `json:"definition,omitempty"` // the digest of an own definition
	Environment   string `json:"environment,omitempty"`
	TokenURL      string `json:"token_url,omitempty"`
	CACert        string `json:"ca_cert,omitempty"`
	RevocationURL string `json:"revocation_url,omitempty"`
	ClientCert    string `json:"client_cert,omitempty"`
	ClientKey     string `json:"client_key,omitempty"`

	RequestTimeout *seconds `json:"request_timeout,omitempty"`
	RefreshWindow  *seconds `json:"refresh_window,omitempty"`
	MinTTL         *seconds `json:"min_ttl,omitempty"`
	MaxTTL         *seconds `json:"max_ttl,omitempty"`
	DefaultTTL     *seconds `json:"default_ttl,omitempty"`
	LeaseTTL       *seconds `json:"lease_ttl,omitempty"`

	Expire  string     `json:"credentials_expire,omitempty"`
	Written *time.Time `json:"credentials_written,omitempty"`

	KeyOwner string `json:"key_owner,omitempty"`

	NoLease bool `json:"leaseless,omitempty"`
	NoShare bool `json:"unshared,omitempty"`

	Fields map[string]string `json:"fields"`
}

// tokenRecord is a token as it is stored.
type tokenRecord struct {
	Version  int    `json:"version"`
	Revision string `json:"revision"` // of the config under which the token was minted

	AccessToken string    `json:"access_token"`
	TokenType   string    `json:"token_type"`
	Sent        time.Time `json:"sent"`
	LifetimeMS  int64     `json:"lifetime_ms"` // from Sent

	RefreshToken      string `json:"refresh_token,omitempty"`
	RefreshLifetimeMS int64  `json:"refresh_lifetime_ms,omitempty"` // from Sent; 0 if it has no known end

	Outputs map[string]string `json:"outputs,omitempty"`
}

// RecordError reports a stored record that cannot be used. It wraps no other error, because the
// reader of a record cannot correct its fields.
type RecordError struct {
	key string
	err error
}

func (e *RecordError) Error() string {
	return fmt.Sprintf("the stored %s cannot be used: %s", e.key, e.err)
}

// errDamaged reports a stored record that cannot be decoded. The error of encoding/json
// would quote the record.
var errDamaged = errors.New("it is damaged")

// decodeRecord decodes a stored record of at most the given version. A record of a newer
// version is refused instead of misread.
func decodeRecord(stored []byte, version int, record any) error {
	var head struct {
		Version int `json:"version"`
	}
	if json.Unmarshal(stored, &head) != nil || head.Version < 1 {
		return errDamaged
	}
	if head.Version > version {
		return fmt.Errorf("a newer plugin wrote it (record version %d, this plugin knows %d); upgrade the plugin", head.Version, version)
	}
	if json.Unmarshal(stored, record) != nil {
		return errDamaged
	}
	return nil
}

// ReadConfig returns the account of the named config, or nil if there is no such config. If the
// stored config cannot be used, the error is a [*RecordError].
func (r *Registry) ReadConfig(ctx context.Context, s logical.Storage, name string) (*Config, error) {
	entry, err := s.Get(ctx, ConfigPrefix+name)
	if err != nil {
		return nil, fmt.Errorf("reading %s%s from storage: %w", ConfigPrefix, name, err)
	}
	if entry == nil {
		return nil, nil
	}
	c, err := decodeConfig(entry.Value)
	if err == nil && c.Definition == "" {
		if c.provider = r.builtin[c.Provider]; c.provider == nil {
			err = fmt.Errorf("this plugin has no provider %q", c.Provider)
		}
	}
	if err != nil {
		return nil, &RecordError{key: ConfigPrefix + name, err: err}
	}
	if c.Definition != "" {
		if c.provider, err = r.definition(ctx, s, c.Provider, c.Definition); err != nil {
			return nil, fmt.Errorf("config %q: %w", name, err)
		}
	}
	return c, nil
}

// decodeConfig decodes a stored config. Its errors quote none of it.
func decodeConfig(stored []byte) (*Config, error) {
	var r configRecord
	if err := decodeRecord(stored, configVersion, &r); err != nil {
		return nil, err
	}
	if r.Revision == "" || r.Provider == "" || r.Definition != "" && digestHex(r.Definition) == "" {
		return nil, errDamaged
	}
	c := &Config{
		Revision: r.Revision,
		Provider: r.Provider, Definition: r.Definition, Environment: r.Environment,
		TokenURL: r.TokenURL, RevocationURL: r.RevocationURL, CACert: r.CACert,
		ClientCert: r.ClientCert, ClientKey: secret.String(r.ClientKey),
		Fields:         make(map[string]secret.String, len(r.Fields)),
		RequestTimeout: r.RequestTimeout, RefreshWindow: r.RefreshWindow,
		MinTTL: r.MinTTL, MaxTTL: r.MaxTTL, DefaultTTL: r.DefaultTTL, LeaseTTL: r.LeaseTTL,
		Expire: r.Expire, KeyOwner: r.KeyOwner, Lease: !r.NoLease, Share: !r.NoShare,
	}
	if r.Written != nil {
		c.Written = *r.Written
	}
	for name, text := range r.Fields {
		c.Fields[name] = secret.String(text)
	}
	return c, nil
}

// WriteConfig stores the named config in place of old, which is nil for a new config. It stores
// a new key first, because the config does not work without the key.
func (r *Registry) WriteConfig(ctx context.Context, s logical.Storage, name string, old, c *Config) error {
	if c.newKeys != nil {
		if err := r.keyrings.create(ctx, s, name, c.newKeys); err != nil {
			return err
		}
	}
	if err := r.writePinned(ctx, s, name, old, c); err != nil {
		return err
	}
	switch {
	case c.spendsRefresh():
		r.refresh.keepOnly(ctx, name, c)
	case old != nil && old.spendsRefresh():
		r.dropRefresh(ctx, name)
	}
	if old != nil && old.KeyOwner != "" && c.KeyOwner == "" {
		if err := r.keyrings.remove(ctx, s, name); err != nil { // the key is of no use without its config
			r.log().Warn("a key that no config uses stays in storage until the config is deleted", "config", name, "error", err)
		}
	}
	return nil
}

// dropRefresh removes the refresh tokens of a config. A failure leaves only unused refresh tokens
// behind.
func (r *Registry) dropRefresh(ctx context.Context, name string) {
	if err := r.refresh.drop(ctx, name); err != nil {
		r.log().Warn("refresh tokens that nothing uses stay in storage until the next write of the config", "config", name, "error", err)
	}
}

// writePinned stores a config and the pin of its definition.
func (r *Registry) writePinned(ctx context.Context, s logical.Storage, name string, old, c *Config) error {
	if old == nil {
		old = &Config{}
	}
	if c.Definition == old.Definition {
		return writeConfig(ctx, s, name, c)
	}
	r.writing.Lock()
	defer r.writing.Unlock()
	if c.Definition != "" {
		if err := pin(ctx, s, name, c.provider); err != nil {
			return err
		}
	}
	if err := writeConfig(ctx, s, name, c); err != nil {
		return err
	}
	if old.Definition != "" {
		r.unpin(ctx, s, name, old)
	}
	return nil
}

func writeConfig(ctx context.Context, s logical.Storage, name string, c *Config) error {
	r := configRecord{
		Version: configVersion, Revision: c.Revision,
		Provider: c.Provider, Definition: c.Definition, Environment: c.Environment,
		TokenURL: c.TokenURL, RevocationURL: c.RevocationURL, CACert: c.CACert,
		ClientCert: c.ClientCert, ClientKey: c.ClientKey.Reveal(),
		Fields:         make(map[string]string, len(c.Fields)),
		RequestTimeout: c.RequestTimeout, RefreshWindow: c.RefreshWindow,
		MinTTL: c.MinTTL, MaxTTL: c.MaxTTL, DefaultTTL: c.DefaultTTL, LeaseTTL: c.LeaseTTL,
		Expire: c.Expire, KeyOwner: c.KeyOwner, NoLease: !c.Lease, NoShare: !c.Share,
	}
	if c.KeyOwner == "" {
		r.Version = 1
	}
	if !c.Written.IsZero() {
		r.Written = &c.Written
	}
	for field, text := range c.Fields {
		r.Fields[field] = text.Reveal()
	}
	return put(ctx, s, ConfigPrefix+name, r)
}

// put stores a record.
func put(ctx context.Context, s logical.Storage, key string, record any) error {
	entry, err := logical.StorageEntryJSON(key, record)
	if err != nil {
		return fmt.Errorf("encoding %s: %w", key, err)
	}
	if err := s.Put(ctx, entry); err != nil {
		return fmt.Errorf("storing %s: %w", key, ExplainStorage(err))
	}
	return nil
}

// ExplainStorage adds to a storage error what the operator can do, unless the error says so. It
// compares texts, because a plugin gets Vault's errors as text.
func ExplainStorage(err error) error {
	if strings.Contains(err.Error(), logical.ErrSetupReadOnly.Error()) {
		return fmt.Errorf("%w, because the plugin could not start when this server became active; run \"vault operator step-down\", or restart the server", err)
	}
	return err
}

// ListConfigs returns the names of the stored configs.
func ListConfigs(ctx context.Context, s logical.Storage) ([]string, error) {
	names, err := s.List(ctx, ConfigPrefix)
	if err != nil {
		return nil, fmt.Errorf("listing %s in storage: %w", ConfigPrefix, err)
	}
	return names, nil
}

// DeleteConfig deletes the token, the named config and the config's keys, in this order. A
// token without a config would stay in storage for good, and a config without its key does not
// work.
func (r *Registry) DeleteConfig(ctx context.Context, s logical.Storage, name string) error {
	entry, err := s.Get(ctx, ConfigPrefix+name)
	if err != nil {
		return fmt.Errorf("reading %s%s from storage: %w", ConfigPrefix, name, err)
	}
	for _, key := range []string{TokenPrefix + name, ConfigPrefix + name} {
		if err := remove(ctx, s, key); err != nil {
			return err
		}
	}
	var c *Config
	if entry != nil {
		c, _ = decodeConfig(entry.Value)
	}
	if c == nil || c.KeyOwner != "" { // also if an earlier deletion failed halfway
		if err := r.keyrings.remove(ctx, s, name); err != nil {
			return err
		}
	}
	if c == nil {
		return nil
	}
	if _, set := c.Fields[providers.RefreshField]; set { // last: a config without it would have lost its credential
		r.dropRefresh(ctx, name)
	}
	if c.Definition != "" {
		r.writing.Lock()
		defer r.writing.Unlock()
		r.unpin(ctx, s, name, c)
	}
	return nil
}

// Store is the [tokencache.Store] of a mount: the mount's storage.
type Store struct {
	Storage  logical.Storage
	Registry *Registry
	Log      func() hclog.Logger
}

// Load implements [tokencache.Store].
func (s *Store) Load(ctx context.Context, name string) (tokencache.Account, *token.Token, error) {
	a, t, err := s.LoadAccount(ctx, name)
	if a == nil {
		return nil, nil, err
	}
	return a, t, err
}

// LoadAccount returns the named account and its stored token, or a nil token if none is stored.
// If the config does not exist, the error wraps [tokencache.ErrNotFound]. If the stored config
// cannot be used, the error is a [*RecordError].
func (s *Store) LoadAccount(ctx context.Context, name string) (*Account, *token.Token, error) {
	c, err := s.Registry.ReadConfig(ctx, s.Storage, name)
	if err != nil {
		return nil, nil, err
	}
	if c == nil {
		s.removeOrphan(ctx, name)
		return nil, nil, tokencache.ErrNotFound
	}
	a, err := s.Registry.Account(name, c)
	if err != nil { // the config was valid when it was written
		return nil, nil, &RecordError{key: ConfigPrefix + name, err: err}
	}
	var t *token.Token
	if c.spendsRefresh() {
		t, err = s.Registry.refresh.token(ctx, name, c)
	} else {
		t, err = s.loadToken(ctx, name, c.Revision)
	}
	return a, t, err
}

// removeOrphan removes the stored token of a config that no longer exists. If a config is
// deleted on the primary cluster, its token on a performance secondary remains, because tokens
// are local to a cluster.
func (s *Store) removeOrphan(ctx context.Context, name string) {
	entry, err := s.Storage.Get(ctx, TokenPrefix+name)
	if err == nil && entry != nil {
		err = s.Remove(ctx, name)
	}
	if err != nil {
		s.Log().Warn("the token of a deleted config could not be removed from storage", "config", name, "error", err)
	}
}

// loadToken returns the named config's stored token, if the token belongs to the given
// revision; otherwise nil. It also returns nil for a damaged token, because the engine can mint
// a new token. It returns storage errors, because otherwise each restart would cost a login.
func (s *Store) loadToken(ctx context.Context, name, revision string) (*token.Token, error) {
	entry, err := s.Storage.Get(ctx, TokenPrefix+name)
	if err != nil {
		return nil, fmt.Errorf("reading %s%s from storage: %w", TokenPrefix, name, err)
	}
	if entry == nil {
		return nil, nil
	}
	r, err := decodeToken(entry.Value)
	if err != nil {
		s.Log().Warn("the stored token cannot be used, a new token will be minted", "config", name, "error", err)
		return nil, nil
	}
	if r.Revision != revision {
		return nil, nil
	}
	t := r.token()
	return &t, nil
}

// token returns the token in r.
func (r *tokenRecord) token() token.Token {
	return token.Token{
		Access:          secret.String(r.AccessToken),
		Type:            r.TokenType,
		Sent:            clock.Instant{Wall: r.Sent},
		Lifetime:        time.Duration(r.LifetimeMS) * time.Millisecond,
		Refresh:         secret.String(r.RefreshToken),
		RefreshLifetime: time.Duration(r.RefreshLifetimeMS) * time.Millisecond,
		Outputs:         r.Outputs,
	}
}

// newTokenRecord returns the record of a token that was minted under a revision.
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

// decodeToken decodes a stored token. Its errors quote none of it.
func decodeToken(stored []byte) (*tokenRecord, error) {
	var r tokenRecord
	if err := decodeRecord(stored, tokenVersion, &r); err != nil {
		return nil, err
	}
	if !r.isValid() {
		return nil, errDamaged
	}
	return &r, nil
}

func (r *tokenRecord) isValid() bool {
	const limit = int64(token.MaxLifetime / time.Millisecond)
	return r.AccessToken != "" && !r.Sent.IsZero() &&
		r.LifetimeMS > 0 && r.LifetimeMS <= limit && r.RefreshLifetimeMS >= 0 && r.RefreshLifetimeMS <= limit
}

// Save implements [tokencache.Store].
func (s *Store) Save(ctx context.Context, name string, a tokencache.Account, t token.Token) error {
	if a := a.(*Account); a.Config.spendsRefresh() {
		return s.Registry.refresh.save(ctx, a, t)
	}
	return put(ctx, s.Storage, TokenPrefix+name, newTokenRecord(a.Revision(), t))
}

// Remove implements [tokencache.Store].
func (s *Store) Remove(ctx context.Context, name string) error {
	err := remove(ctx, s.Storage, TokenPrefix+name)
	if s.Registry.refresh.knows(name) {
		err = errors.Join(err, s.Registry.refresh.removeToken(ctx, name))
	}
	return err
}
