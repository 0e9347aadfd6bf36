// SPDX-License-Identifier: MPL-2.0

package account

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"github.com/hashicorp/vault/sdk/logical"
)

// RecordError reports a stored record that cannot be used. It has no Unwrap method, because the
// inner error could look like a mistake in the request.
type RecordError struct {
	key string
	err error
}

func (e *RecordError) Error() string {
	return fmt.Sprintf("the stored %s cannot be used: %s", e.key, e.err)
}

// isUnusable reports whether err says that a stored record cannot be used.
func isUnusable(err error) bool {
	_, unusable := errors.AsType[*RecordError](err)
	return unusable
}

// errDamaged reports a stored record that cannot be decoded. The error of encoding/json
// would quote the record.
var errDamaged = errors.New("it is damaged")

// decodeRecord decodes a stored record. It refuses a record that is newer than the given version,
// because this plugin would misread the record.
func decodeRecord(stored []byte, version int, record any) error {
	var head struct {
		Version int `json:"version"`
	}
	if json.Unmarshal(stored, &head) != nil || head.Version < 1 {
		return errDamaged
	}
	if head.Version > version {
		return fmt.Errorf("a newer plugin wrote the record (version %d, this plugin knows %d); upgrade the plugin", head.Version, version)
	}
	if json.Unmarshal(stored, record) != nil {
		return errDamaged
	}
	return nil
}

// get returns the stored record of a key; nil if there is none.
func get(ctx context.Context, s logical.Storage, key string) (*logical.StorageEntry, error) {
	entry, err := s.Get(ctx, key)
	if err != nil {
		return nil, fmt.Errorf("reading %s from storage: %w", key, err)
	}
	return entry, nil
}

// read decodes the stored record of a key, and reports whether there is one. If the record
// cannot be used, the error is a [*RecordError].
func read(ctx context.Context, s logical.Storage, key string, version int, record any) (found bool, err error) {
	entry, err := get(ctx, s, key)
	if err != nil || entry == nil {
		return false, err
	}
	if err := decodeRecord(entry.Value, version, record); err != nil {
		return true, &RecordError{key: key, err: err}
	}
	return true, nil
}

// list returns the keys under a prefix, without the prefix.
func list(ctx context.Context, s logical.Storage, prefix string) ([]string, error) {
	keys, err := s.List(ctx, prefix)
	if err != nil {
		return nil, fmt.Errorf("listing %s in storage: %w", prefix, err)
	}
	return keys, nil
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

// remove deletes a record.
func remove(ctx context.Context, s logical.Storage, key string) error {
	if err := s.Delete(ctx, key); err != nil {
		return fmt.Errorf("deleting %s from storage: %w", key, ExplainStorage(err))
	}
	return nil
}

// ExplainStorage adds a remedy to a storage error, if a remedy is known. It compares error texts,
// because Vault's errors reach a plugin as text.
func ExplainStorage(err error) error {
	if strings.Contains(err.Error(), logical.ErrSetupReadOnly.Error()) {
		return fmt.Errorf("%w, because the plugin could not start when this server became active; run \"vault operator step-down\", or restart the server", err)
	}
	return err
}
