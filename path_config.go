// SPDX-License-Identifier: MPL-2.0

package messaging

import (
	"context"
	"crypto/rand"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/hashicorp/vault/sdk/framework"
	"github.com/hashicorp/vault/sdk/helper/locksutil"
	"github.com/hashicorp/vault/sdk/logical"

	"vault-plugin-secrets-messaging/internal/tokencache"
	"vault-plugin-secrets-messaging/providers"
)

const (
	configSynopsis = "Configure an account with a messaging provider."

	configDescription = `
A config is one account with one provider: its long-lived credential, where to
trade that for tokens, and how the tokens are kept. Its token is read at
creds/<name>.

Which fields of their own a provider takes is at providers/<name>. The provider
of a config is fixed: to change it, delete the config and write it again.

A write mints a token first, and stores nothing if that fails, unless it has
verify_connection=false or leaves credentials, endpoint and share as they are. A
field that is not named keeps its value; an empty text, or null, puts it back to
its default. A write that changes where or how a secret is sent (token_url,
revocation_url, environment, ca_cert, auth_style) must carry the secret again.
Secrets can be written but not read: a read shows in secrets_set which of them
there are.
`
	configListSynopsis = "List the configured accounts."
)

const verifyDescription = "Whether this write mints a token first and stores nothing if that fails. The default is true, for writes that change credentials, the endpoint or share; with an explicit true any write does."

// pathConfig is config/<name>.
func (b *backend) pathConfig() *framework.Path {
	write := framework.PathOperation{ForwardPerformanceStandby: true, ForwardPerformanceSecondary: true}
	return &framework.Path{
		Pattern:         "config/" + framework.GenericNameRegex("name"),
		Fields:          b.configSchema(),
		ExistenceCheck:  b.configExists,
		HelpSynopsis:    configSynopsis,
		HelpDescription: configDescription,
		DisplayAttrs:    &framework.DisplayAttributes{OperationPrefix: operationPrefix, OperationSuffix: "configuration", ItemType: "Account", Action: "Create"},
		Operations: map[logical.Operation]framework.OperationHandler{
			logical.CreateOperation: b.operation(b.announced(eventConfigWrite, b.configWrite), with(write, "Write the config of an account.")),
			logical.UpdateOperation: b.operation(b.announced(eventConfigWrite, b.configWrite), with(write, "Change fields of the config of an account.")),
			logical.PatchOperation:  b.operation(b.announced(eventConfigWrite, b.configWrite), with(write, "Change fields of the config of an account that is there.")),
			logical.DeleteOperation: b.operation(b.announced(eventConfigDelete, b.configDelete), with(write, "Delete the config of an account, and its token with it.")),
			logical.ReadOperation:   b.operation(b.configRead, framework.PathOperation{Summary: "Read the config of an account, without its secrets."}),
		},
	}
}

// pathConfigList is config/.
func (b *backend) pathConfigList() *framework.Path {
	return &framework.Path{
		Pattern:         "config/?$",
		HelpSynopsis:    configListSynopsis,
		HelpDescription: configListSynopsis,
		DisplayAttrs:    &framework.DisplayAttributes{OperationPrefix: operationPrefix, OperationSuffix: "configurations", Navigation: true, ItemType: "Account"},
		Operations: map[logical.Operation]framework.OperationHandler{
			logical.ListOperation: b.operation(b.configList, framework.PathOperation{Summary: configListSynopsis}),
		},
	}
}

// with returns op with a summary.
func with(op framework.PathOperation, summary string) framework.PathOperation {
	op.Summary = summary
	return op
}

// configSchema returns the fields of config/<name>: those that every config has
// and those of all providers.
func (b *backend) configSchema() map[string]*framework.FieldSchema {
	schema := map[string]*framework.FieldSchema{
		"name": {Type: framework.TypeString, Required: true, Description: "Name of the config. Its token is read at creds/<name>."},
		"provider": {Type: framework.TypeString, Required: true,
			Description:  "The provider of the account: " + strings.Join(b.providerNames(), ", ") + ". Fixed once written.",
			DisplayAttrs: &framework.DisplayAttributes{Name: "Provider"}},
		"verify_connection": {Type: framework.TypeBool, Default: true, Description: verifyDescription,
			DisplayAttrs: &framework.DisplayAttributes{Name: "Verify connection", Value: true}},
	}
	for _, name := range b.providerNames() {
		schema["provider"].AllowedValues = append(schema["provider"].AllowedValues, name)
	}
	for _, f := range configFields() {
		schema[f.name] = &f.schema
	}
	for _, f := range b.providerFields() {
		schema[f.Name] = providerSchema(f.Field, f.of)
	}
	return schema
}

// providerField is a field of the providers named in of.
type providerField struct {
	providers.Field
	of []string
}

// providerFields returns the fields that providers have of their own, sorted by
// name, each as the first provider has it.
func (b *backend) providerFields() []*providerField {
	fields := map[string]*providerField{}
	for _, name := range b.providerNames() {
		for _, f := range b.providers[name].spec.Fields {
			if fields[f.Name] == nil {
				fields[f.Name] = &providerField{Field: f}
			}
			fields[f.Name].of = append(fields[f.Name].of, name)
		}
	}
	return slices.SortedFunc(maps.Values(fields), func(f, g *providerField) int { return strings.Compare(f.Name, g.Name) })
}

