// SPDX-License-Identifier: MPL-2.0

package account

import (
	"context"
	"encoding/hex"
	"errors"
	"strings"

	"github.com/hashicorp/vault/sdk/logical"

	"vault-plugin-secrets-messaging/providers"
)

// Definitions that operators wrote are stored under these prefixes. A stored definition never
// changes. The engine removes a definition that no provider and no config uses.
const (
	DefinitionPrefix = "definition/" // definition/<hex digits of the digest>: the definition's text
	namePrefix       = "provider/"   // provider/<name>: the digest of the definition that new configs get
	pinPrefix        = "pin/"        // pin/<hex digits>/<config>: says that the config uses the definition
)

const definitionVersion = 1

type definitionRecord struct {
	Version int    `json:"version"`
	Text    string `json:"text"`
}

type nameRecord struct {
	Version int    `json:"version"`
	Digest  string `json:"digest"`
}

type pinRecord struct {
	Version int `json:"version"`
}

// digestHex returns the hex digits of a digest such as sha256:0a1b…; "" if the digest is not valid.
func digestHex(digest string) string {
	digits, ok := strings.CutPrefix(digest, "sha256:")
	if sum, err := hex.DecodeString(digits); !ok || err != nil || len(sum) != 32 || digits != strings.ToLower(digits) {
		return ""
	}
	return digits
}

// readName returns the digest of the definition that operators wrote for the named provider; "" if
// they wrote none.
func readName(ctx context.Context, s logical.Storage, name string) (string, error) {
	var n nameRecord
	found, err := read(ctx, s, namePrefix+name, definitionVersion, &n)
	if found && err == nil && digestHex(n.Digest) == "" {
		err = &RecordError{key: namePrefix + name, err: errDamaged}
	}
	return n.Digest, err
}

// definition returns the named provider, made from the stored definition with the given digest. The
// digest must be valid. If the stored definition is missing or cannot be used, the error is a
// [*RecordError].
func (r *Registry) definition(ctx context.Context, name, digest string) (*provider, error) {
	if p, ok := r.own.Load(ownKey{name, digest}); ok {
		return p.(*provider), nil
	}
	key := DefinitionPrefix + digestHex(digest)
	var stored definitionRecord
	found, err := read(ctx, r.storage, key, definitionVersion, &stored)
	if err != nil {
		return nil, err
	}
	if !found {
		return nil, &RecordError{key: key, err: errors.New("it is missing")}
	}
	d, err := providers.ParseDefinition(name, []byte(stored.Text))
	if err == nil && d.Digest() != digest {
		err = errDamaged
	}
	if err != nil {
		return nil, &RecordError{key: key, err: err}
	}
	p := r.provider(d)
	p.own = true
	shared, _ := r.own.LoadOrStore(ownKey{name, digest}, p)
	return shared.(*provider), nil
}

// Forget drops the definition with the given storage key from memory. Accounts that use the
// definition keep it.
func (r *Registry) Forget(key string) {
	digits := strings.TrimPrefix(key, DefinitionPrefix)
	r.own.Range(func(k, _ any) bool {
		if digestHex(k.(ownKey).digest) == digits {
			r.own.Delete(k)
		}
		return true
	})
}

// WriteDefinition stores text as the definition for new configs of the named provider. kept is the
// number of configs that keep the previous definition. If the user made a mistake, the error is a
// [*providers.FieldError].
func (r *Registry) WriteDefinition(ctx context.Context, name, text string) (digest string, kept int, err error) {
	d, err := providers.ParseDefinition(name, []byte(text))
	if err != nil {
		return "", 0, &providers.FieldError{Field: "definition", Problem: err.Error()}
	}
	digest = d.Digest()
	r.writing.Lock()
	defer r.writing.Unlock()
	old, err := readName(ctx, r.storage, name)
	if err != nil && !isUnusable(err) {
		return "", 0, err
	}
	switch builtin := r.builtin[name] != nil && digest != old; {
	case builtin && old == "":
		return "", 0, &providers.FieldError{Field: "name", Problem: "is the name of a built-in provider; choose another name for your definition"}
	case builtin:
		return "", 0, &providers.FieldError{Field: "name", Problem: "is now also the name of a built-in provider; write the definition under another name"}
	}
	if err := put(ctx, r.storage, DefinitionPrefix+digestHex(digest), definitionRecord{definitionVersion, text}); err != nil {
		return "", 0, err
	}
	if err := put(ctx, r.storage, namePrefix+name, nameRecord{definitionVersion, digest}); err != nil {
		return "", 0, err
	}
	if old != digest {
		kept = countPins(ctx, r.storage, old)
	}
	r.logUnswept(r.removeUnused(ctx))
	return digest, kept, nil
}

