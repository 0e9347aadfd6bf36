// SPDX-License-Identifier: MPL-2.0

// Package token holds what providers and the token cache have in common: the bearer
// token that a mint returns, and the error of a mint that failed.
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

	// MaxLifetime is longer than any bearer token should live. A longer lifetime is
	// a unit mistaken for another, such as a Unix time in milliseconds.
	MaxLifetime = 10 * 365 * 24 * time.Hour
)

// Token is a bearer token as a provider issued it.
type Token struct {
	Access secret.String // never empty; every byte is visible ASCII
	Type   string        // "Bearer"

	// Sent is when the request for the token was sent. Lifetimes count from Sent. A
	// zero Sent stands for the moment at which the mint began.
	Sent clock.Instant

	Lifetime time.Duration // of the access token; positive

	Refresh         secret.String // the refresh token; "" if there is none
	RefreshLifetime time.Duration // of the refresh token; 0 if it has no known end

	// Outputs are further values that came with the token, for readers of the token. They
	// are no secrets, and printable. The map does not change; nil if there are none.
	Outputs map[string]string
}

// ID returns the identifier of an access token: the first 16 hex digits of its SHA-256. It
// identifies a token without showing it.
func ID(access secret.String) string {
	sum := sha256.Sum256([]byte(access.Reveal()))
	return hex.EncodeToString(sum[:8])
}
