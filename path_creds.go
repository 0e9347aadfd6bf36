// SPDX-License-Identifier: MPL-2.0

package messaging

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/hashicorp/vault/sdk/framework"
	"github.com/hashicorp/vault/sdk/logical"

	"vault-plugin-secrets-messaging/internal/secret"
	"vault-plugin-secrets-messaging/internal/tokencache"
)

const (
	credsSynopsis = "Read a short-lived bearer token of an account."

	credsDescription = `
Returns the current token of the account that config/<name> describes, minting
one if need be. The token is shared: every reader gets the same one until it is
refreshed. The lease ends when the token does and cannot be renewed: read again
for a newer token. Revoking the lease does not end the token; rotate/<name>
replaces it.

Where the config has lease=false there is no lease; ttl says in how many seconds
a newer token is worth reading. Where it has share=false each read mints a token
of its own, and revoking its lease ends it at the provider, if revocation_url is
set.
`
)

// secretType is the type of the leases of tokens. Vault stores it with each lease.
const secretType = "messaging_token"

// pathCreds is creds/<name>.
func (b *backend) pathCreds() *framework.Path {
	return &framework.Path{
		Pattern: "creds/" + framework.GenericNameRegex("name"),
		Fields: map[string]*framework.FieldSchema{
			"name": {Type: framework.TypeString, Required: true, Description: "Name of the config whose token is read."},
			"min_ttl": {Type: framework.TypeDurationSecond, Query: true,
				Description: "Have at least this much life left in the token, minting a newer one if need be. At most half the token's lifetime counts, and a token minted within the last 10s is the newest there is."},
		},
		HelpSynopsis:    credsSynopsis,
		HelpDescription: credsDescription,
		DisplayAttrs:    &framework.DisplayAttributes{OperationPrefix: operationPrefix, OperationVerb: "generate", OperationSuffix: "credentials"},
		Operations: map[logical.Operation]framework.OperationHandler{
			logical.ReadOperation: b.operation(b.credsRead, framework.PathOperation{
				Summary:                   credsSynopsis,
				ForwardPerformanceStandby: true,
			}),
		},
	}
}

// secretToken is the type of the leases of creds/<name>. There is no renewing.
func (b *backend) secretToken() *framework.Secret {
	return &framework.Secret{
		Type:   secretType,
		Fields: tokenFields(),
		Revoke: b.credsRevoke,
	}
}

func tokenFields() map[string]*framework.FieldSchema {
	return map[string]*framework.FieldSchema{
		"access_token": {Type: framework.TypeString, Description: "The bearer token.", DisplayAttrs: &framework.DisplayAttributes{Sensitive: true}},
	}
}

// credsRevoke ends a lease, and nothing else: its token has other readers, and
// ends by itself when the lease would have. It needs no config and no network.
func (b *backend) credsRevoke(context.Context, *logical.Request, *framework.FieldData) (*logical.Response, error) {
	return nil, nil
}

func (b *backend) credsRead(ctx context.Context, req *logical.Request, d *framework.FieldData) (*logical.Response, error) {
	name := nameOf(d)
	asked, err := askedTTL(d)
	if err != nil {
		return nil, err
	}
	g, err := b.cache.Get(ctx, name, asked)
	if err != nil {
		return nil, credsError(name, err)
	}
	c, parts := g.Account.(*account).config, partsOf(g)
	resp := &logical.Response{Data: map[string]any{
		"access_token": parts.accessToken,
		"expire_time":  parts.expireTime,
		"provider":     parts.provider,
		"token_type":   parts.tokenType,
	}}
	warn(resp, g, asked)
	var internal map[string]any
	switch {
	case c.Unshared:
		rev := newRevocation(g.Account.(*account), g.Token)
		if err := ctx.Err(); err != nil { // the reader has gone, and with it the lease that would end the token
			b.revoker.settle(rev)
			return nil, err
		}
		internal = rev.internalData()
	case c.Leaseless:
		resp.Data["ttl"] = int64(max(g.Left-g.MinTTL, 0) / time.Second)
		resp.Data["rotation_period"] = parts.rotationPeriod
		resp.Data["last_vault_rotation"] = parts.lastRotation
		return resp, nil
	default:
		internal = map[string]any{"secret_type": secretType}
	}
	ttl := leaseTTL(g.Left)
	resp.Secret = &logical.Secret{LeaseOptions: logical.LeaseOptions{TTL: ttl, MaxTTL: ttl}, InternalData: internal}
	return resp, nil
}

// answerParts are what every answer with one token has in common, as the values of
// a map: making them anew for each read is most of what a read would allocate.
type answerParts struct {
	token    secret.String
	expires  time.Time
	lifetime time.Duration

	accessToken, expireTime, provider, tokenType, rotationPeriod, lastRotation any
}

// partsOf returns the parts of the answer with g.
func partsOf(g tokencache.Grant) *answerParts {
	a := g.Account.(*account)
	if p := a.answered.Load(); p != nil && p.token == g.Token.Access && p.expires.Equal(g.Expires) && p.lifetime == g.Lifetime {
		return p
	}
	p := &answerParts{
		token:    g.Token.Access,
		expires:  g.Expires,
		lifetime: g.Lifetime,

		accessToken:    g.Token.Access.Reveal(),
		expireTime:     g.Expires.UTC().Format(time.RFC3339),
		provider:       a.config.Provider,
		tokenType:      g.Token.Type,
		rotationPeriod: int64(g.Lifetime / time.Second),
		lastRotation:   g.Token.Sent.Wall.UTC().Format(time.RFC3339),
	}
	if !a.config.Unshared { // such a token has no other reader
		a.answered.Store(p)
	}
	return p
}

// askedTTL returns the min_ttl of a read; 0 if it has none. The query of a read
// is text, and the framework's own reading of it drops what is below a second.
func askedTTL(d *framework.FieldData) (time.Duration, error) {
	raw, ok := d.Raw["min_ttl"]
	if !ok {
		return 0, nil
	}
	v, err := decode("min_ttl", d.Schema["min_ttl"], raw)
	asked, _ := v.(time.Duration)
	return asked, err
}

// leaseTTL returns the life of a lease of a token with so much life left: whole
// seconds, less one, since Vault rounds; but at least one, since Vault takes 0
// for its default of 768 h.
func leaseTTL(left time.Duration) time.Duration {
	return max(left.Truncate(time.Second)-time.Second, time.Second)
}

// warn says what is not as it should be with a token that is served.
func warn(resp *logical.Response, g tokencache.Grant, asked time.Duration) {
	if f := g.Failure; f != nil {
		resp.AddWarning(fmt.Sprintf("this token could not be refreshed and is served while it lives (%s more): %s; the next attempt is after %s",
			g.Left.Truncate(time.Second), f, f.Next.UTC().Format(time.RFC3339)))
	} else if g.Short && asked > g.MinTTL {
		resp.AddWarning(fmt.Sprintf("this token lives for %s more, not for the min_ttl of %s: min_ttl counts for at most half a token's lifetime (%s of %s)",
			g.Left.Truncate(time.Second), asked, (g.Lifetime / 2).Truncate(time.Second), g.Lifetime))
	} else if g.Short {
		resp.AddWarning(fmt.Sprintf("this token lives for %s more, less than %s, and there is no newer one: it was minted within the last 10s, or the provider has not answered yet",
			g.Left.Truncate(time.Second), g.MinTTL))
	}
}

// credsError says which config a read's error is of.
func credsError(name string, err error) error {
	if errors.Is(err, tokencache.ErrNotFound) {
		return userError(fmt.Sprintf("there is no config %q: write config/%s first", name, name))
	}
	return err
}
