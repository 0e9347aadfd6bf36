// SPDX-License-Identifier: MPL-2.0

package account

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/hashicorp/vault/sdk/logical"

	"vault-plugin-secrets-messaging/internal/clock"
	"vault-plugin-secrets-messaging/internal/token"
	"vault-plugin-secrets-messaging/providers"
)

// keyPause is how long a new key waits before its first use, so that the provider can fetch the new
// JWK Set. After a failed attempt, the key waits again. A person can activate the key earlier.
const keyPause = 5 * time.Minute

// keyring chooses which generated key of a config signs. It is safe for concurrent use.
//
// A rotation makes a next key and publishes its public part. After keyPause, a mint tries the next
// key. If the provider accepts the next key, it becomes the current key, and the old current key
// becomes the previous key. If the current key still works after another keyPause, the engine drops
// the previous key.
//
// If the provider refuses the next key, the same mint repeats the request with the current key, so
// that no read fails. Storage always has a key that works, even if the process is killed.
type keyring struct {
	name    string // of the config
	storage logical.Storage

	mu       sync.Mutex
	loaded   bool
	keys     *keySet       // as stored; nil if there are none
	accepted string        // the ID of the key that the provider accepted last; "" if that is the current key
	proven   bool          // the current key worked keyPause after its activation, so the previous key can go
	tried    clock.Instant // when a mint last chose a key that the provider may not know
	refused  string        // the ID of the key that the provider refused last; "" if it accepted the key since
	refusal  time.Time     // when the provider refused that key
}

// set returns the config's keys, from memory or storage. If storage fails, set returns the last
// known keys, or an error if there are none.
func (r *keyring) set(ctx context.Context) (*keySet, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.loaded {
		keys, err := readKeys(ctx, r.storage, r.name)
		switch {
		case err == nil:
			r.keepLocked(keys)
		case r.keys == nil:
			return nil, err
		}
	}
	return r.keys, nil
}

// keep remembers the stored keys.
func (r *keyring) keep(keys *keySet) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.keepLocked(keys)
}

func (r *keyring) keepLocked(keys *keySet) {
	r.keys, r.loaded, r.proven = keys, true, false
	if keys == nil || keys.current.ID() == r.accepted || keys.named(r.accepted) == nil {
		r.accepted = ""
	}
}

// forget makes the next use load the keys again.
func (r *keyring) forget() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.loaded = false
}

// owned returns the keys of the config with the given owner.
func (r *keyring) owned(ctx context.Context, owner string) (*keySet, error) {
	keys, err := r.set(ctx)
	if err == nil {
		err = checkOwner(r.name, keys, owner)
	}
	return keys, err
}

// checkOwner refuses keys that are missing, or that belong to an earlier config of the same name.
func checkOwner(name string, keys *keySet, owner string) error {
	switch {
	case keys == nil:
		return &RecordError{key: KeyPrefix + name, err: errNoKeys}
	case keys.owner != owner:
		return &RecordError{key: KeyPrefix + name, err: errForeignKeys}
	}
	return nil
}

// inUse returns keys as the latest mint left them. The current key is the key that the provider
// accepted last. Storage may still have another current key.
func (r *keyring) inUse(keys *keySet) *keySet {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.inUseLocked(keys)
}

func (r *keyring) inUseLocked(keys *keySet) *keySet {
	k := keys.named(r.accepted)
	switch {
	case k == nil || k == keys.current:
		return keys
	case k == keys.next:
		return keys.with(k, nil, keys.current)
	case keys.next == nil: // k is the previous key: the provider no longer accepts the current one
		return keys.with(k, keys.current, nil)
	}
	return keys.with(k, keys.next, nil)
}

// choose returns the key that signs first, and the key that signs if the provider refuses the first
// key. second is nil if no other key may sign.
func (r *keyring) choose(now clock.Instant, keys *keySet) (first, second *madeKey) {
	r.mu.Lock()
	defer r.mu.Unlock()
	first = r.inUseLocked(keys).current
	paused := r.tried != (clock.Instant{}) && now.Until(r.tried.Add(keyPause)) > 0
	switch {
	case first != keys.current: // the provider accepted it, but storage does not say so yet
		return first, keys.current
	case paused:
		return first, nil
	case keys.next != nil && waited(now, keys.next.Created):
		r.tried = now
		return keys.next, first
	}
	return first, keys.previous
}

// waited reports whether at least keyPause lies between now and a stored time. The stored time may
// be in the future if the clock was set back.
func waited(now clock.Instant, since time.Time) bool { return now.Wall.Sub(since).Abs() >= keyPause }

// mint calls ask, which requests a token with a key. If the provider refuses that key, mint may
// call ask again with another key. mint remembers the accepted key.
func (r *keyring) mint(now clock.Instant, keys *keySet, ask func(*providers.Key) (token.Token, error)) (token.Token, error) {
	k, second := r.choose(now, keys)
	t, err := ask(k.Key)
	if second != nil && isKeyRefused(err) {
		r.wasRefused(now, k)
		k = second
		t, err = ask(k.Key)
	}
	if err == nil {
		r.worked(now, keys, k)
	}
	return t, err
}

// isKeyRefused reports whether err may mean that the provider does not know the signing key.
func isKeyRefused(err error) bool {
	var e *token.Error
	return errors.As(err, &e) && e.Kind == token.Refused && (e.Code == "invalid_client" || e.Code == "invalid_grant")
}

// worked remembers that the provider accepted k.
func (r *keyring) worked(now clock.Instant, keys *keySet, k *madeKey) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.refused == k.ID() {
		r.refused = ""
	}
	if k == keys.next {
		r.tried = clock.Instant{} // if the provider now refuses k, the mint may try the current key
	}
	if k == keys.current {
		r.accepted = ""
		r.proven = keys.previous != nil && waited(now, k.Activated)
		return
	}
	r.accepted = k.ID()
}

// wasRefused remembers that the provider refused k.
func (r *keyring) wasRefused(now clock.Instant, k *madeKey) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.tried, r.refused, r.refusal = now, k.ID(), now.Wall
}

// settled returns the keys to store after the latest mints; nil if there is nothing to store.
func (r *keyring) settled(now time.Time, keys *keySet) *keySet {
	r.mu.Lock()
	defer r.mu.Unlock()
	if used := r.inUseLocked(keys); used != keys {
		return used.with(used.current.at(now), used.next, used.previous)
	}
	if r.proven && keys.previous != nil && waited(clock.Instant{Wall: now}, keys.current.Activated) {
		return keys.with(keys.current, keys.next, nil)
	}
	return nil
}

// unsettled reports whether settled may return keys.
func (r *keyring) unsettled() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.accepted != "" || r.proven
}

// activated resets the keyring after a person chose the current key. If the provider refuses
// that key, the next mint may use the previous key.
func (r *keyring) activated() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.accepted, r.proven, r.tried = "", false, clock.Instant{}
}

// refusedAt returns when the provider refused k; zero if the provider never refused k, or accepted k
// since. The keyring remembers only one refused key, the latest.
func (r *keyring) refusedAt(k *madeKey) time.Time {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.refused != k.ID() {
		return time.Time{}
	}
	return r.refusal
}

// inMemory returns the keys if they are in memory; nil otherwise.
func (r *keyring) inMemory() *keySet {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.keys
}

// state returns which key signs.
func (r *keyring) state(keys *keySet) *KeyState {
	used := r.inUse(keys)
	s := &KeyState{ID: used.current.ID(), Activated: used.current.Activated}
	if used.next != nil {
		s.NextID, s.NextCreated = used.next.ID(), used.next.Created
	}
	return s
}