// configLock returns the lock of writes of the named config, which is held while
// one verifies, so that writes end in the order in which they were stored. Reads
// of creds do not take it.
func (b *backend) configLock(name string) sync.Locker {
	return locksutil.LockForKey(b.configWrites, name)
}

func (b *backend) configExists(ctx context.Context, req *logical.Request, d *framework.FieldData) (bool, error) {
	entry, err := req.Storage.Get(ctx, configPrefix+nameOf(d))
	if err != nil {
		return false, fmt.Errorf("reading %s from storage: %w", req.Path, err)
	}
	return entry != nil, nil
}

func (b *backend) configList(ctx context.Context, req *logical.Request, _ *framework.FieldData) (*logical.Response, error) {
	names, err := listConfigs(ctx, req.Storage)
	if err != nil {
		return nil, err
	}
	return logical.ListResponse(names), nil
}

func listConfigs(ctx context.Context, s logical.Storage) ([]string, error) {
	names, err := s.List(ctx, configPrefix)
	if err != nil {
		return nil, fmt.Errorf("listing %s in storage: %w", configPrefix, err)
	}
	return names, nil
}

func (b *backend) configRead(ctx context.Context, req *logical.Request, d *framework.FieldData) (*logical.Response, error) {
	c, err := b.readConfig(ctx, req.Storage, nameOf(d))
	if err != nil || c == nil {
		return nil, err
	}
	p := b.providers[c.Provider]
	data := map[string]any{"provider": c.Provider, "secrets_set": c.secretsSet(p.spec)}
	for _, f := range configFields() {
		if v := f.show(c); v != nil {
			data[f.name] = v
		}
	}
	if e := c.environment(p.spec); e != "" {
		data["environment"] = e
	}
	data["token_url"] = c.tokenURL(p.spec)
	values := c.settings(p.spec).Values
	for _, f := range p.spec.Fields {
		if text, ok := values[f.Name]; ok && !f.Secret {
			data[f.Name] = fieldValue(f, text.Reveal())
		}
	}
	return &logical.Response{Data: data}, nil
}

// configWrite creates, updates and patches.
func (b *backend) configWrite(ctx context.Context, req *logical.Request, d *framework.FieldData) (*logical.Response, error) {
	name := nameOf(d)
	if len(name) > maxName {
		return nil, &providers.FieldError{Field: "name", Problem: fmt.Sprintf("it is too long: want at most %d bytes", maxName)}
	}
	lock := b.configLock(name)
	lock.Lock()
	defer lock.Unlock()

	old, err := b.readConfig(ctx, req.Storage, name)
	if err != nil {
		return nil, err
	}
	data := req.Data
	if req.Operation == logical.PatchOperation {
		if old == nil {
			return nil, logical.CodedError(http.StatusNotFound, fmt.Sprintf("there is no config %q to patch: write it first", name))
		}
		data = b.patched(old, data)
	}
	w, err := b.decodeWrite(data, d.Schema)
	if err != nil {
		return nil, err
	}
	next, err := b.merge(old, w)
	if err != nil {
		return nil, err
	}
	changed := old == nil || !old.identityEqual(next)
	if changed || next.Unshared && w.verify(changed) {
		// The token that verifies an unshared account is not kept: with a new revision
		// its success forgets the failures all the same.
		next.Revision = rand.Text()
	}
	a, err := b.account(name, next)
	if err != nil {
		return nil, err
	}
	var minted *tokencache.Minted
	if w.verify(changed) {
		if minted, err = b.verify(ctx, a); err != nil {
			return nil, err
		}
	}
	keep := minted
	if next.Unshared {
		keep = nil // no reader is to have a token that another reader, or this write, has had
	}
	err = b.cache.Put(ctx, name, a, keep, func() error {
		return writeConfig(ctx, req.Storage, name, next)
	})
	if err == nil && minted != nil && keep == nil {
		b.revoker.settle(newRevocation(a, minted.Token))
	}
	return nil, err
}

// verify mints a token with an account that is not stored yet.
func (b *backend) verify(ctx context.Context, a *account) (*tokencache.Minted, error) {
	if until := b.cache.RetryAfter(a.name); !until.IsZero() {
		return nil, logical.CodedError(http.StatusBadGateway, fmt.Sprintf(
			"nothing was stored: the provider asked for no more requests until %s: write again then, or now with verify_connection=false", until.UTC().Format(time.RFC3339)))
	}
	m, err := a.Mint(ctx, "")
	if err != nil {
		return nil, fmt.Errorf("nothing was stored: %w", err)
	}
	m.Sent = b.clock().Add(-m.Took)
	return &m, nil
}

func (b *backend) configDelete(ctx context.Context, req *logical.Request, d *framework.FieldData) (*logical.Response, error) {
	name := nameOf(d)
	lock := b.configLock(name)
	lock.Lock()
	defer lock.Unlock()
	var (
		a     *account
		token *revocation
	)
	err := b.cache.Delete(name, func() (err error) {
		if a, token, err = b.revoker.stored(ctx, name); err != nil {
			return err
		}
		// The token first: without its config it would lie there for good.
		for _, key := range []string{tokenPrefix + name, configPrefix + name} {
			if err := req.Storage.Delete(ctx, key); err != nil {
				return fmt.Errorf("deleting %s from storage: %w", key, err)
			}
		}
		return nil
	})
	if err != nil || token == nil {
		return nil, err
	}
	return b.revoker.retire(a, *token), nil
}
