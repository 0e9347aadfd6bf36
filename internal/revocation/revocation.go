// SPDX-License-Identifier: MPL-2.0

// Package revocation revokes tokens before they expire (RFC 7009). If a revocation endpoint does not
// answer, the package tries again later.
//
//	revocation.go  Revocation, a token to revoke
//	revoker.go     Revoker, which revokes or queues tokens
//	queue.go       the queued tokens
//	drain.go       later attempts at the queued tokens
//	deletion.go    the tokens of a deleted config
//	endpoints.go   the endpoints that failed lately
//	budget.go      how long requests may wait
package revocation

import (
	"encoding/json"
	"errors"

	"vault-plugin-secrets-messaging/internal/account"
	"vault-plugin-secrets-messaging/internal/secret"
	"vault-plugin-secrets-messaging/internal/token"
)

// Revocation is a token to revoke. It is stored in leases and in the write-ahead log. Vault
// encrypts both.
type Revocation struct {
	Config       string        `json:"config"`
	URL          string        `json:"revocation_url"` // "" means that the token is left to expire
	AccessToken  secret.String `json:"access_token"`
	RefreshToken secret.String `json:"refresh_token"`
	Expires      int64         `json:"expires"` // the end of the token, as Unix time

	// Endpoint was the [account.Account.RevocationEndpoint] when the token was minted. If the
	// endpoint has changed since, the token is not sent. Records of older plugins have no
	// Endpoint, so their tokens are left to expire.
	Endpoint string `json:"endpoint"`

	// Deleting means that the token was queued because the config was being deleted. If the
	// deletion failed, the token may still be in use.
	Deleting bool `json:"deleting"`
}

// New returns the revocation of the account's token t. The setting max_ttl does not change the
// field Expires.
func New(a *account.Account, t token.Token) Revocation {
	return Revocation{
		Config:       a.Name,
		URL:          a.RevocationURL(),
		Endpoint:     a.RevocationEndpoint(),
		AccessToken:  t.Access,
		RefreshToken: t.Refresh,
		Expires:      t.Sent.Wall.Add(t.Lifetime).Unix(),
	}
}

// Stored returns rev in the form that Vault stores. Without a revocation endpoint, the form omits
// the token.
func (rev Revocation) Stored() map[string]any {
	stored := map[string]any{"config": rev.Config, "expires": rev.Expires}
	if rev.URL != "" {
		stored["revocation_url"], stored["endpoint"] = rev.URL, rev.Endpoint
		stored["access_token"], stored["refresh_token"] = rev.AccessToken.Reveal(), rev.RefreshToken.Reveal()
	}
	if rev.Deleting {
		stored["deleting"] = true
	}
	return stored
}

// errDamaged reports a stored revocation that cannot be decoded. It replaces the errors from
// encoding/json, which could quote the token.
var errDamaged = errors.New("the stored revocation is damaged")

// Decode returns the revocation whose stored form is data.
func Decode(data any) (r Revocation, err error) {
	encoded, err := json.Marshal(data)
	if err == nil {
		err = json.Unmarshal(encoded, &r)
	}
	if err != nil {
		return r, errDamaged
	}
	return r, nil
}
