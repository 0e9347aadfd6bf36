// SPDX-License-Identifier: MPL-2.0

package account

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/hashicorp/vault/sdk/logical"

	"vault-plugin-secrets-messaging/internal/secret"
	"vault-plugin-secrets-messaging/providers"
)

// KeyPrefix is the storage prefix of generated keys. Keys have their own records, so a key rotation
// changes neither the config nor the token.
const KeyPrefix = "key/"

const keyVersion = 1

// GenerateKey is the name of the field that tells the engine to make a key. The field's value is
// the kind of key.
const GenerateKey = "generate_key"

// keyRecord is the stored form of a keySet.
type keyRecord struct {
	Version  int        `json:"version"`
	Owner    string     `json:"owner"` // the KeyOwner of the config
	Current  *storedKey `json:"current"`
	Next     *storedKey `json:"next,omitempty"`
	Previous *storedKey `json:"previous,omitempty"`
}

type storedKey struct {
	ID         string `json:"id"`
	PrivateKey string `json:"private_key"` // PKCS #8 in PEM
	keyInfo
}

// keyInfo describes a key.
type keyInfo struct {
	Kind      string    `json:"kind"` // a value of generate_key; "" for a key that an operator wrote
	Algorithm string    `json:"algorithm"`
	Created   time.Time `json:"created"`            // zero if unknown
	Activated time.Time `json:"activated,omitzero"` // when the key became the current key; zero if it never was, or if unknown
}

// keySet holds the generated keys of one config. It never changes.
type keySet struct {
	owner    string
	current  *madeKey
	next     *madeKey // nil if no rotation is running
	previous *madeKey // the key before current, until current has proven itself; nil if there is none
}

// madeKey is a generated key with its description. It never changes.
type madeKey struct {
	*providers.Key
	keyInfo
}

// with returns a keySet that has the given keys and the owner of s.
func (s *keySet) with(current, next, previous *madeKey) *keySet {
	return &keySet{owner: s.owner, current: current, next: next, previous: previous}
}

// all returns the keys in s.
func (s *keySet) all() []*madeKey {
	return slices.DeleteFunc([]*madeKey{s.current, s.next, s.previous}, func(k *madeKey) bool { return k == nil })
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

// at returns a copy of k with the given activation time.
func (k *madeKey) at(activated time.Time) *madeKey {
	active := *k
	active.Activated = activated
	return &active
}

// makeKey generates a key for a config.
func (c *Config) makeKey(now time.Time) (*madeKey, error) {
	kind := c.Fields[GenerateKey].Reveal()
	key, err := providers.GenerateKey(kind)
	if err != nil {
		return nil, err
	}
	settings := c.settings()
	settings.Key = key
	_, algorithm := c.provider.signingKey(settings)
	return &madeKey{key, keyInfo{Kind: kind, Algorithm: algorithm, Created: now}}, nil
}

// signingKey returns the signing key of an account with these settings, and the algorithm. The key
// is nil if the account does not sign.
func (p *provider) signingKey(settings providers.Settings) (*providers.Key, string) {
	if d, ok := p.Provider.(*providers.Definition); ok {
		return d.ShownKey(settings)
	}
	return nil, ""
}

// readKeys returns the stored keys of the named config; nil if it has none. If the stored keys
// cannot be used, the error is a [*RecordError].
func readKeys(ctx context.Context, s logical.Storage, name string) (*keySet, error) {
	var r keyRecord
	found, err := read(ctx, s, KeyPrefix+name, keyVersion, &r)
	if !found || err != nil {
		return nil, err
	}
	current, err1 := r.Current.decode()
	next, err2 := r.Next.decode()
	previous, err3 := r.Previous.decode()
	if err1 != nil || err2 != nil || err3 != nil || current == nil || r.Owner == "" {
		return nil, &RecordError{key: KeyPrefix + name, err: errDamaged}
	}
	return &keySet{r.Owner, current, next, previous}, nil
}

// decode returns the key in k; nil if k is nil.
func (k *storedKey) decode() (*madeKey, error) {
	if k == nil {
		return nil, nil
	}
	key, err := providers.ParseKey(secret.String(k.PrivateKey), k.ID)
	if err != nil || k.ID == "" {
		return nil, errDamaged
	}
	return &madeKey{key, k.keyInfo}, nil
}

// writeKeys stores the keys of the named config.
func writeKeys(ctx context.Context, s logical.Storage, name string, set *keySet) error {
	current, err1 := set.current.encode()
	next, err2 := set.next.encode()
	previous, err3 := set.previous.encode()
	if err := errors.Join(err1, err2, err3); err != nil {
		return err
	}
	return put(ctx, s, KeyPrefix+name, keyRecord{keyVersion, set.owner, current, next, previous})
}

// encode returns the stored form of k; nil if k is nil.
func (k *madeKey) encode() (*storedKey, error) {
	if k == nil {
		return nil, nil
	}
	text, err := k.PEM()
	return &storedKey{k.ID(), text.Reveal(), k.keyInfo}, err
}

var (
	errNoKeys       = errors.New("the generated key is missing; to get a new key, delete the config and write it again")
	errForeignKeys  = errors.New("the key belongs to an earlier config with the same name; to get a new key, delete the config and write it again")
	errNoGeneration = &providers.FieldError{Field: "name", Problem: "the config has no generated key; to change the key, write private_key to the config"}
)
