// SPDX-License-Identifier: MPL-2.0

package revocation

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"sync"

	"github.com/hashicorp/vault/sdk/framework"
	"github.com/hashicorp/vault/sdk/logical"

	"vault-plugin-secrets-messaging/internal/account"
	"vault-plugin-secrets-messaging/internal/clock"
)

// walKind marks the queue's records in the write-ahead log.
const walKind = "revocation"

// record is a record of the write-ahead log, as [framework.PutWAL] stores it.
type record struct {
	Kind string          `json:"type"`
	Data json.RawMessage `json:"data"`
}

// queue holds the tokens to revoke later. Each token has a record in storage and an entry in
// memory. The queue is safe for concurrent use.
type queue struct {
	storage logical.Storage
	clock   clock.Clock

	mu      sync.Mutex
	listed  bool              // entries include the records of earlier processes
	entries map[string]*entry // by key
	kept    int               // how many entries have kept set
}

// entry is a queued token. The lock queue.mu guards all fields except key.
type entry struct {
	key      string // in storage, without the prefix
	known    bool   // this process has read or written the record, so the next two fields are set
	id       endpointID
	expires  int64 // Unix time
	failures int
	due      clock.Instant
	storing  bool // the record is being written
	held     bool // the config is being deleted, so drains skip the entry
	ended    bool // only the record remains to be removed

	kept *Revocation // set if storage refused the token, or if a deletion needs it
}

// maxKept limits how many tokens are kept in memory.
const maxKept = 1000

// keyOf returns the storage key of a token. The key is the same each time the token is queued.
func keyOf(rev Revocation) string {
	sum := sha256.Sum256(fmt.Appendf(nil, "%q %q %q %t", rev.Config, rev.Endpoint, rev.AccessToken.Reveal(), rev.Deleting))
	return hex.EncodeToString(sum[:])
}

// add queues a token. If storage fails, add returns the error, but keeps up to maxKept tokens in
// memory.
func (q *queue) add(ctx context.Context, rev Revocation) error {
	key := keyOf(rev)
	q.mu.Lock()
	e := q.entries[key]
	if e == nil {
		e = &entry{key: key, due: q.clock()}
		q.entries[key] = e
	} else if e.known && e.kept == nil && !rev.Deleting {
		q.mu.Unlock()
		return nil
	}
	e.known, e.id, e.expires, e.storing, e.held, e.ended = true, rev.endpointID(), rev.Expires, true, rev.Deleting, false
	q.mu.Unlock()

	err := q.put(ctx, key, rev)
	q.mu.Lock()
	defer q.mu.Unlock()
	e.storing = false
	q.keep(e, nil)
	switch {
	case err == nil && !rev.Deleting:
	case q.kept < maxKept:
		q.keep(e, &rev)
	case err != nil:
		delete(q.entries, key)
	}
	if err != nil {
		return fmt.Errorf("storing a token to revoke: %w", err)
	}
	return nil
}

// keep sets e.kept to rev, and updates the number q.kept. The caller holds q.mu.
func (q *queue) keep(e *entry, rev *Revocation) {
	if e.kept != nil {
		q.kept--
	}
	if e.kept = rev; rev != nil {
		q.kept++
	}
}

func (q *queue) put(ctx context.Context, key string, rev Revocation) error {
	value, err := json.Marshal(framework.WALEntry{Kind: walKind, Data: rev.Stored(), CreatedAt: q.clock().Wall.Unix()})
	if err != nil {
		return err
	}
	if err := q.storage.Put(ctx, &logical.StorageEntry{Key: framework.WALPrefix + key, Value: value}); err != nil {
		return account.ExplainStorage(err)
	}
	return nil
}

var (
	// errGone reports that the record is missing, or is not a revocation.
	errGone = errors.New("the stored revocation is gone")

	// errEnded reports that only the record is left to remove.
	errEnded = errors.New("the token has ended")
)

// read returns the revocation of an entry. The error is errGone, errEnded, errDamaged or a storage
// error. For an expired token, the field AccessToken may be empty.
func (q *queue) read(ctx context.Context, e *entry) (Revocation, error) {
	q.mu.Lock()
	kept, ended := e.kept, e.ended
	if kept == nil && e.known && e.expires <= q.clock().Wall.Unix() {
		kept = &Revocation{Config: e.id.config, Expires: e.expires}
	}
	q.mu.Unlock()
	if ended {
		return Revocation{}, errEnded
	}
	if kept != nil {
		return *kept, nil
	}
	stored, err := q.storage.Get(ctx, framework.WALPrefix+e.key)
	if err != nil {
		return Revocation{}, err
	}
	if stored == nil {
		return Revocation{}, errGone
	}
	var r record
	var rev Revocation
	switch {
	case json.Unmarshal(stored.Value, &r) != nil:
		return Revocation{}, errDamaged
	case r.Kind != walKind:
		return Revocation{}, errGone
	case json.Unmarshal(r.Data, &rev) != nil, rev.Config == "", rev.AccessToken == "":
		return Revocation{}, errDamaged
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	e.known, e.id, e.expires = true, rev.endpointID(), rev.Expires
	return rev, nil
}

// list adds an entry for each record that an earlier process stored. After a success, later calls
// do nothing.
func (q *queue) list(ctx context.Context) error {
	if q.isListed() {
		return nil
	}
	keys, err := framework.ListWAL(ctx, q.storage)
	if err != nil {
		return err
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	for _, key := range keys {
		if q.entries[key] == nil {
			q.entries[key] = &entry{key: key, due: q.clock()}
		}
	}
	q.listed = true
	return nil
}

// remove removes an entry and its record. If the storage fails, a later call of Drain removes both.
func (q *queue) remove(ctx context.Context, e *entry) error {
	q.mu.Lock()
	e.ended = true
	q.mu.Unlock()
	if err := framework.DeleteWAL(ctx, q.storage, e.key); err != nil {
		q.postpone(e)
		return err
	}
	q.forget(e)
	return nil
}

// forget removes an entry from memory, but not if the token was queued again.
func (q *queue) forget(e *entry) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.entries[e.key] == e && !e.storing && !e.held {
		q.keep(e, nil)
		delete(q.entries, e.key)
	}
}

// postpone delays the next attempt at an entry after a failure.
func (q *queue) postpone(e *entry) {
	q.mu.Lock()
	defer q.mu.Unlock()
	e.failures++
	e.due = q.clock().Add(waitAfter(e.failures))
}

// wake ends the wait of all tokens queued for an endpoint. It returns false if there are none.
func (q *queue) wake(id endpointID) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	woken := false
	for _, e := range q.entries {
		if e.known && e.id == id {
			e.due, woken = q.clock(), true
		}
	}
	return woken
}

// release lets drains handle the tokens of a config again.
func (q *queue) release(config string) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for _, e := range q.entries {
		if e.id.config == config {
			e.held = false
		}
	}
}

// end marks entries as ended, so that drains only remove them.
func (q *queue) end(entries []*entry) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for _, e := range entries {
		e.held, e.ended = false, true
	}
}

// check reports whether ok holds for an entry.
func (q *queue) check(e *entry, ok func(*entry) bool) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	return ok(e)
}

func (q *queue) isListed() bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.listed
}

// filter returns the entries for which ok holds.
func (q *queue) filter(ok func(*entry) bool) []*entry {
	q.mu.Lock()
	defer q.mu.Unlock()
	var found []*entry
	for _, e := range q.entries {
		if ok(e) {
			found = append(found, e)
		}
	}
	return found
}

func (q *queue) len() int {
	q.mu.Lock()
	defer q.mu.Unlock()
	return len(q.entries)
}
