// SPDX-License-Identifier: MPL-2.0

package messaging

import (
	"context"
	"fmt"
	"net/http"

	"github.com/hashicorp/vault/sdk/framework"
	"github.com/hashicorp/vault/sdk/logical"

	"vault-plugin-secrets-messaging/internal/account"
	"vault-plugin-secrets-messaging/internal/tokencache"
)

const (
	keysSynopsis = "Read the public part of an account's signing key."

	keysDescription = `
Shows the public part of the key that signs for the account, as PEM and as JWK.
If the engine made the key (generate_key), a read during a rotation also shows
the next key. After the rotation it shows the previous key until a later mint
confirms that the current key works. No path shows the private part of a key.
`
	rotateKeySynopsis = "Make the next key of an account."

	rotateKeyDescription = `
Makes the next key of an account whose key the engine made, and publishes it at
jwks/<name> beside the current key. The provider gets 5 minutes to fetch the next
key. After that, mints try the next key, at most once in 5 minutes. If the
provider accepts the next key, it becomes the current key. Until then the current
key continues to sign. A provider that cannot reach Vault needs a copy of the
public key. The token stays in use. If there is a next key already, nothing
changes.
`
	activateKeySynopsis = "Make the next key of an account the current key."

	activateKeyDescription = `
Makes the next key the current key, without asking the provider. Activate keys by
hand if the engine signs the tokens itself, because the engine then cannot learn
whether the provider knows the key. Give the public key to the provider first.
The key that was current becomes the previous key. To undo the activation, write
the ID of the previous key to key_id. The current token stays in use until it is
refreshed.
`
)

// keysPath handles keys/<name>, keys/<name>/rotate and keys/<name>/activate.
type keysPath struct {
	*responder
	registry *account.Registry
}

// keyName describes the field name in the paths below keys/.
const keyName = "Name of the config that has the key."

func (p *keysPath) path() *framework.Path {
	return &framework.Path{
		Pattern:         "keys/" + framework.GenericNameRegex("name"),
		Fields:          map[string]*framework.FieldSchema{"name": nameField(keyName)},
		HelpSynopsis:    keysSynopsis,
		HelpDescription: keysDescription,
		DisplayAttrs:    &framework.DisplayAttributes{OperationPrefix: operationPrefix, OperationSuffix: "key"},
		Operations:      operations{logical.ReadOperation: p.onActive(keysSynopsis, p.read)},
	}
}

func (p *keysPath) rotatePath() *framework.Path {
	return &framework.Path{
		Pattern:         "keys/" + framework.GenericNameRegex("name") + "/rotate",
		Fields:          map[string]*framework.FieldSchema{"name": nameField(keyName)},
		HelpSynopsis:    rotateKeySynopsis,
		HelpDescription: rotateKeyDescription,
		DisplayAttrs:    &framework.DisplayAttributes{OperationPrefix: operationPrefix, OperationVerb: "rotate", OperationSuffix: "key"},
		Operations:      operations{logical.UpdateOperation: p.onPrimary(rotateKeySynopsis, p.rotate)},
	}
}

func (p *keysPath) activatePath() *framework.Path {
	return &framework.Path{
		Pattern: "keys/" + framework.GenericNameRegex("name") + "/activate",
		Fields: map[string]*framework.FieldSchema{
			"name": nameField(keyName),
			"key_id": {Type: framework.TypeString,
				Description:  "ID of the key to activate, as keys/<name> shows it. The default is the next key.",
				DisplayAttrs: &framework.DisplayAttributes{Name: "Key ID"}},
		},
		HelpSynopsis:    activateKeySynopsis,
		HelpDescription: activateKeyDescription,
		DisplayAttrs:    &framework.DisplayAttributes{OperationPrefix: operationPrefix, OperationVerb: "activate", OperationSuffix: "key"},
		Operations:      operations{logical.UpdateOperation: p.onPrimary(activateKeySynopsis, p.activate)},
	}
}

func (p *keysPath) read(ctx context.Context, _ *logical.Request, d *framework.FieldData) (*logical.Response, error) {
	name := nameOf(d)
	c, err := p.registry.ReadConfig(ctx, name)
	if err != nil || c == nil {
		return nil, err
	}
	return p.show(ctx, name, c)
}

