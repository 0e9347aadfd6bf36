// SPDX-License-Identifier: MPL-2.0

package tokencache

import "time"

const (
	// leastMinTTL is the lowest min TTL. A token with less life could expire before a request with
	// the token reaches the provider. Only tokens that live less than 4 s have a lower min TTL.
	leastMinTTL = 2 * time.Second

	// newest is the age up to which a token counts as new. Reads do not replace a new token, even
	// if they ask for more life.
	newest = 10 * time.Second
)

// Policy holds an operator's settings for an account's tokens. The zero Policy has the default
// values.
type Policy struct {
	// RefreshWindow says how long before a token's end background refreshes begin. nil means
	// 20 % of the lifetime, and 0 means never. Values over 90 % of the lifetime count as 90 %.
	RefreshWindow *time.Duration

	// MinTTL is the least life of a served token. If the cached token has less life, readers wait
	// for a new token. nil means 30 s or 10 % of the lifetime, whichever is less. In each case, the
	// min TTL is at least 2 s, but at most half the lifetime.
	MinTTL *time.Duration

	// MaxTTL limits how long a token is used; 0 means no limit.
	MaxTTL time.Duration

	// Sliding says that the provider extends a token's life with each mint that returns the same
	// token.
	Sliding bool

	// MinimumAge is the least age at which a token is replaced. It also applies to rotates and
	// rejected tokens. 0 means no limit.
	MinimumAge time.Duration

	// CanForce says that a mint can make the provider return a new token. Rotates and reports of
	// rejected tokens cause such forced mints. ForceInterval is the least time between two forced
	// mints. ForceDailyLimit limits the forced mints in 24 hours. For ForceInterval and
	// ForceDailyLimit, 0 means no limit.
	CanForce        bool
	ForceInterval   time.Duration
	ForceDailyLimit int
}

// timeline holds the times in a token's life that follow from a Policy. Ages count from the request
// for the token.
type timeline struct {
	lifetime  time.Duration // the age at which the use of the token ends
	minTTL    time.Duration // if less life is left, readers wait for a new token
	refreshAt time.Duration // the age at which the refresh window begins; lifetime if never
}

func (p Policy) timeline(lifetime time.Duration) timeline {
	if p.MaxTTL > 0 {
		lifetime = min(lifetime, p.MaxTTL)
	}
	minTTL := min(30*time.Second, lifetime/10)
	if p.MinTTL != nil {
		minTTL = *p.MinTTL
	}
	window := lifetime / 5
	if p.RefreshWindow != nil {
		window = *p.RefreshWindow
	}
	return timeline{
		lifetime:  lifetime,
		minTTL:    min(max(minTTL, leastMinTTL), lifetime/2),
		refreshAt: lifetime - min(window, lifetime/10*9),
	}
}

// want returns the life that a served token must have: what the reader asks for, but at least the
// min TTL and at most half the lifetime. So readers cause at most two mints per lifetime.
func (t timeline) want(asked time.Duration) time.Duration {
	return max(t.minTTL, min(asked, t.lifetime/2))
}
