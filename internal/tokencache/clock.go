// SPDX-License-Identifier: MPL-2.0

package tokencache

import "time"

// Instant is a moment on two clocks. Neither alone tells how old a token is:
// the monotonic clock stands still while the machine is suspended, and the wall
// clock is set by people and by NTP.
type Instant struct {
	Wall time.Time     // without a monotonic reading
	Mono time.Duration // since some moment in the life of the process
}

// Clock tells the present moment. It is called from many goroutines at once.
type Clock func() Instant

// SystemClock returns the clock of the machine.
func SystemClock() Clock {
	start := time.Now()
	return func() Instant {
		now := time.Now()
		return Instant{Wall: now.Round(0), Mono: now.Sub(start)}
	}
}

// Since returns the time from earlier to i by the clock that says more, so that
// what is counted from earlier ends when the first of the two clocks says so.
func (i Instant) Since(earlier Instant) time.Duration {
	return max(i.Wall.Sub(earlier.Wall), i.Mono-earlier.Mono)
}

// Add returns the moment d after i (before it, if d is negative).
func (i Instant) Add(d time.Duration) Instant {
	return Instant{Wall: i.Wall.Add(d), Mono: i.Mono + d}
}

// Until returns the time from i to later by the monotonic clock. Waiting times
// are measured so: a wall clock that is set must neither cut short nor stretch
// the pause before the next attempt.
func (i Instant) Until(later Instant) time.Duration { return later.Mono - i.Mono }

// At returns what the moment that the wall clock called t is for a clock that
// says i now. It is how a time that was stored comes back.
func (i Instant) At(t time.Time) Instant { return i.Add(t.Sub(i.Wall)) }
