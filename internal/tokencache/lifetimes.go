// SPDX-License-Identifier: MPL-2.0

package tokencache

import "time"

const (
	// leastMinTTL is the least life that a token is handed out with while a
	// newer one can be had, and the least with which it is handed out at all
	// when none can: less than that would not survive the way to the provider.
	leastMinTTL = 2 * time.Second

	// newest is the age under which a token counts as the newest there is: a
	// reader that wants more life than it has is not worth another mint.
	newest = 10 * time.Second
)

// Policy is how an operator wants the tokens of one account to be kept. The
// zero Policy has every default.
type Policy struct {
	// RefreshWindow is the time before its end in which a token is served and
	// refreshed behind its readers. nil means 20 % of the lifetime, 0 never. It
	// counts for at most 90 % of the lifetime.
	RefreshWindow *time.Duration

	// MinTTL is the least life that a token is handed out with: with less, its
	// readers wait for a new one. nil means 30 s, but at most 10 % of the
	// lifetime. It is never under 2 s, and counts for at most half the lifetime.
	MinTTL *time.Duration

	// MaxTTL ends tokens early: none is used for longer. 0 means no such bound.
	MaxTTL time.Duration

	// Unshared gives each read a token of its own, which is neither kept nor
	// refreshed. Two Policies that differ in it go with two revisions.
	Unshared bool
}

// span is a Policy applied to a token's lifetime.
type span struct {
	lifetime  time.Duration // from the sending of the request to the end of the token's use
	minTTL    time.Duration // with less life left than this, readers wait for a new token
	refreshAt time.Duration // the age from which it is refreshed; lifetime if never
}

func (p Policy) span(lifetime time.Duration) span {
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
	return span{
		lifetime:  lifetime,
		minTTL:    min(max(minTTL, leastMinTTL), lifetime/2),
		refreshAt: lifetime - min(window, lifetime/10*9),
	}
}

// want returns the life that a reader who asks for asked gets to see: no less
// than the account's own minimum, and no more than half the lifetime, so that no
// reader makes the cache mint more often than twice a lifetime.
func (s span) want(asked time.Duration) time.Duration {
	return max(s.minTTL, min(asked, s.lifetime/2))
}
