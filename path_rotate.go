// SPDX-License-Identifier: MPL-2.0

package messaging

import (
	"context"
	"fmt"
	"time"

	"github.com/hashicorp/vault/sdk/framework"
	"github.com/hashicorp/vault/sdk/logical"

	"vault-plugin-secrets-messaging/internal/account"
	"vault-plugin-secrets-messaging/internal/revocation"
	"vault-plugin-secrets-messaging/internal/tokencache"
)

const (
	rotateSynopsis = "Replace the token of an account with a new token."

	rotateDescription = `
Logs in at the provider and replaces the cached token with the new token. No
reader gets the old token from then on: rotate when a token has leaked. If the
config has a revocation_url, the old token is revoked at the provider. Rotate
also forgets failures, so that the next attempt need not wait, unless the
provider said how long to wait. If the login fails, the old token stays in use.
Rotates within 10 seconds share one login.
`
)

// rotatePath is rotate/<name>.
type rotatePath struct {
	*responder
	registry *account.Registry
	cache    *tokencache.Cache
	revoker  *revocation.Revoker
}

func (p *rotatePath) path() *framework.Path {
	return &framework.Path{
		Pattern: "rotate/" + framework.GenericNameRegex("name"),
		Fields: map[string]*framework.FieldSchema{
			"name": {Type: framework.TypeString, Required: true, Description: "Name of the config whose token is replaced."},
		},
		HelpSynopsis:    rotateSynopsis,
		HelpDescription: rotateDescription,
		DisplayAttrs:    &framework.DisplayAttributes{OperationPrefix: operationPrefix, OperationVerb: "rotate", OperationSuffix: "credentials"},
		Operations: map[logical.Operation]framework.OperationHandler{
			logical.UpdateOperation: p.operation(p.rotate, framework.PathOperation{
				Summary:                   rotateSynopsis,
				ForwardPerformanceStandby: true,
			}),
		},
	}
}

func (p *rotatePath) rotate(ctx context.Context, req *logical.Request, d *framework.FieldData) (*logical.Response, error) {
	name := nameOf(d)
	c, err := p.registry.ReadConfig(ctx, req.Storage, name)
	if err != nil {
		return nil, err
	}
	if c != nil && !c.Share {
		return nil, userError(fmt.Sprintf("config %q has share=false: there is no shared token to replace; revoke the lease of the token instead", name))
	}
	// A rotate continues if its client is gone, because the old token must be revoked.
	g, err := p.cache.Rotate(context.WithoutCancel(ctx), name)
	if err != nil {
		return nil, notFound(name, err)
	}
	a := g.Account.(*account.Account)
	resp := &logical.Response{Data: map[string]any{
		"provider":    a.Provider(),
		"minted_time": g.Token.Sent.Wall.UTC().Format(time.RFC3339),
		"expire_time": g.Expires.UTC().Format(time.RFC3339),
	}}
	switch old := g.Replaced; {
	case old == nil:
	case old.Access == g.Token.Access: // revoking the old token would revoke the new token
		resp.AddWarning("the provider returned the same token again, so it stays in use")
	default:
		if warning := p.revoker.RevokeOrQueue(revocation.New(a, *old)); warning != "" {
			resp.AddWarning(warning)
		}
	}
	return resp, nil
}
