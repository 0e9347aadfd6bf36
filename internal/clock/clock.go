// SPDX-License-Identifier: MPL-2.0

// Package clock reads two clocks at once. The age of a token is then right even if the machine was
// suspended or its wall clock was set.
package clock

import "time"

// Instant is a moment on two clocks. The monotonic clock stops while the machine is suspended, and
// the wall clock can be set, so neither clock alone gives the age of a token. The zero Instant is
// a moment long ago.
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

// Since returns the time from earlier to i. If the clocks disagree, Since returns the longer time,
// so that a token is never taken to be younger than it is.
func (i Instant) Since(earlier Instant) time.Duration {
	return max(i.Wall.Sub(earlier.Wall), i.Mono-earlier.Mono)
}

// Until returns the time from i to later on the monotonic clock. Backoffs use the monotonic
// clock, because setting the wall clock must not change a backoff.
func (i Instant) Until(later Instant) time.Duration { return later.Mono - i.Mono }

// Add returns the moment d after i. A negative d gives a moment before i.
func (i Instant) Add(d time.Duration) Instant {
	return Instant{Wall: i.Wall.Add(d), Mono: i.Mono + d}
}

// At converts a stored wall-clock time t to an Instant, given that i is the present moment.
func (i Instant) At(t time.Time) Instant { return i.Add(t.Sub(i.Wall)) }
