// SPDX-License-Identifier: MPL-2.0

package messaging

import (
	"context"
	"encoding/hex"
	"fmt"
	"strings"
	"time"

	"github.com/hashicorp/vault/sdk/framework"
	"github.com/hashicorp/vault/sdk/logical"

	"vault-plugin-secrets-messaging/internal/account"
	"vault-plugin-secrets-messaging/internal/revocation"
	"vault-plugin-secrets-messaging/internal/token"
	"vault-plugin-secrets-messaging/internal/tokencache"
	"vault-plugin-secrets-messaging/providers"
)

const (
	credsSynopsis = "Read a short-lived bearer token of an account."

	credsDescription = `
Returns the current token of the account in config/<name>, and mints a token if
there is none. The token is shared: every reader gets the same token until it is
refreshed. The lease ends when the token does and cannot be renewed: read again
for a newer token. Revoking the lease does not end the token; rotate/<name>
replaces it.

If the config has lease=false, there is no lease; ttl says after how many seconds
to read again. If the config has share=false, each read mints an unshared token,
and revoking its lease revokes the token at the provider if revocation_url is set.
`
	credsListSynopsis = "List the accounts whose tokens can be read."

	credsListDescription = `
Returns the names of all configs. Read creds/<name> for the token of one of them.
The list mints nothing.
`
)

// credsPath is creds/<name> and creds/.
type credsPath struct {
	*responder
	cache   *tokencache.Cache
	revoker *revocation.Revoker
}

// path is creds/<name>.
func (p *credsPath) path() *framework.Path {
	return &framework.Path{
		Pattern: "creds/" + framework.GenericNameRegex("name"),
		Fields: map[string]*framework.FieldSchema{
			"name": {Type: framework.TypeString, Required: true, Description: "Name of the config whose token is read."},
			"min_ttl": {Type: framework.TypeDurationSecond, Query: true,
				Description: "Least remaining life of the token. If the cached token has less, the engine mints a new token. A value above half the token's lifetime counts as half. A token minted within the last 10s is never replaced."},
			"rejected": {Type: framework.TypeString, Query: true,
				Description: "token_id of a token that the provider rejected before its time, for example with 401. If that token is still cached, the engine logs in and returns a new token. If another report was honored within the last minutes, the engine does not log in, and a warning says when the next report will be honored. Send rejected once, and repeat the provider call once with the token that you get."},
		},
		HelpSynopsis:    credsSynopsis,
		HelpDescription: credsDescription,
		DisplayAttrs:    &framework.DisplayAttributes{OperationPrefix: operationPrefix, OperationVerb: "generate", OperationSuffix: "credentials"},
		Operations: map[logical.Operation]framework.OperationHandler{
			logical.ReadOperation: p.operation(p.read, framework.PathOperation{
				Summary:                   credsSynopsis,
				ForwardPerformanceStandby: true,
			}),
		},
	}
}

// listPath is creds/.
func (p *credsPath) listPath() *framework.Path {
	return &framework.Path{
		Pattern:         "creds/?$",
		HelpSynopsis:    credsListSynopsis,
		HelpDescription: credsListDescription,
		DisplayAttrs:    &framework.DisplayAttributes{OperationPrefix: operationPrefix, OperationSuffix: "credentials"},
		Operations: map[logical.Operation]framework.OperationHandler{
			logical.ListOperation: p.operation(p.list, framework.PathOperation{Summary: credsListSynopsis}),
		},
	}
}

func (p *credsPath) list(ctx context.Context, req *logical.Request, _ *framework.FieldData) (*logical.Response, error) {
	names, err := account.ListConfigs(ctx, req.Storage)
	if err != nil {
		return nil, err
	}
	return logical.ListResponse(names), nil
}

func (p *credsPath) read(ctx context.Context, _ *logical.Request, d *framework.FieldData) (*logical.Response, error) {
	name := nameOf(d)
	asked, err := askedTTL(d)
	if err != nil {
		return nil, err
	}
	rejected, err := rejectedID(d)
	if err != nil {
		return nil, err
	}
	var g tokencache.Grant
	if rejected == "" {
		g, err = p.cache.Get(ctx, name, asked)
	} else {
		g, err = p.cache.GetAfterRejection(ctx, name, rejected, asked)
	}
	if err != nil {
		return nil, notFound(name, err)
	}
	a, parts := g.Account.(*account.Account), partsOf(g)
	resp := &logical.Response{Data: map[string]any{
		"access_token": parts.accessToken,
		"expire_time":  parts.expireTime,
		"provider":     parts.provider,
		"token_id":     parts.tokenID,
		"token_type":   parts.tokenType,
	}}
	for name, value := range parts.outputs {
		if _, taken := resp.Data[name]; !taken {
			resp.Data[name] = value
		}
	}
	warn(resp, g, asked, rejected == parts.tokenID)
	switch {
	case !a.Config.Share:
		rev := revocation.New(a, g.Token)
		if err := ctx.Err(); err != nil { // the reader is gone, and no lease will end the token
			p.revoker.RevokeOrQueue(rev)
			return nil, err
		}
		resp.Secret = lease(secretUnsharedTokenType, g.Left, a.Config.MaxLease(), rev.Stored())
	case a.Config.Lease:
		resp.Secret = lease(secretTokenType, g.Left, a.Config.MaxLease(), nil)
	default:
		resp.Data["ttl"] = readAgain(g, a.Config.MaxLease())
		resp.Data["rotation_period"] = parts.rotationPeriod
		resp.Data["last_vault_rotation"] = parts.lastRotation
	}
	return resp, nil
}