// show returns the keys of a config, or nil if the config has none. nil becomes a 404.
func (p *keysPath) show(ctx context.Context, name string, c *account.Config) (*logical.Response, error) {
	keys, err := p.registry.PublicKeys(ctx, name, c)
	if err != nil || keys == nil {
		return nil, err
	}
	data := showKey(keys.Current)
	data["generated"] = keys.Generated
	if keys.Next != nil {
		data["next"] = showKey(keys.Next)
	}
	if keys.Previous != nil {
		data["previous"] = showKey(keys.Previous)
	}
	return &logical.Response{Data: data}, nil
}

// showKey returns a key as users see it.
func showKey(k *account.PublicKey) map[string]any {
	data := map[string]any{
		"key_id":         k.ID,
		"algorithm":      k.Algorithm,
		"public_key":     k.PEM,
		"jwk":            k.JWK,
		"created_time":   showTime(k.Created),
		"activated_time": showTime(k.Activated),
	}
	if k.Kind != "" {
		data["kind"] = k.Kind
	}
	if !k.Refused.IsZero() {
		data["refused_time"] = showTime(k.Refused)
	}
	return data
}

// existing returns the named config.
func (p *keysPath) existing(ctx context.Context, name string) (*account.Config, error) {
	c, err := p.registry.ReadConfig(ctx, name)
	if err == nil && c == nil {
		err = notFound(name, tokencache.ErrNotFound)
	}
	return c, err
}

func (p *keysPath) rotate(ctx context.Context, _ *logical.Request, d *framework.FieldData) (*logical.Response, error) {
	name := nameOf(d)
	c, err := p.existing(ctx, name)
	if err != nil {
		return nil, err
	}
	fresh, err := p.registry.RotateKey(ctx, name, c)
	if err != nil {
		return nil, err
	}
	resp, err := p.show(ctx, name, c)
	if err != nil || resp == nil {
		return nil, err
	}
	warning := ""
	switch {
	case !fresh:
		warning = "the last rotation has not finished, so no other key was made"
	case c.SelfSigned():
		warning = fmt.Sprintf("register the next public key at the provider, then write keys/%s/activate", name)
	}
	return withWarnings(resp, warning), nil
}

func (p *keysPath) activate(ctx context.Context, _ *logical.Request, d *framework.FieldData) (*logical.Response, error) {
	name := nameOf(d)
	c, err := p.existing(ctx, name)
	if err != nil {
		return nil, err
	}
	if err := p.registry.ActivateKey(ctx, name, c, d.Get("key_id").(string)); err != nil {
		return nil, err
	}
	return p.show(ctx, name, c)
}

const (
	jwksSynopsis = "Read the public keys of an account as a JWK Set, without a Vault token."

	jwksDescription = `
Returns the JWK Set (RFC 7517) of an account whose key the engine made, for
providers that fetch the keys of their clients. The set contains the current key,
and during a rotation the next and the previous key. The path needs no Vault
token. Other names return an empty set, so that nobody can find out which names
exist. The answer comes from memory, and may be cached for 5 minutes. Vault
audits each request, so set a rate limit quota on the path.
`
)

// jwksPath is jwks/<name>.
type jwksPath struct {
	*responder
	keyrings *account.Keyrings
}

func (p *jwksPath) path() *framework.Path {
	return &framework.Path{
		Pattern:         "jwks/" + framework.GenericNameRegex("name"),
		Fields:          map[string]*framework.FieldSchema{"name": nameField("Name of the config whose public keys are read.")},
		HelpSynopsis:    jwksSynopsis,
		HelpDescription: jwksDescription,
		DisplayAttrs:    &framework.DisplayAttributes{OperationPrefix: operationPrefix, OperationSuffix: "jwks"},
		Operations:      operations{logical.ReadOperation: p.onAnyNode(jwksSynopsis, p.read)},
	}
}

func (p *jwksPath) read(ctx context.Context, req *logical.Request, d *framework.FieldData) (*logical.Response, error) {
	set, err := p.keyrings.JWKS(ctx, nameOf(d))
	if err != nil { // anybody may read this path, so the answer does not tell why
		p.log().Error("request failed", "operation", req.Operation, "path", req.Path, "error", err)
		return nil, logical.CodedError(http.StatusServiceUnavailable, "the public keys cannot be read now: try again")
	}
	return &logical.Response{Data: map[string]any{
		logical.HTTPContentType:        "application/jwk-set+json",
		logical.HTTPRawBody:            set,
		logical.HTTPStatusCode:         http.StatusOK,
		logical.HTTPCacheControlHeader: "max-age=300",
	}}, nil
}
