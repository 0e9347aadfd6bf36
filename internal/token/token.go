// SPDX-License-Identifier: MPL-2.0

// Package token defines a bearer token, and the error of a failed mint.
package token

import (
	"crypto/sha256"
	"encoding/hex"
	"time"

	"vault-plugin-secrets-messaging/internal/clock"
	"vault-plugin-secrets-messaging/internal/secret"
)

const (
	// MaxSize is the largest token, in bytes.
	MaxSize = 32 << 10

	// MaxLifetime is the longest plausible lifetime of a token. A longer lifetime probably has
	// a wrong unit, such as milliseconds.
	MaxLifetime = 10 * 365 * 24 * time.Hour
)

// Token is a bearer token as a provider issued it.
type Token struct {
	Access secret.String // never empty; every byte is visible ASCII
	Type   string        // "Bearer"

	// Sent is when the token was requested. Lifetimes count from Sent, or from the start of the
	// mint if Sent is zero.
	Sent clock.Instant

	Lifetime time.Duration // of the access token; positive

	Refresh         secret.String // the refresh token; "" if there is none
	RefreshLifetime time.Duration // of the refresh token; 0 if unknown

	// Outputs are further values from the provider's response, for readers of the token. The
	// values are printable and not secret. Nil means none. Do not modify the map.
	Outputs map[string]string
}

// ID returns the first 16 hex digits of the SHA-256 of an access token. The ID identifies the
// token without revealing it.
func ID(access secret.String) string {
	sum := sha256.Sum256([]byte(access.Reveal()))
	return hex.EncodeToString(sum[:8])
}
