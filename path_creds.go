// SPDX-License-Identifier: MPL-2.0

package messaging

import (
	"context"
	"encoding/hex"
	"fmt"
	"maps"
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
for a newer token. Revoking the lease does not end the token. To replace the
token, write rotate/<name>.

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

func (p *credsPath) path() *framework.Path {
	return &framework.Path{
		Pattern: "creds/" + framework.GenericNameRegex("name"),
		Fields: map[string]*framework.FieldSchema{
			"name": nameField("Name of the config whose token is read."),
			"min_ttl": {Type: framework.TypeDurationSecond, Query: true,
				Description: "Least remaining life of the token. If the cached token has less, the engine mints a new token. A value above half the token's lifetime counts as half. A token minted within the last 10s is never replaced."},
			"rejected": {Type: framework.TypeString, Query: true,
				Description: "Reports that the provider rejected a token before its end, for example with 401. The value is the token_id of that token. If the token is still cached, the engine logs in and returns a new token. To limit logins, the engine then ignores reports for 1 to 15 minutes. An ignored report gets the cached token and a warning that says when to report again. Send rejected once, and repeat the provider call once with the returned token."},
		},
		HelpSynopsis:    credsSynopsis,
		HelpDescription: credsDescription,
		DisplayAttrs:    &framework.DisplayAttributes{OperationPrefix: operationPrefix, OperationVerb: "generate", OperationSuffix: "credentials"},
		Operations:      operations{logical.ReadOperation: p.onActive(credsSynopsis, p.read)},
	}
}

func (p *credsPath) listPath() *framework.Path {
	return &framework.Path{
		Pattern:         "creds/?$",
		HelpSynopsis:    credsListSynopsis,
		HelpDescription: credsListDescription,
		DisplayAttrs:    &framework.DisplayAttributes{OperationPrefix: operationPrefix, OperationSuffix: "credentials"},
		Operations:      operations{logical.ListOperation: p.onAnyNode(credsListSynopsis, listConfigs)},
	}
}

func (p *credsPath) read(ctx context.Context, _ *logical.Request, d *framework.FieldData) (*logical.Response, error) {
	name := nameOf(d)
	var asked time.Duration
	if d.Raw["min_ttl"] != nil {
		seconds := d.Get("min_ttl").(int)
		asked = time.Duration(seconds) * time.Second
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
	a, resp := g.Account.(*account.Account), &logical.Response{Data: maps.Clone(dataOf(g))}
	if rejected != "" && resp.Data["token_id"] == rejected {
		warnRejection(resp, g)
	}
	warn(resp, g, asked)
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
	}
	return resp, nil
}

// readAgain returns the seconds after which the reader should read again. The number is rounded up,
// because an earlier read would return the same token. It never exceeds the token's remaining life.
// A limit of 0 means no limit.
func readAgain(g tokencache.Grant, limit time.Duration) int64 {
	d := g.Left - g.MinTTL
	if limit > 0 {
		d = min(d, limit)
	}
	up := (max(d, 0) + time.Second - 1) / time.Second
	return int64(min(up, max(g.Left, 0)/time.Second))
}

// sharedData is the response data for all readers of a token. The data is kept with the token, to
// save most of a read's allocations. If the config or expire_time changes, the data is rebuilt.
type sharedData struct {
	account tokencache.Account
	expires time.Time
	data    map[string]any
}

// dataOf returns the data of a read, without ttl. The caller must not change the map.
func dataOf(g tokencache.Grant) map[string]any {
	if s, ok := g.Memo.Load().(*sharedData); ok && s.account == g.Account && s.expires.Equal(g.Expires) {
		return s.data
	}
	a, data := g.Account.(*account.Account), map[string]any{}
	for name, value := range g.Token.Outputs {
		data[name] = value
	}
	data["access_token"] = g.Token.Access.Reveal()
	data["expire_time"] = showTime(g.Expires)
	data["provider"] = a.Provider()
	data["token_id"] = token.ID(g.Token.Access)
	data["token_type"] = g.Token.Type
	if a.Config.Share && !a.Config.Lease {
		data["rotation_period"] = int64(g.Lifetime / time.Second)
		data["last_vault_rotation"] = showTime(g.Token.Sent.Wall)
	}
	g.Memo.Store(&sharedData{g.Account, g.Expires, data})
	return data
}

// rejectedID returns the request parameter "rejected", which must be a token_id. If the parameter
// is absent, the result is "".
func rejectedID(d *framework.FieldData) (string, error) {
	if d.Raw["rejected"] == nil {
		return "", nil
	}
	id := d.Get("rejected").(string)
	if sum, err := hex.DecodeString(id); err != nil || len(sum) != 8 || id != strings.ToLower(id) {
		return "", &providers.FieldError{Field: "rejected", Problem: "must be the token_id of a token: 16 lower-case hex digits"}
	}
	return id, nil
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
		why += "; the next report is honored after " + showTime(g.RejectionNext)
	}
	resp.AddWarning("this token was reported as rejected and is served anyway: " + why)
}

// warn adds a warning if the refresh failed, or if the token has less life than the reader's
// min_ttl.
func warn(resp *logical.Response, g tokencache.Grant, asked time.Duration) {
	left := g.Left.Truncate(time.Second)
	switch {
	case g.Failure != nil:
		resp.AddWarning(fmt.Sprintf("this token could not be refreshed and is served until it ends (in %s): %s; the next attempt is after %s",
			left, g.Failure, showTime(g.Failure.Next)))
	case g.Short && asked > g.MinTTL:
		resp.AddWarning(fmt.Sprintf("this token ends in %s, which is less than the min_ttl of %s; the engine limits min_ttl to half the token's lifetime, %s",
			left, asked, (g.Lifetime / 2).Truncate(time.Second)))
	case g.Short:
		resp.AddWarning(fmt.Sprintf("this token ends in %s, which is less than the min_ttl of %s; perhaps the token is too new to replace (less than 10s old), or the provider has not answered yet",
			left, g.MinTTL))
	}
}
