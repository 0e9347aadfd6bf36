// SPDX-License-Identifier: MPL-2.0

package tokencache

import "time"

const (
	// leastMinTTL is the lowest min TTL, except for lifetimes under 4 s. A token with less life
	// could expire on its way to the provider.
	leastMinTTL = 2 * time.Second

	// newest is the age up to which a token counts as new. Reads do not replace a new token, even
	// if they ask for more life.
	newest = 10 * time.Second
)

// Policy holds an operator's settings for an account's tokens. The zero Policy has the default
// values.
type Policy struct {
	// RefreshWindow is the time before a token's end in which background refreshes run. nil means
	// 20 % of the lifetime, and 0 means never. Values over 90 % of the lifetime count as 90 %.
	RefreshWindow *time.Duration

	// MinTTL is the least life of a served token. If the cached token has less life, readers wait
	// for a new token. nil means 30 s, but at most 10 % of the lifetime. The effective value is at
	// least 2 s, but at most half the lifetime.
	MinTTL *time.Duration

	// MaxTTL limits how long a token is used; 0 means no limit.
	MaxTTL time.Duration

	// Sliding is set if the provider extends a token's life whenever the provider returns the token
	// again.
	Sliding bool

	// MinimumAge is the age that a token must reach before it is replaced, even for a rotate or a
	// report of a rejected token. 0 means no limit.
	MinimumAge time.Duration

	// CanForce says that a mint can force the provider to return a new token. Rotates and reports
	// of rejected tokens force a new token. ForceInterval is the least time between two forced
	// mints. ForceDailyLimit limits the forced mints in 24 hours. For both, 0 means no limit.
	CanForce        bool
	ForceInterval   time.Duration
	ForceDailyLimit int
}

// timeline is a Policy applied to a token's lifetime. Ages count from the request for the token.
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

// want limits the life that a reader asks for. The result is at least the min TTL. The result is at
// most half the lifetime, so that readers cause at most two mints per lifetime.
func (t timeline) want(asked time.Duration) time.Duration {
	return max(t.minTTL, min(asked, t.lifetime/2))
}
