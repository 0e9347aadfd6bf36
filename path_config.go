// SPDX-License-Identifier: MPL-2.0

package messaging

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/hashicorp/vault/sdk/framework"
	"github.com/hashicorp/vault/sdk/helper/locksutil"
	"github.com/hashicorp/vault/sdk/logical"

	"vault-plugin-secrets-messaging/internal/account"
	"vault-plugin-secrets-messaging/internal/revocation"
	"vault-plugin-secrets-messaging/internal/telemetry"
	"vault-plugin-secrets-messaging/internal/token"
	"vault-plugin-secrets-messaging/internal/tokencache"
	"vault-plugin-secrets-messaging/providers"
)

const (
	configSynopsis = "Configure an account with a messaging provider."

	configDescription = `
A config is one account with one provider: the long-lived credential, where to
trade it for tokens, and how to keep the tokens. Read the account's token at
creds/<name>.

A config takes the fields listed in this help, and the fields of its provider,
which providers/<name> shows. The provider of a config cannot be changed: delete
the config and write it again.

A write that changes credentials, endpoints or share first mints a token, and
stores nothing if that fails. To skip this, set verify_connection=false. A field
that you leave out keeps its value. An empty string or null restores the
default. A write that changes where or how a secret is sent (token_url,
revocation_url, environment, ca_cert, auth_style) must repeat the secrets.
Secrets are write-only: a read shows only which secrets are set, in secrets_set.

If you defined the provider yourself, the config keeps the definition that it was
written with. In a read, definition is the digest of that definition, and
definition_current says whether new configs get the same definition. To adopt the
definition that providers/<name> shows, write its digest to adopt_definition, and
repeat the secrets.
`
	configListSynopsis = "List the configured accounts."

	verifyDescription = "Whether to verify the write: mint a token first, and store nothing if the mint fails. By default, writes that change credentials, endpoints or share are verified. Set true to verify any write, or false to verify none."
)

// configPath is config/<name> and config/.
type configPath struct {
	*responder
	registry *account.Registry
	cache    *tokencache.Cache
	revoker  *revocation.Revoker
	events   *telemetry.Events

	// locks serialize the writes of a config, including verification. Reads of creds take no lock.
	locks []*locksutil.LockEntry
}

func (p *configPath) path() *framework.Path {
	write := p.withEvent(telemetry.EventConfigWrite, p.write)
	return &framework.Path{
		Pattern: "config/" + framework.GenericNameRegex("name"),
		Fields:  p.schema(),
		// The provider's fields are not in this schema. account.Merge checks them.
		TakesArbitraryInput: true,
		ExistenceCheck:      p.exists,
		HelpSynopsis:        configSynopsis,
		HelpDescription:     configDescription,
		DisplayAttrs:        &framework.DisplayAttributes{OperationPrefix: operationPrefix, OperationSuffix: "configuration", ItemType: "Account", Action: "Create"},
		Operations: operations{
			logical.CreateOperation: p.onPrimary("Write the config of an account.", write),
			logical.UpdateOperation: p.onPrimary("Change fields of the config of an account.", write),
			logical.PatchOperation:  p.onPrimary("Change fields of an existing config of an account.", write),
			logical.DeleteOperation: p.onPrimary("Delete the config of an account and its token.", p.withEvent(telemetry.EventConfigDelete, p.delete)),
			// Tools such as Terraform read a config right after a write. Only the active node sees
			// the write at once.
			logical.ReadOperation: p.onActive("Read the config of an account, without its secrets.", p.read),
		},
	}
}

func (p *configPath) listPath() *framework.Path {
	return &framework.Path{
		Pattern:         "config/?$",
		HelpSynopsis:    configListSynopsis,
		HelpDescription: configListSynopsis,
		DisplayAttrs:    &framework.DisplayAttributes{OperationPrefix: operationPrefix, OperationSuffix: "configurations", Navigation: true, ItemType: "Account"},
		Operations:      operations{logical.ListOperation: p.onActive(configListSynopsis, listConfigs)},
	}
}

// schema returns the fields of config/<name>.
func (p *configPath) schema() map[string]*framework.FieldSchema {
	schema := account.ConfigSchema()
	schema["provider"] = &framework.FieldSchema{Type: framework.TypeString, Required: true,
		Description:  "Provider of the account. List providers/ for the names. Cannot be changed later.",
		DisplayAttrs: &framework.DisplayAttributes{Name: "Provider"}}
	schema["adopt_definition"] = &framework.FieldSchema{Type: framework.TypeString,
		Description:  "Digest of the definition to adopt. providers/<name> shows the digest. Without adopt_definition the config keeps its definition.",
		DisplayAttrs: &framework.DisplayAttributes{Name: "Adopt definition"}}
	schema["name"] = nameField("Name of the config. Its token is read at creds/<name>.")
	schema["verify_connection"] = &framework.FieldSchema{Type: framework.TypeBool, Default: true, Description: verifyDescription,
		DisplayAttrs: &framework.DisplayAttributes{Name: "Verify connection", Value: true}}
	return schema
}

