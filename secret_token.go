// SPDX-License-Identifier: MPL-2.0

package messaging

import (
	"context"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/vault/sdk/framework"
	"github.com/hashicorp/vault/sdk/logical"

	"vault-plugin-secrets-messaging/internal/revocation"
	"vault-plugin-secrets-messaging/internal/secret"
	"vault-plugin-secrets-messaging/internal/telemetry"
)

// The lease types. Vault stores the type with each lease. Leases cannot be renewed, because tokens
// cannot be extended.
const (
	secretTokenType         = "messaging_token"
	secretUnsharedTokenType = "messaging_unshared_token"
)

func tokenFields() map[string]*framework.FieldSchema {
	return map[string]*framework.FieldSchema{
		"access_token": {Type: framework.TypeString, Description: "Bearer token.", DisplayAttrs: &framework.DisplayAttributes{Sensitive: true}},
	}
}

// secretToken is the lease type of shared tokens. Revoking such a lease does not end the token,
// because the token has other readers.
func secretToken() *framework.Secret {
	return &framework.Secret{
		Type:   secretTokenType,
		Fields: tokenFields(),
		Revoke: func(context.Context, *logical.Request, *framework.FieldData) (*logical.Response, error) {
			return nil, nil
		},
	}
}

// secretUnsharedToken is the lease type of unshared tokens. Revoking such a lease also revokes the
// token, at once or later. Revoking never returns an error, because an error would make Vault keep
// the lease.
func secretUnsharedToken(revoker *revocation.Revoker, log func() hclog.Logger) *framework.Secret {
	return &framework.Secret{
		Type:   secretUnsharedTokenType,
		Fields: tokenFields(),
		Revoke: func(_ context.Context, req *logical.Request, _ *framework.FieldData) (*logical.Response, error) {
			var panicked error
			defer func() { telemetry.LogPanic(log(), panicked) }()
			defer secret.RecoverTo(&panicked)
			rev, err := revocation.Decode(req.Secret.InternalData)
			if err != nil {
				log().Error("a lease cannot be decoded, and its token is left to expire", "error", err)
				return nil, nil
			}
			revoker.RevokeOrQueue(rev)
			return nil, nil
		},
	}
}

// lease returns a lease for a token. The parameter left is the token's remaining life. The lease
// has whole seconds and ends a second before the token, because Vault rounds. It lasts at least one
// second, because Vault would replace 0 with its default of 768 h. A limit of 0 means no limit.
func lease(secretType string, left, limit time.Duration, stored map[string]any) *logical.Secret {
	if stored == nil {
		stored = map[string]any{}
	}
	stored["secret_type"] = secretType
	ttl := max(left.Truncate(time.Second)-time.Second, time.Second)
	if limit > 0 {
		ttl = min(ttl, limit)
	}
	return &logical.Secret{LeaseOptions: logical.LeaseOptions{TTL: ttl, MaxTTL: ttl}, InternalData: stored}
}
