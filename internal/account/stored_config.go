// SPDX-License-Identifier: MPL-2.0

package account

import (
	"context"
	"fmt"

	"github.com/hashicorp/vault/sdk/logical"

	"vault-plugin-secrets-messaging/internal/secret"
	"vault-plugin-secrets-messaging/providers"
)

// ConfigPrefix is the storage prefix of configs. The config's name follows.
const ConfigPrefix = "config/"

// configVersion is the version of stored configs that have a KeyOwner. Plugins that do not know
// KeyOwner refuse this version. Stored configs without a KeyOwner have version 1.
const configVersion = 2

// configRecord is the stored form of a [Config]. A missing member has its default.
type configRecord struct {
	Version int `json:"version"`
	*Config

	ClientKey string            `json:"client_key,omitempty"`
	Fields    map[string]string `json:"fields"`
	NoLease   bool              `json:"leaseless,omitempty"`
	NoShare   bool              `json:"unshared,omitempty"`
}

// decodeConfig decodes a stored config. Its errors do not quote the config.
func decodeConfig(stored []byte) (*Config, error) {
	c := &Config{}
	r := configRecord{Config: c}
	if err := decodeRecord(stored, configVersion, &r); err != nil {
		return nil, err
	}
	if c.Revision == "" || c.Provider == "" || c.Definition != "" && digestHex(c.Definition) == "" {
		return nil, errDamaged
	}
	c.ClientKey, c.Lease, c.Share = secret.String(r.ClientKey), !r.NoLease, !r.NoShare
	c.Fields = make(map[string]secret.String, len(r.Fields))
	for name, text := range r.Fields {
		c.Fields[name] = secret.String(text)
	}
	return c, nil
}

// putConfig stores a config.
func putConfig(ctx context.Context, s logical.Storage, name string, c *Config) error {
	r := configRecord{Version: 1, Config: c, ClientKey: c.ClientKey.Reveal(), NoLease: !c.Lease, NoShare: !c.Share,
		Fields: make(map[string]string, len(c.Fields))}
	if c.KeyOwner != "" {
		r.Version = configVersion
	}
	for field, text := range c.Fields {
		r.Fields[field] = text.Reveal()
	}
	return put(ctx, s, ConfigPrefix+name, r)
}

// ReadConfig returns the named config; nil if there is none. If the stored config cannot be
// used, the error is a [*RecordError].
func (r *Registry) ReadConfig(ctx context.Context, name string) (*Config, error) {
	entry, err := get(ctx, r.storage, ConfigPrefix+name)
	if err != nil || entry == nil {
		return nil, err
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
		if c.provider, err = r.definition(ctx, c.Provider, c.Definition); err != nil {
			return nil, fmt.Errorf("config %q: %w", name, err)
		}
	}
	return c, nil
}

// ListConfigs returns the names of the stored configs.
func ListConfigs(ctx context.Context, s logical.Storage) ([]string, error) {
	return list(ctx, s, ConfigPrefix)
}

// WriteConfig stores the named config in place of old. For a new config, old is nil. A new key
// is stored before the config, because the config does not work without the key.
func (r *Registry) WriteConfig(ctx context.Context, name string, old, c *Config) error {
	if old == nil {
		old = &Config{}
	}
	if c.newKeys != nil {
		if err := r.keyrings.replace(ctx, name, c.newKeys); err != nil {
			return err
		}
	}
	if err := r.putWithDefinition(ctx, name, old, c); err != nil {
		return err
	}
	switch {
	case c.spendsRefresh():
		r.refresh.keepOnly(ctx, name, c)
	case old.spendsRefresh():
		r.refresh.drop(ctx, name)
	}
	if old.KeyOwner != "" && c.KeyOwner == "" {
		if err := r.keyrings.replace(ctx, name, nil); err != nil { // the key is of no use without its config
			r.opts.Log().Warn("a key that no config uses stays in storage until the config is deleted", "config", name, "error", err)
		}
	}
	return nil
}

// putWithDefinition stores a config, and records which definition the config uses.
func (r *Registry) putWithDefinition(ctx context.Context, name string, old, c *Config) error {
	if c.Definition == old.Definition {
		return putConfig(ctx, r.storage, name, c)
	}
	r.writing.Lock()
	defer r.writing.Unlock()
	if c.Definition != "" {
		if err := pin(ctx, r.storage, name, c.provider); err != nil {
			return err
		}
	}
	if err := putConfig(ctx, r.storage, name, c); err != nil {
		return err
	}
	if old.Definition != "" {
		r.unpin(ctx, name, old)
	}
	return nil
}

// DeleteConfig deletes the named config's token, then the config, then its keys. In this order, a
// failure leaves no token without a config, and no config without its key.
func (r *Registry) DeleteConfig(ctx context.Context, name string) error {
	entry, err := get(ctx, r.storage, ConfigPrefix+name)
	if err != nil {
		return err
	}
	for _, key := range []string{TokenPrefix + name, ConfigPrefix + name} {
		if err := remove(ctx, r.storage, key); err != nil {
			return err
		}
	}
	var c *Config
	if entry != nil {
		c, _ = decodeConfig(entry.Value)
	}
	if c == nil || c.KeyOwner != "" { // without a config, an earlier deletion may have left keys
		if err := r.keyrings.replace(ctx, name, nil); err != nil {
			return err
		}
	}
	if c == nil {
		return nil
	}
	// Delete the refresh tokens after the config, because a config that could not be deleted still
	// needs them.
	if _, set := c.Fields[providers.RefreshField]; set {
		r.refresh.drop(ctx, name)
	}
	if c.Definition != "" {
		r.writing.Lock()
		defer r.writing.Unlock()
		r.unpin(ctx, name, c)
	}
	return nil
}