var errNameTooLong = &providers.FieldError{Field: "name", Problem: fmt.Sprintf("must be at most %d bytes long", account.MaxName)}

// withEvent returns a handler that calls h. If h succeeds, the handler sends an event without
// holding a lock.
func (p *configPath) withEvent(operation string, h handler) handler {
	return func(ctx context.Context, req *logical.Request, d *framework.FieldData) (*logical.Response, error) {
		resp, err := h(ctx, req, d)
		if err != nil || resp.IsError() {
			return resp, err
		}
		e := telemetry.Event{Operation: operation, Config: nameOf(d), Path: req.Path, Modified: true}
		if operation != telemetry.EventConfigDelete {
			e.DataPath = req.Path
		}
		p.events.Send(ctx, e)
		return resp, nil
	}
}

func (p *configPath) exists(ctx context.Context, req *logical.Request, d *framework.FieldData) (bool, error) {
	entry, err := req.Storage.Get(ctx, account.ConfigPrefix+nameOf(d))
	if err != nil {
		return false, fmt.Errorf("reading %s from storage: %w", req.Path, err)
	}
	return entry != nil, nil
}

// listConfigs handles the lists config/ and creds/.
func listConfigs(ctx context.Context, req *logical.Request, _ *framework.FieldData) (*logical.Response, error) {
	names, err := account.ListConfigs(ctx, req.Storage)
	if err != nil {
		return nil, err
	}
	return logical.ListResponse(names), nil
}

func (p *configPath) read(ctx context.Context, _ *logical.Request, d *framework.FieldData) (*logical.Response, error) {
	c, err := p.registry.ReadConfig(ctx, nameOf(d))
	if err != nil || c == nil {
		return nil, err
	}
	data := c.Show()
	if c.Definition != "" {
		data["definition"] = c.Definition
		if data["definition_current"], err = p.registry.Current(ctx, c); err != nil {
			return nil, err
		}
	}
	return &logical.Response{Data: data}, nil
}

// write creates, updates and patches.
func (p *configPath) write(ctx context.Context, req *logical.Request, d *framework.FieldData) (*logical.Response, error) {
	name := nameOf(d)
	if len(name) > account.MaxName {
		return nil, errNameTooLong
	}
	lock := locksutil.LockForKey(p.locks, name)
	lock.Lock()
	defer lock.Unlock()

	old, err := p.registry.ReadConfig(ctx, name)
	if err != nil {
		return nil, err
	}
	data := req.Data
	if req.Operation == logical.PatchOperation {
		if old == nil {
			return nil, logical.CodedError(http.StatusNotFound, fmt.Sprintf("there is no config %q to patch: write it first", name))
		}
		data = old.Patched(data)
	}
	w, err := account.DecodeWrite(data, d.Schema)
	if err != nil {
		return nil, err
	}
	next, err := p.registry.Merge(ctx, old, w)
	if err != nil {
		return nil, err
	}
	changed := old == nil || !old.SameTokens(next)
	if changed || !next.Share && w.Verify(changed) {
		// A new revision discards the cached token and ends the config's backoff. A verified write
		// of an unshared config must end the backoff even if nothing has changed.
		next.Revision = rand.Text()
	}
	verify, err := p.prepareKey(old, next, w, changed)
	if err != nil {
		return nil, err
	}
	a, err := p.registry.Account(name, next)
	if err != nil {
		return nil, err
	}
	var minted *token.Token
	if verify {
		if minted, err = p.verify(ctx, a); err != nil {
			return nil, err
		}
	}
	keep := minted
	if !next.Share {
		keep = nil // only one reader may get an unshared token, and this write got it
	}
	unsaved, err := p.cache.Put(ctx, name, a, keep, func() error {
		return p.registry.WriteConfig(ctx, name, old, next)
	})
	if err != nil {
		if minted != nil {
			p.discard(ctx, a, *minted)
		}
		return nil, err
	}
	warnings := []string{p.clientCertWarning(next)}
	if next.NeedsKey(old) {
		warnings = append(warnings, fmt.Sprintf("the engine made a key: give the public key to the provider before you read tokens; keys/%s shows the public key, and jwks/%s publishes it", name, name))
	}
	if unsaved != nil {
		p.log().Error("the token is served but could not be stored; the engine tries again", "config", name, "error", unsaved)
		warnings = append(warnings, unsavedWarning(unsaved))
	}
	if w.KeepsExpire(old, next) {
		warnings = append(warnings, fmt.Sprintf("credentials_expire is still %s, although the credentials changed: write the end date of the new credentials, or \"\" if they have none", next.Expire))
	}
	if minted != nil && keep == nil {
		warnings = append(warnings, p.revoker.RevokeOrQueue(revocation.New(a, *minted)))
	}
	return withWarnings(nil, warnings...), nil
}

