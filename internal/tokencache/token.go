// SPDX-License-Identifier: MPL-2.0

package tokencache

import (
	"context"
	"sync/atomic"
	"time"

	"vault-plugin-secrets-messaging/internal/secret"
)

// Token is a bearer token as a mint returned it.
type Token struct {
	Access   secret.String
	Type     string        // "Bearer"
	Lifetime time.Duration // from Sent; positive
	Sent     Instant       // when the request for it was sent

	Refresh         secret.String // "" if there is none
	RefreshLifetime time.Duration // from Sent; 0 if it is not known to end
}

// Account is one account with a provider, as one revision of its config has it.
// Its methods are called from many goroutines at once.
type Account interface {
	// Revision tells the credentials and the endpoint of this Account from
	// others of the same name: a token minted under one revision is never
	// served, nor stored, under another.
	Revision() string

	// Policy says how its tokens are kept.
	Policy() Policy

	// Host names the host that it mints at. Mints at one host are bounded
	// together.
	Host() string

	// Mint gets a new token: with the refresh token, if one is given and the
	// provider still takes it, else with the long-lived credential. An error
	// that is, or wraps, a *MintError says when to try again; any other counts
	// as Unavailable.
	Mint(ctx context.Context, refresh secret.String) (Minted, error)
}

// Minted is what a mint returned: a Token but for the moment it was sent.
type Minted struct {
	Token
	Took time.Duration // from the sending of the request to the return of Mint
}

// Grant is a token as one read gets it.
type Grant struct {
	Token   Token
	Account Account

	Left     time.Duration // how long it may still be used; positive
	Lifetime time.Duration // the whole of its life, cut to the account's MaxTTL
	Expires  time.Time     // when Left is over, by the wall clock
	MinTTL   time.Duration // the life that counted as enough for this read
	Served   Served        // how this read got it

	// Short says that Left is less than the read asked for, and that there is
	// nothing newer.
	Short bool

	// Replaced is, for Rotate, the token that Token took the place of; nil if there
	// was none.
	Replaced *Token

	// Failure is why the token has not been refreshed, where refreshes fail.
	Failure *Failure
}

// held is the token that an account has in hand. It does not change, but for what
// reads counts.
type held struct {
	Token
	span  span
	reads *atomic.Int64 // served from it since it was minted, under whatever policy
}

// left returns how long the token may still be used; negative once it may not.
func (h *held) left(now Instant) time.Duration {
	if h == nil {
		return -1
	}
	return h.span.lifetime - now.Since(h.Sent)
}

// refreshToken returns the refresh token, if there is one and it is alive.
func (h *held) refreshToken(now Instant) secret.String {
	if h == nil || h.Refresh == "" {
		return ""
	}
	if h.RefreshLifetime > 0 && now.Since(h.Sent) >= h.RefreshLifetime-leastMinTTL {
		return ""
	}
	return h.Refresh
}

// expires returns the end of the token on the wall clock as it goes now. It is
// the same on every read, unless the wall clock was set since the mint.
func (h *held) expires(now Instant) time.Time {
	set := now.Wall.Sub(h.Sent.Wall) - (now.Mono - h.Sent.Mono)
	if set.Abs() < time.Second {
		return h.Sent.Wall.Add(h.span.lifetime)
	}
	return now.Wall.Add(h.left(now))
}
