// SPDX-License-Identifier: MPL-2.0

// Package clock measures the age of a token correctly, even if the machine was suspended or its
// wall clock was set.
package clock

import "time"

// Instant is a moment on two clocks. The monotonic clock stops while the machine is suspended. The
// wall clock can be set. The zero Instant is a moment long ago.
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

// Since returns the time from the moment earlier to i. If the wall clock and the monotonic clock
// disagree, Since returns the longer time, so that an old token never seems young.
func (i Instant) Since(earlier Instant) time.Duration {
	return max(i.Wall.Sub(earlier.Wall), i.Mono-earlier.Mono)
}

// Until returns the time from i to the moment later; negative if that moment is before i. Only the
// monotonic clock counts, so setting the wall clock changes nothing.
func (i Instant) Until(later Instant) time.Duration { return later.Mono - i.Mono }

// Add returns i moved forward by d, or back if d is negative.
func (i Instant) Add(d time.Duration) Instant {
	return Instant{Wall: i.Wall.Add(d), Mono: i.Mono + d}
}

// At converts the wall-clock time t to an Instant. The receiver must be the present moment.
func (i Instant) At(t time.Time) Instant { return i.Add(t.Sub(i.Wall)) }
