// SPDX-License-Identifier: MPL-2.0

package messaging

import (
	"context"
	"fmt"
	"time"

	"github.com/hashicorp/vault/sdk/framework"
	"github.com/hashicorp/vault/sdk/logical"
)

const (
	rotateSynopsis = "Replace the token of an account with a new one."

	rotateDescription = `
Logs in at the provider and puts the new token in the place of the cached one,
which no reader gets from then on: use it when a token has leaked. Where the
config has a revocation_url the old token is ended at the provider. It also
forgets failures, so that the next attempt need not wait, except where the
provider has said how long to wait. If no new token can be had, the old one goes
on being served. Rotates within 10 seconds share one login.
`
)

// pathRotate is rotate/<name>.
func (b *backend) pathRotate() *framework.Path {
	return &framework.Path{
		Pattern: "rotate/" + framework.GenericNameRegex("name"),
		Fields: map[string]*framework.FieldSchema{
			"name": {Type: framework.TypeString, Required: true, Description: "Name of the config whose token is replaced."},
		},
		HelpSynopsis:    rotateSynopsis,
		HelpDescription: rotateDescription,
		DisplayAttrs:    &framework.DisplayAttributes{OperationPrefix: operationPrefix, OperationVerb: "rotate", OperationSuffix: "credentials"},
		Operations: map[logical.Operation]framework.OperationHandler{
			logical.UpdateOperation: b.operation(b.rotate, framework.PathOperation{
				Summary:                   rotateSynopsis,
				ForwardPerformanceStandby: true,
			}),
		},
	}
}

func (b *backend) rotate(ctx context.Context, req *logical.Request, d *framework.FieldData) (*logical.Response, error) {
	name := nameOf(d)
	c, err := b.readConfig(ctx, req.Storage, name)
	if err != nil {
		return nil, err
	}
	if c != nil && c.Unshared {
		return nil, userError(fmt.Sprintf("config %q has share=false: there is no shared token to replace; revoke the lease of the token instead", name))
	}
	// Seen through, though whoever asked for it may go: the old token is to be revoked.
	g, err := b.cache.Rotate(context.WithoutCancel(ctx), name)
	if err != nil {
		return nil, credsError(name, err)
	}
	a := g.Account.(*account)
	resp := &logical.Response{Data: map[string]any{
		"provider":    a.config.Provider,
		"minted_time": g.Token.Sent.Wall.UTC().Format(time.RFC3339),
		"expire_time": g.Expires.UTC().Format(time.RFC3339),
	}}
	switch old := g.Replaced; {
	case old == nil:
	case old.Access == g.Token.Access: // revoking it would be revoking the new one
		resp.AddWarning("the provider answered with the same token again, which is served on")
	default:
		if warning := b.revoker.settle(newRevocation(a, *old)); warning != "" {
			resp.AddWarning(warning)
		}
	}
	return resp, nil
}
