// SPDX-License-Identifier: MPL-2.0

package account

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/vault/sdk/logical"

	"vault-plugin-secrets-messaging/internal/clock"
	"vault-plugin-secrets-messaging/internal/secret"
	"vault-plugin-secrets-messaging/providers"
)

// settleTimeout limits the storing of keys after a mint.
const settleTimeout = 10 * time.Second

// Keyrings holds the generated keys of all configs of a mount. It is safe for concurrent use.
type Keyrings struct {
	storage logical.Storage
	clock   clock.Clock
	log     func() hclog.Logger

	rings sync.Map // config name → *keyring

	// Hold this lock while you change stored keys, but not during a request to a provider.
	writing sync.Mutex

	listing sync.Mutex
	listed  bool // rings has a keyring for each stored record
}

// ring returns the keyring of the named config, without reading storage.
func (k *Keyrings) ring(name string) *keyring {
	if r, ok := k.rings.Load(name); ok {
		return r.(*keyring)
	}
	r, _ := k.rings.LoadOrStore(name, &keyring{name: name, storage: k.storage})
	return r.(*keyring)
}

// Invalidate forgets the cached keys of the named config, because another node changed the
// stored keys.
func (k *Keyrings) Invalidate(name string) { k.ring(name).forget() }

// replace removes all keys stored under a config's name, and stores set if it is not nil.
func (k *Keyrings) replace(ctx context.Context, name string, set *keySet) error {
	k.writing.Lock()
	defer k.writing.Unlock()
	k.ring(name).forget()
	if set == nil {
		return remove(ctx, k.storage, KeyPrefix+name)
	}
	return writeKeys(ctx, k.storage, name, set)
}

// change calls edit with the stored keys of a config, and stores the keys that edit returns. If
// edit returns nil, nothing is stored. If the config has no keys with the given owner, change
// returns an error.
func (k *Keyrings) change(ctx context.Context, name, owner string, edit func(*keySet) (*keySet, error)) error {
	k.writing.Lock()
	defer k.writing.Unlock()
	keys, err := readKeys(ctx, k.storage, name)
	if err == nil {
		err = checkOwner(name, keys, owner)
	}
	if err != nil {
		return err
	}
	changed, err := edit(keys)
	if err == nil && changed != nil {
		err = writeKeys(ctx, k.storage, name, changed)
		keys = changed
	}
	if err != nil {
		return err // both sets have a key that works, if the write took effect all the same
	}
	k.ring(name).keep(keys)
	return nil
}

// settle stores what a mint has changed in a config's keys. On a performance secondary, which
// cannot store keys, the change stays in memory.
func (k *Keyrings) settle(name, owner string) {
	ctx, cancel := context.WithTimeout(context.Background(), settleTimeout)
	defer cancel()
	ring := k.ring(name)
	var before, after *keySet
	err := k.change(ctx, name, owner, func(keys *keySet) (*keySet, error) {
		before, after = keys, ring.settled(k.clock().Wall, keys)
		return after, nil
	})
	log := k.log().With("config", name)
	switch {
	case err != nil && strings.Contains(err.Error(), logical.ErrReadOnly.Error()):
	case err != nil:
		log.Warn("the change of the signing key could not be stored; the engine tries again after the next mint", "error", err)
	case after == nil:
	case after.current.ID() == before.current.ID():
		log.Info("the new signing key works, so the previous key was dropped", "key_id", after.current.ID())
	case after.next == nil:
		log.Info("the provider accepts the next signing key, which is in use from now on", "key_id", after.current.ID())
	default:
		log.Warn("the provider no longer accepts the new signing key, so the previous key is in use again", "key_id", after.current.ID())
	}
}

// JWKS returns the JWK Set with the public keys of the named config, as JSON. If the config is
// missing or has no generated key, the set is empty. JWKS reads storage only if the keys are not in
// memory.
func (k *Keyrings) JWKS(ctx context.Context, name string) ([]byte, error) {
	if err := k.list(ctx); err != nil {
		return nil, err
	}
	set := struct {
		Keys []json.RawMessage `json:"keys"`
	}{[]json.RawMessage{}}
	if r, ok := k.rings.Load(name); ok {
		keys, err := r.(*keyring).set(ctx)
		if err != nil && !isUnusable(err) {
			return nil, err
		}
		if keys != nil {
			for _, key := range keys.all() {
				jwk, err := key.JWK(key.Algorithm)
				if err != nil {
					return nil, fmt.Errorf("encoding a public key: %w", err)
				}
				set.Keys = append(set.Keys, jwk)
			}
		}
	}
	return json.Marshal(set)
}