// readAgain returns after how many seconds to read again, at most limit unless limit is 0. It rounds
// up, because a reader that came back a fraction of a second too early would get the same token
// again. The token outlives the result.
func readAgain(g tokencache.Grant, limit time.Duration) int64 {
	d := g.Left - g.MinTTL
	if limit > 0 {
		d = min(d, limit)
	}
	up := (max(d, 0) + time.Second - 1) / time.Second
	return int64(min(up, max(g.Left, 0)/time.Second))
}

// answerParts holds the values that all answers with the same token share. They are kept with
// the token, because building them would cause most of a read's allocations.
type answerParts struct {
	expires time.Time

	accessToken, expireTime, provider, tokenID, tokenType, rotationPeriod, lastRotation any

	outputs map[string]any // nil if there are none
}

// partsOf returns the shared parts of the answers with g's token, and keeps them for the next
// read.
func partsOf(g tokencache.Grant) *answerParts {
	if p, ok := g.Memo.Load().(*answerParts); ok && p.expires.Equal(g.Expires) {
		return p
	}
	p := &answerParts{
		expires: g.Expires,

		accessToken:    g.Token.Access.Reveal(),
		expireTime:     g.Expires.UTC().Format(time.RFC3339),
		provider:       g.Account.(*account.Account).Provider(),
		tokenID:        token.ID(g.Token.Access),
		tokenType:      g.Token.Type,
		rotationPeriod: int64(g.Lifetime / time.Second),
		lastRotation:   g.Token.Sent.Wall.UTC().Format(time.RFC3339),
	}
	for name, value := range g.Token.Outputs {
		if p.outputs == nil {
			p.outputs = make(map[string]any, len(g.Token.Outputs))
		}
		p.outputs[name] = value
	}
	g.Memo.Store(p)
	return p
}

// rejectedID returns the token_id that a read reports as rejected; "" if it reports none.
func rejectedID(d *framework.FieldData) (string, error) {
	raw, ok := d.Raw["rejected"]
	if !ok {
		return "", nil
	}
	v, err := account.Decode("rejected", d.Schema["rejected"], raw)
	if err != nil {
		return "", err
	}
	id, _ := v.(string)
	if sum, err := hex.DecodeString(id); id != "" && (err != nil || len(sum) != 8 || id != strings.ToLower(id)) {
		return "", &providers.FieldError{Field: "rejected", Problem: "must be the token_id of a token: 16 lower-case hex digits"}
	}
	return id, nil
}

// askedTTL returns the min_ttl of a read, or 0. It parses the text itself, because the
// framework drops fractions of a second in a query.
func askedTTL(d *framework.FieldData) (time.Duration, error) {
	raw, ok := d.Raw["min_ttl"]
	if !ok {
		return 0, nil
	}
	v, err := account.Decode("min_ttl", d.Schema["min_ttl"], raw)
	asked, _ := v.(time.Duration)
	return asked, err
}

// warnRejection adds a warning that says why the reader gets the rejected token again.
func warnRejection(resp *logical.Response, g tokencache.Grant) {
	var why string
	switch {
	case g.Rejection == tokencache.RejectedHonored && g.Served == tokencache.ServedWaited:
		why = "the provider returned the same token again"
	case g.Rejection == tokencache.RejectedHonored && g.Failure != nil:
		why = "the login failed"
	case g.Rejection == tokencache.RejectedHonored:
		why = "the login takes long and continues; read again"
	case g.Rejection == tokencache.RejectedRecent:
		why = "the token was minted within the last 10s"
	case g.Rejection == tokencache.RejectedTooFrequent:
		why = "another report was honored lately"
	case g.Rejection == tokencache.RejectedBackingOff:
		why = "the last login failed"
	default:
		return
	}
	if !g.RejectionNext.IsZero() {
		why += "; the next report is honored after " + g.RejectionNext.UTC().Format(time.RFC3339)
	}
	resp.AddWarning("this token was reported as rejected and is served anyway: " + why)
}

// warn adds warnings about the served token, for example if it could not be refreshed. again
// says that the reader reported this token as rejected.
func warn(resp *logical.Response, g tokencache.Grant, asked time.Duration, again bool) {
	left := g.Left.Truncate(time.Second)
	if again {
		warnRejection(resp, g)
	}
	if f := g.Failure; f != nil {
		resp.AddWarning(fmt.Sprintf("this token could not be refreshed and is served until it ends (in %s): %s; the next attempt is after %s",
			left, f, f.Next.UTC().Format(time.RFC3339)))
	} else if g.Short && asked > g.MinTTL {
		resp.AddWarning(fmt.Sprintf("this token ends in %s, before the min_ttl of %s, because min_ttl can be at most half the token's lifetime (%s of %s)",
			left, asked, (g.Lifetime / 2).Truncate(time.Second), g.Lifetime))
	} else if g.Short {
		resp.AddWarning(fmt.Sprintf("this token ends in %s, before the min_ttl of %s, and there is no newer token: the token was minted within the last 10s, or the provider has not answered yet",
			left, g.MinTTL))
	}
}
