// SPDX-License-Identifier: MPL-2.0

package tokencache

import "time"

const (
	// leastMinTTL is the lowest min TTL of a token with a lifetime of at least 4 s. A token
	// with less life could expire before it reaches the provider.
	leastMinTTL = 2 * time.Second

	// newest is the age up to which a token counts as new. A read does not replace a new token,
	// even if it asks for more life.
	newest = 10 * time.Second
)

// Policy says how an operator wants the tokens of an account to be kept. The zero Policy has the
// default values.
type Policy struct {
	// RefreshWindow is the time before a token's end in which the token is refreshed in the
	// background. nil means 20 % of the lifetime, and 0 means never. A value over 90 % of the
	// lifetime counts as 90 %.
	RefreshWindow *time.Duration

	// MinTTL is the least life that a served token has. If the cached token has less, readers
	// wait for a new token. nil means 30 s, or 10 % of the lifetime if that is less. The
	// effective value is at least 2 s, but at most half the lifetime.
	MinTTL *time.Duration

	// MaxTTL is the longest time for which a token is used; 0 means no limit.
	MaxTTL time.Duration

	// Sliding says that the provider extends the life of a token each time it returns that token
	// again.
	Sliding bool

	// MinimumAge is the age at which a token may first be replaced, even by a rotate or a
	// report of a rejected token. 0 means no limit.
	MinimumAge time.Duration

	// CanForce says that a mint can force the provider to return a new token. Rotates and
	// reports of a rejected token do so. ForceInterval is the least time between two such
	// mints. ForceDailyLimit is how many may run in 24 hours. For both, 0 means no limit.
	CanForce        bool
	ForceInterval   time.Duration
	ForceDailyLimit int
}

// timeline is a Policy applied to a token's lifetime. Ages count from the time at which the request
// for the token was sent.
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

// want returns the life that a token needs to be served to a reader that asked for the life asked.
// The result is at least the min TTL. It is at most half the lifetime, so that readers cause at most
// two mints per lifetime.
func (t timeline) want(asked time.Duration) time.Duration {
	return max(t.minTTL, min(asked, t.lifetime/2))
}
