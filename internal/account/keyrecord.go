// SPDX-License-Identifier: MPL-2.0

package account

import (
	"context"
	"errors"
	"time"

	"github.com/hashicorp/vault/sdk/logical"

	"vault-plugin-secrets-messaging/internal/secret"
	"vault-plugin-secrets-messaging/providers"
)

// KeyPrefix is the storage prefix of generated keys. The key's record is separate from the
// config's record, so a rotation of the key keeps the config's revision and the token.
const KeyPrefix = "key/"

const keyVersion = 1

// GenerateKey is the field of a config whose key the engine makes.
const GenerateKey = "generate_key"

// keyRecord is the keys of a config as they are stored.
type keyRecord struct {
	Version  int        `json:"version"`
	Owner    string     `json:"owner"` // the KeyOwner of the config
	Current  *storedKey `json:"current"`
	Next     *storedKey `json:"next,omitempty"`
	Previous *storedKey `json:"previous,omitempty"`
}

type storedKey struct {
	ID         string    `json:"id"`
	Kind       string    `json:"kind"`
	Algorithm  string    `json:"algorithm"`
	PrivateKey string    `json:"private_key"` // PKCS #8 in PEM
	Created    time.Time `json:"created"`
	Activated  time.Time `json:"activated,omitzero"`
}

// keySet holds the generated keys of one config. It never changes.
type keySet struct {
	owner    string
	current  *madeKey
	next     *madeKey // made by a rotation, and not adopted yet; nil if there is none
	previous *madeKey // that current replaced, and that still works; nil if there is none
}

// madeKey is a generated key. It never changes.
type madeKey struct {
	*providers.Key
	kind, algorithm string
	created         time.Time
	activated       time.Time // when the key became the current key; zero if it never was
}

// with returns s with other keys.
func (s *keySet) with(current, next, previous *madeKey) *keySet {
	return &keySet{owner: s.owner, current: current, next: next, previous: previous}
}

// all returns the keys that the provider should know.
func (s *keySet) all() []*madeKey {
	var all []*madeKey
	for _, k := range []*madeKey{s.current, s.next, s.previous} {
		if k != nil {
			all = append(all, k)
		}
	}
	return all
}

// named returns the key with the given ID; nil if there is none.
func (s *keySet) named(id string) *madeKey {
	for _, k := range s.all() {
		if k.ID() == id {
			return k
		}
	}
	return nil
}

// at returns k as it is when it becomes the current key.
func (k *madeKey) at(activated time.Time) *madeKey {
	active := *k
	active.activated = activated
	return &active
}

// makeKey makes a key for a config.
func (c *Config) makeKey(now time.Time) (*madeKey, error) {
	kind := c.Fields[GenerateKey].Reveal()
	key, err := providers.GenerateKey(kind)
	if err != nil {
		return nil, err
	}
	settings := c.settings()
	settings.Key = key
	_, algorithm := c.provider.signingKey(settings)
	return &madeKey{Key: key, kind: kind, algorithm: algorithm, created: now}, nil
}

// signingKey returns the key and the algorithm with which a config with these settings signs, or
// nil if the config has no key.
func (p *provider) signingKey(settings providers.Settings) (*providers.Key, string) {
	if d, ok := p.Provider.(interface {
		ShownKey(providers.Settings) (*providers.Key, string)
	}); ok {
		return d.ShownKey(settings)
	}
	return nil, ""
}

// readKeys returns the stored keys of the named config, or nil if it has none. If the stored
// keys cannot be used, the error is a [*RecordError].
func readKeys(ctx context.Context, s logical.Storage, name string) (*keySet, error) {
	var r keyRecord
	found, err := read(ctx, s, KeyPrefix+name, keyVersion, &r)
	if !found || err != nil {
		return nil, err
	}
	set, err := decodeKeys(r)
	if err != nil {
		return nil, &RecordError{key: KeyPrefix + name, err: err}
	}
	return set, nil
}

func decodeKeys(r keyRecord) (*keySet, error) {
	set := &keySet{owner: r.Owner}
	for _, k := range []struct {
		stored *storedKey
		key    **madeKey
	}{{r.Current, &set.current}, {r.Next, &set.next}, {r.Previous, &set.previous}} {
		if k.stored == nil {
			continue
		}
		key, err := providers.ParseKey(secret.String(k.stored.PrivateKey), k.stored.ID)
		if err != nil || k.stored.ID == "" {
			return nil, errDamaged
		}
		*k.key = &madeKey{key, k.stored.Kind, k.stored.Algorithm, k.stored.Created, k.stored.Activated}
	}
	if set.current == nil || set.owner == "" {
		return nil, errDamaged
	}
	return set, nil
}

// writeKeys stores the keys of the named config.
func writeKeys(ctx context.Context, s logical.Storage, name string, set *keySet) error {
	r := keyRecord{Version: keyVersion, Owner: set.owner}
	for _, k := range []struct {
		key    *madeKey
		stored **storedKey
	}{{set.current, &r.Current}, {set.next, &r.Next}, {set.previous, &r.Previous}} {
		if k.key == nil {
			continue
		}
		text, err := k.key.PEM()
		if err != nil {
			return err
		}
		*k.stored = &storedKey{k.key.ID(), k.key.kind, k.key.algorithm, text.Reveal(), k.key.created, k.key.activated}
	}
	return put(ctx, s, KeyPrefix+name, r)
}

var (
	errNoKeys       = errors.New("it is missing; delete the config and write it again, which makes a new key")
	errForeignKeys  = errors.New("it belongs to an earlier config of this name; delete the config and write it again, which makes a new key")
	errNoGeneration = &providers.FieldError{Field: "name", Problem: "names a config whose key the engine did not make; write another private_key to the config instead"}
)