// discard revokes the token that a failed write has minted, unless storage has the same token.
func (p *configPath) discard(ctx context.Context, a *account.Account, minted token.Token) {
	if _, t, _ := p.registry.LoadAccount(ctx, a.Name); t == nil || t.Access != minted.Access {
		p.revoker.RevokeOnce(a, revocation.New(a, minted))
	}
}

// clientCertWarning returns a warning if the client certificate is expired or not yet valid, and
// otherwise "".
func (p *configPath) clientCertWarning(c *account.Config) string {
	from, until := c.ClientCertValidity()
	now := p.clock().Wall
	switch {
	case now.After(until) && !until.IsZero():
		return fmt.Sprintf("client_cert: the certificate expired at %s, and most providers refuse it; write a new certificate with its client_key", showTime(until))
	case now.Before(from):
		return fmt.Sprintf("client_cert: the certificate is valid from %s, and most providers refuse it until then", showTime(from))
	}
	return ""
}

// prepareKey generates a key if the config needs a key. It reports whether to verify the write. If
// the provider issues the tokens, a write with a new key is not verified, because the provider does
// not know the key yet.
func (p *configPath) prepareKey(old, next *account.Config, w *account.Write, changed bool) (verify bool, err error) {
	verify = w.Verify(changed) && (changed || !next.SelfSigned())
	switch {
	case !next.NeedsKey(old):
		return verify, nil
	case verify && w.Verify(false) && !next.SelfSigned():
		return false, &providers.FieldError{Field: "verify_connection", Problem: "cannot be true for a write that makes a key, because the provider does not know the key yet"}
	}
	return verify && next.SelfSigned(), p.registry.MakeKey(next)
}

// withWarnings adds the warnings that are not "" to resp. resp may be nil.
func withWarnings(resp *logical.Response, warnings ...string) *logical.Response {
	for _, w := range warnings {
		if w == "" {
			continue
		}
		if resp == nil {
			resp = &logical.Response{}
		}
		resp.AddWarning(w)
	}
	return resp
}

// unsavedWarning returns a warning that storage does not have the new token.
func unsavedWarning(err error) string {
	return fmt.Sprintf("the new token is in use but could not be stored; the engine tries to store it again: %s", err)
}

// maxVerifyWait limits how long a config write waits for the provider. During the wait, Vault
// cannot reload, move or disable the mount.
const maxVerifyWait = 10 * time.Second

// verify mints a token with an account that is not stored yet.
func (p *configPath) verify(ctx context.Context, a *account.Account) (*token.Token, error) {
	if until := p.cache.RetryAfter(a.Name, a); !until.IsZero() {
		return nil, logical.CodedError(http.StatusBadGateway, fmt.Sprintf(
			"nothing was stored: the provider asked for no more requests until %s: write again then, or now with verify_connection=false", showTime(until)))
	}
	ctx, cancel := context.WithTimeoutCause(ctx, maxVerifyWait, &token.Error{Kind: token.Unavailable,
		Problem: fmt.Sprintf("the provider has not issued a token within %s", maxVerifyWait)})
	defer cancel()
	t, err := p.cache.Mint(ctx, a)
	if err != nil && ctx.Err() != nil {
		err = context.Cause(ctx)
	}
	var failure *token.Error
	switch {
	case errors.As(err, &failure) && (failure.Kind == token.Refused || failure.Kind == token.Malformed):
		// After a 5xx, Vault's clients would repeat the request, which would cause another login.
		return nil, userError("nothing was stored: " + err.Error())
	case err != nil:
		return nil, fmt.Errorf("nothing was stored: %w", err)
	}
	return &t, nil
}

func (p *configPath) delete(ctx context.Context, _ *logical.Request, d *framework.FieldData) (*logical.Response, error) {
	name := nameOf(d)
	lock := locksutil.LockForKey(p.locks, name)
	lock.Lock()
	defer lock.Unlock()
	var a *account.Account
	err := p.cache.Delete(name, func() error {
		stored, t, err := p.registry.LoadAccount(ctx, name)
		if damaged := (*account.RecordError)(nil); err != nil && !errors.As(err, &damaged) && !errors.Is(err, tokencache.ErrNotFound) {
			return err
		}
		a = stored
		var tokens []revocation.Revocation
		if t != nil {
			tokens = append(tokens, revocation.New(a, *t))
		}
		if held, ok := p.cache.Cached(name); ok && a != nil && (t == nil || t.Access != held.Access) { // not saved yet
			tokens = append(tokens, revocation.New(a, held))
		}
		if err := p.revoker.Prepare(tokens...); err != nil {
			return err
		}
		return p.registry.DeleteConfig(ctx, name)
	})
	if err != nil {
		p.revoker.Abandon(name)
		return nil, err
	}
	return withWarnings(nil, p.revoker.EndConfig(name, a)), nil
}