// DeleteDefinition deletes the definition that operators wrote for the named provider. kept is the
// number of configs that still use the definition. If the user made a mistake, the error is a
// [*providers.FieldError].
func (r *Registry) DeleteDefinition(ctx context.Context, name string) (kept int, err error) {
	r.writing.Lock()
	defer r.writing.Unlock()
	old, err := readName(ctx, r.storage, name)
	if err != nil && !isUnusable(err) {
		return 0, err
	}
	if err == nil && old == "" {
		if r.builtin[name] != nil {
			return 0, &providers.FieldError{Field: "name", Problem: "is the name of a built-in provider, which cannot be deleted"}
		}
		return 0, nil
	}
	if err := remove(ctx, r.storage, namePrefix+name); err != nil {
		return 0, err
	}
	kept = countPins(ctx, r.storage, old)
	r.logUnswept(r.removeUnused(ctx))
	return kept, nil
}

// countPins returns how many configs use the definition with the given digest; 0 if the digest is
// not valid or storage fails.
func countPins(ctx context.Context, s logical.Storage, digest string) int {
	configs, _ := listPins(ctx, s, digestHex(digest))
	return len(configs)
}

// listPins returns the names of the configs that use the definition with the given hex digits.
func listPins(ctx context.Context, s logical.Storage, digits string) ([]string, error) {
	if digits == "" {
		return nil, nil
	}
	return list(ctx, s, pinPrefix+digits+"/")
}

// pin records that the named config uses the definition of p. If the stored definition is gone, pin
// stores the definition again.
func pin(ctx context.Context, s logical.Storage, config string, p *provider) error {
	digits := digestHex(p.digest)
	entry, err := get(ctx, s, DefinitionPrefix+digits)
	if err != nil {
		return err
	}
	if entry == nil {
		if err := put(ctx, s, DefinitionPrefix+digits, definitionRecord{definitionVersion, p.text}); err != nil {
			return err
		}
	}
	return put(ctx, s, pinPrefix+digits+"/"+config, pinRecord{definitionVersion})
}

// unpin records that the named config no longer uses the definition of c. It then removes unused
// definitions. A failure leaves only unused records behind.
func (r *Registry) unpin(ctx context.Context, config string, c *Config) {
	err := remove(ctx, r.storage, pinPrefix+digestHex(c.Definition)+"/"+config)
	if err == nil {
		var current string
		if current, err = readName(ctx, r.storage, c.Provider); err == nil && current != c.Definition {
			err = r.removeUnused(ctx)
		}
	}
	r.logUnswept(err)
}

// logUnswept logs a failure to remove unused records.
func (r *Registry) logUnswept(err error) {
	if err != nil {
		r.opts.Log().Warn("records of unused definitions stay in storage until the next change of a definition", "error", err)
	}
}

// removeUnused removes the definitions that no provider and no config uses. The caller holds
// r.writing. After a failure, the next call removes the rest.
func (r *Registry) removeUnused(ctx context.Context) error {
	all, err := list(ctx, r.storage, DefinitionPrefix)
	if err != nil {
		return err
	}
	names, err := list(ctx, r.storage, namePrefix)
	if err != nil {
		return err
	}
	named := map[string]bool{}
	for _, name := range names {
		digest, err := readName(ctx, r.storage, name)
		if err != nil { // a damaged record may name any definition
			return err
		}
		named[digestHex(digest)] = true
	}
	for _, digits := range all {
		if named[digits] {
			continue
		}
		if used, err := hasConfig(ctx, r.storage, digits); err != nil {
			return err
		} else if used {
			continue
		}
		if err := remove(ctx, r.storage, DefinitionPrefix+digits); err != nil {
			return err
		}
		r.Forget(DefinitionPrefix + digits)
	}
	return nil
}

// hasConfig reports whether any config uses the definition with the given hex digits. A pin records
// that a config uses a definition. hasConfig removes outdated pins.
func hasConfig(ctx context.Context, s logical.Storage, digits string) (bool, error) {
	configs, err := listPins(ctx, s, digits)
	if err != nil {
		return false, err
	}
	for _, name := range configs {
		entry, err := get(ctx, s, ConfigPrefix+name)
		if err != nil {
			return false, err
		}
		if entry != nil {
			if c, err := decodeConfig(entry.Value); err != nil || digestHex(c.Definition) == digits {
				return true, nil //nolint:nilerr // a config that cannot be read keeps its definition
			}
		}
		if err := remove(ctx, s, pinPrefix+digits+"/"+name); err != nil {
			return false, err
		}
	}
	return false, nil
}
