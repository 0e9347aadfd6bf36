// SPDX-License-Identifier: MPL-2.0

// Package clock tells the time on two clocks at once, so that the age of a token
// is right on a machine that is suspended or whose wall clock is set.
package clock

import "time"

// Instant is a moment on two clocks. Neither clock alone tells how old a token is:
// the monotonic clock stands still while the machine is suspended, and people and
// NTP set the wall clock. The zero Instant is a moment long ago.
type Instant struct {
	Wall time.Time     // without a monotonic reading
	Mono time.Duration // since a fixed moment in the life of the process
}

// Clock returns the present moment. It is safe for concurrent use.
type Clock func() Instant

// System returns the clock of the machine.
func System() Clock {
	start := time.Now()
	return func() Instant {
		now := time.Now()
		return Instant{Wall: now.Round(0), Mono: now.Sub(start)}
	}
}

// Since returns the time from earlier to i on the clock that counted more of it, so
// that a lifetime counted from earlier ends when the first of the two clocks says so.
func (i Instant) Since(earlier Instant) time.Duration {
	return max(i.Wall.Sub(earlier.Wall), i.Mono-earlier.Mono)
}

// Until returns the time from i to later on the monotonic clock. Waits are measured
// this way: setting the wall clock must neither shorten nor lengthen a backoff.
func (i Instant) Until(later Instant) time.Duration { return later.Mono - i.Mono }

// Add returns the moment d after i, or before i if d is negative.
func (i Instant) Add(d time.Duration) Instant {
	return Instant{Wall: i.Wall.Add(d), Mono: i.Mono + d}
}

// At returns the moment at which the wall clock showed t, given that the present
// moment is i. It restores a time that was stored.
func (i Instant) At(t time.Time) Instant { return i.Add(t.Sub(i.Wall)) }