// list makes a keyring for each stored record, once.
func (k *Keyrings) list(ctx context.Context) error {
	k.listing.Lock()
	defer k.listing.Unlock()
	if k.listed {
		return nil
	}
	names, err := list(ctx, k.storage, KeyPrefix)
	if err != nil {
		return err
	}
	for _, name := range names {
		k.ring(name)
	}
	k.listed = true
	return nil
}

// NeedsKey reports whether the engine must make a key for c. old is the config that c replaces; nil
// for a new config.
func (c *Config) NeedsKey(old *Config) bool {
	return c.generatesKey() && (old == nil || old.KeyOwner == "")
}

// generatesKey reports whether the engine makes the key of c.
func (c *Config) generatesKey() bool {
	f := c.provider.field(GenerateKey)
	_, isSet := c.Fields[GenerateKey]
	return isSet && f.OfKey
}

// SelfSigned reports whether the engine signs the config's tokens itself, without a request to
// a provider.
func (c *Config) SelfSigned() bool { return c.provider.spec.SelfSigned }

// MakeKey makes the first key of a config. WriteConfig stores the key.
func (r *Registry) MakeKey(c *Config) error {
	now := r.opts.Clock().Wall
	key, err := c.makeKey(now)
	if err != nil {
		return err
	}
	c.KeyOwner = rand.Text()
	c.newKeys = &keySet{owner: c.KeyOwner, current: key.at(now)}
	return nil
}

// Unsettled reports whether a mint has changed any config's keys and the change is not stored yet.
func (k *Keyrings) Unsettled() bool {
	found := false
	k.rings.Range(func(_, r any) bool {
		found = r.(*keyring).unsettled()
		return !found
	})
	return found
}

// SettleKeys stores the account's keys in the background, if a mint has changed them. Call
// SettleKeys after the token is served.
func (a *Account) SettleKeys() {
	if a.ring == nil || !a.ring.unsettled() {
		return
	}
	go func() {
		var err error
		defer func() {
			if err != nil {
				a.keyrings.log().Error("storing the change of the signing key failed", "config", a.Name, "error", err)
			}
		}()
		defer secret.RecoverTo(&err)
		a.keyrings.settle(a.Name, a.Config.KeyOwner)
	}()
}

// RotateKey makes the next key of the named config c. If c already has a next key, fresh is false and
// nothing changes.
func (r *Registry) RotateKey(ctx context.Context, name string, c *Config) (fresh bool, err error) {
	if c.KeyOwner == "" {
		return false, errNoGeneration
	}
	keys, err := r.keyrings.ring(name).owned(ctx, c.KeyOwner)
	if err != nil || keys.next != nil {
		return false, err
	}
	key, err := c.makeKey(r.opts.Clock().Wall) // may take seconds, so without a lock
	if err != nil {
		return false, err
	}
	err = r.keyrings.change(ctx, name, c.KeyOwner, func(keys *keySet) (*keySet, error) {
		if keys.next != nil {
			return nil, nil
		}
		fresh = true
		return keys.with(keys.current, key, keys.previous), nil
	})
	return fresh && err == nil, err
}

// ActivateKey makes the key with the given ID the current key of c. If id is "", it activates the
// next key. The old current key becomes the previous key.
func (r *Registry) ActivateKey(ctx context.Context, name string, c *Config, id string) error {
	if c.KeyOwner == "" {
		return errNoGeneration
	}
	err := r.keyrings.change(ctx, name, c.KeyOwner, func(keys *keySet) (*keySet, error) {
		k := keys.next
		if id != "" {
			k = keys.named(id)
		}
		switch {
		case k == nil && id == "":
			return nil, &providers.FieldError{Field: "key_id", Problem: "is required, because there is no next key; to go back to the previous key, write the ID of that key"}
		case k == nil:
			return nil, &providers.FieldError{Field: "key_id", Problem: "names no key of this config; read keys/" + name + " for the IDs"}
		case k == keys.current:
			return nil, nil
		case k == keys.next:
			return keys.with(k.at(r.opts.Clock().Wall), nil, keys.current), nil
		}
		return keys.with(k.at(r.opts.Clock().Wall), keys.next, keys.current), nil
	})
	if err == nil {
		r.keyrings.ring(name).activated()
	}
	return err
}
