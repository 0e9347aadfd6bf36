// SPDX-License-Identifier: MPL-2.0

// Package revocation ends tokens at their providers before the tokens expire (RFC 7009):
// at once if the revocation endpoint answers, otherwise later.
//
//	revocation.go  Revocation: a token to end, and its stored form
//	revoker.go     Revoker: ends tokens for requests, and queues what has to wait
//	queue.go       the queued tokens: their records in storage, and an index in memory
//	drain.go       later attempts at the queued tokens
//	deletion.go    what the deletion of a config does with its tokens
//	endpoints.go   the revocation endpoints that failed lately
//	budget.go      how long the requests of a mount wait for revocation endpoints
package revocation

import (
	"encoding/json"
	"errors"

	"vault-plugin-secrets-messaging/internal/account"
	"vault-plugin-secrets-messaging/internal/secret"
	"vault-plugin-secrets-messaging/internal/token"
)

// Revocation is a token to end at its provider. Only leases and the write-ahead log contain stored
// revocations, and Vault encrypts both.
type Revocation struct {
	Config       string        `json:"config"`
	URL          string        `json:"revocation_url"` // "" means that the token is left to expire
	AccessToken  secret.String `json:"access_token"`
	RefreshToken secret.String `json:"refresh_token"`
	Expires      int64         `json:"expires"` // the end of the token, as Unix time

	// Endpoint is the [account.Account.RevocationEndpoint] of the account that minted the token.
	// The token is sent only if the config still has this endpoint. Records of older plugins have
	// no Endpoint, so their tokens are left to expire.
	Endpoint string `json:"endpoint"`

	// Deleting says that the config was about to be deleted. If the deletion failed, the
	// token may still be in use.
	Deleting bool `json:"deleting"`
}

// New returns the revocation of t, a token of the account a. Its Expires is when the token ends at the
// provider, even if max_ttl ends its use earlier.
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

// Stored returns the form of rev that Vault stores. Without a revocation endpoint, this form omits
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

// errDamaged reports a stored revocation that cannot be decoded. It replaces the error of
// encoding/json, which may quote a token.
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
