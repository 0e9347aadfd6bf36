// SPDX-License-Identifier: MPL-2.0

package account

import (
	"context"
	"encoding/json"
	"fmt"
	"time"
)

// PublicKey is the public part of a key, as users see it.
type PublicKey struct {
	ID, PEM string
	JWK     map[string]any
	keyInfo

	Refused time.Time // when the provider last refused the key; zero if it has accepted the key since, or never refused it
}

// PublicKeys are the keys of a config as users see them.
type PublicKeys struct {
	Generated               bool
	Current, Next, Previous *PublicKey // Next and Previous may be nil
}

// PublicKeys returns the public keys of the named config c; nil if c does not sign.
func (r *Registry) PublicKeys(ctx context.Context, name string, c *Config) (*PublicKeys, error) {
	if c.KeyOwner == "" {
		key, algorithm := c.provider.signingKey(c.settings())
		if key == nil {
			return nil, nil
		}
		current, err := publicKey(&madeKey{key, keyInfo{Algorithm: algorithm, Activated: c.Written}})
		return &PublicKeys{Current: current}, err
	}
	ring := r.keyrings.ring(name)
	keys, err := ring.owned(ctx, c.KeyOwner)
	if err != nil {
		return nil, err
	}
	shown := &PublicKeys{Generated: true}
	keys = ring.inUse(keys)
	for _, k := range []struct {
		key   *madeKey
		shown **PublicKey
	}{{keys.current, &shown.Current}, {keys.next, &shown.Next}, {keys.previous, &shown.Previous}} {
		if k.key == nil {
			continue
		}
		if *k.shown, err = publicKey(k.key); err != nil {
			return nil, err
		}
		(*k.shown).Refused = ring.refusedAt(k.key)
	}
	return shown, nil
}

// publicKey returns the public part of a key.
func publicKey(k *madeKey) (*PublicKey, error) {
	pem, err := k.PublicPEM()
	if err != nil {
		return nil, err
	}
	shown := &PublicKey{ID: k.ID(), PEM: pem, keyInfo: k.keyInfo}
	jwk, err := k.JWK(k.Algorithm)
	if err == nil {
		err = json.Unmarshal(jwk, &shown.JWK)
	}
	if err != nil {
		return nil, fmt.Errorf("encoding a public key: %w", err)
	}
	return shown, nil
}

// KeyState says which key signs for a config.
type KeyState struct {
	ID        string    // "" if the key has none
	Activated time.Time // zero if unknown

	// The next key. Both are zero if no rotation has begun.
	NextID      string
	NextCreated time.Time
}

// KeyState returns which key signs for the named config c; nil if c does not sign.
func (r *Registry) KeyState(ctx context.Context, name string, c *Config) (*KeyState, error) {
	if c.KeyOwner == "" {
		return c.writtenKey(), nil
	}
	ring := r.keyrings.ring(name)
	keys, err := ring.owned(ctx, c.KeyOwner)
	if err != nil {
		return nil, err
	}
	return ring.state(keys), nil
}

// writtenKey returns the state of the key that an operator wrote; nil if there is none.
func (c *Config) writtenKey() *KeyState {
	values := c.settings().Values
	f := c.provider.field("private_key")
	if _, ok := values["private_key"]; !ok || !f.OfKey {
		return nil
	}
	return &KeyState{ID: values["key_id"].Reveal(), Activated: c.Written}
}

// KeyState returns which key signs for the account. It does not read storage. It returns nil if the
// account does not sign, or if its keys are not in memory.
func (a *Account) KeyState() *KeyState {
	if a.ring == nil {
		return a.Config.writtenKey()
	}
	if keys := a.ring.inMemory(); keys != nil && keys.owner == a.Config.KeyOwner {
		return a.ring.state(keys)
	}
	return nil
}
