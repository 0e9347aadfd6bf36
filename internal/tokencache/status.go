// SPDX-License-Identifier: MPL-2.0

package tokencache

import "time"

// State is what an account is doing, in a word.
type State string

const (
	Empty      State = "empty"       // no token in hand; the next read mints one
	Fresh      State = "fresh"       // a token in hand
	Refreshing State = "refreshing"  // a mint is under way
	BackingOff State = "backing_off" // the last mint failed, the next waits
)

// Status is how an account is doing. It holds no secret.
type Status struct {
	State      State
	Minted     time.Time // the token in hand; zero if there is none
	Expires    time.Time
	RefreshDue time.Time // zero if it is never refreshed early
	Reads      int64     // since Minted
	Mints      int64     // that succeeded, since the account came into memory
	Failures   int       // in a row

	// LastFailure is the last one of this revision, also if mints succeeded since.
	LastFailure *Failure
	NextAttempt time.Time // zero unless State is BackingOff
}

// Status returns how the named account is doing, and whether it is in memory at
// all: one that was not read since the start is not. It never loads nor mints.
func (c *Cache) Status(name string) (Status, bool) {
	v, ok := c.entries.Load(name)
	if !ok {
		return Status{State: Empty}, false
	}
	e := v.(*entry)
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.status(c.clock()), true
}

// status returns how e is doing; the caller holds e.mu.
func (e *entry) status(now Instant) Status {
	s := Status{State: Empty, Mints: e.mints, LastFailure: e.lastFailure}
	if h := e.held; h.left(now) > 0 {
		s.State = Fresh
		s.Minted, s.Expires, s.Reads = h.Sent.Wall, h.expires(now), h.reads.Load()
		if h.span.refreshAt < h.span.lifetime {
			s.RefreshDue = s.Expires.Add(h.span.refreshAt - h.span.lifetime)
		}
	}
	if e.backoff.last != nil {
		s.Failures = e.backoff.last.Failures
	}
	if e.flight != nil {
		s.State = Refreshing
	} else if f := e.backoff.blocked(now); f != nil {
		s.State, s.NextAttempt = BackingOff, f.Next
	}
	return s
}

// RetryAfter returns until when the provider has asked for no more requests for
// the named account; the zero time if it has not, or if that is over.
func (c *Cache) RetryAfter(name string) time.Time {
	v, ok := c.entries.Load(name)
	if !ok {
		return time.Time{}
	}
	e := v.(*entry)
	e.mu.Lock()
	defer e.mu.Unlock()
	if c.clock().Until(e.backoff.retryAfter) <= 0 {
		return time.Time{}
	}
	return e.backoff.retryAfter.Wall
}
