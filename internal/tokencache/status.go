// SPDX-License-Identifier: MPL-2.0

package tokencache

import (
	"sync/atomic"
	"time"

	"vault-plugin-secrets-messaging/internal/clock"
	"vault-plugin-secrets-messaging/internal/token"
)

// State says in a word what an account is doing.
type State string

const (
	Empty      State = "empty"       // there is no token; the next read mints one
	Fresh      State = "fresh"       // there is a token
	Refreshing State = "refreshing"  // a mint is running
	BackingOff State = "backing_off" // the last mint failed, and the next one must wait
)

// Status is the state of one account. It holds no secret.
type Status struct {
	State      State
	Minted     time.Time // when the cached token was requested; zero without a token
	Expires    time.Time // when the cached token ends; zero without a token
	RefreshDue time.Time // zero if the token is never refreshed early
	Reads      int64     // since Minted
	Mints      int64     // successful mints since the account was loaded into memory
	Failures   int       // consecutive failures

	LastFailure *Failure  // of this revision, even if mints succeeded since
	NextAttempt time.Time // zero unless State is BackingOff

	Rejected time.Time // when the last report of a rejected token was honored; zero if none was
	Unsaved  bool      // storage must still be brought up to date
	Parked   int       // unshared tokens that are parked for the next readers
}

// Status returns the state of the named account, and whether the account is in memory. Status
// neither loads nor mints.
func (c *Cache) Status(name string) (Status, bool) {
	e := c.inMemory(name)
	if e == nil {
		return Status{State: Empty}, false
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.status(c.clock()), true
}

// status returns the state of e.
func (e *entry) status(now clock.Instant) Status {
	s := Status{State: Empty, Mints: e.mints, LastFailure: e.lastFailure,
		Rejected: e.rejections.last.Wall, Unsaved: e.unsaved, Parked: len(e.unshared.parked)}
	if t := e.cached; t.left(now) > 0 {
		s.State = Fresh
		s.Minted, s.Expires, s.Reads = t.Sent.Wall, t.expires(now), t.reads.Load()
		if t.timeline.refreshAt < t.timeline.lifetime {
			s.RefreshDue = s.Expires.Add(t.timeline.refreshAt - t.timeline.lifetime)
		}
	}
	if e.backoff.last != nil {
		s.Failures = e.backoff.last.Failures
	}
	if e.mint != nil {
		s.State = Refreshing
	} else if f := e.backoff.blocked(now); f != nil {
		s.State, s.NextAttempt = BackingOff, f.Next
	}
	return s
}

// RetryAfter returns the time at which the named account's Retry-After ends. The result is zero
// without a Retry-After, or if the provider sent the Retry-After for a different RateKey.
func (c *Cache) RetryAfter(name string, a Account) time.Time {
	e := c.inMemory(name)
	if e == nil {
		return time.Time{}
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.account.RateKey() != a.RateKey() || c.clock().Until(e.backoff.retryAfter) <= 0 {
		return time.Time{}
	}
	return e.backoff.retryAfter.Wall
}

// Served says how a read got its token.
type Served int

const (
	ServedFresh  Served = iota // at once, from a token that is not due for a refresh
	ServedStale                // at once, from a token in its refresh window or with less life than the read asked for
	ServedWaited               // after waiting for a mint
	ServedNot                  // the read failed

	NumServed = iota
)

func (s Served) String() string {
	return [NumServed]string{ServedFresh: "fresh", ServedStale: "stale", ServedWaited: "waited", ServedNot: "failed"}[s]
}

// Counts are the numbers of reads and mints since the account was loaded into memory.
type Counts struct {
	Reads  [NumServed]int64      // by Served
	Minted int64                 // successful mints, including those that Put brought
	Failed [token.NumKinds]int64 // failed mints, by kind

	Rejected [NumRejections]int64 // reports of rejected tokens, by Rejection
}

// counts counts an entry's reads, failures and reports of rejected tokens. It needs no lock.
type counts struct {
	reads  [NumServed]atomic.Int64
	failed [token.NumKinds]atomic.Int64

	rejected [NumRejections]atomic.Int64
}

// Each calls f for each account in memory, in no particular order, until f returns false. It
// holds no lock while f runs, so accounts may change meanwhile.
func (c *Cache) Each(f func(name string, a Account, s Status, counts Counts) bool) {
	c.entries.Range(func(name, v any) bool {
		e := v.(*entry)
		e.mu.Lock()
		gone, a, s := e.gone, e.account, e.status(c.clock())
		e.mu.Unlock()
		if gone {
			return true
		}
		counts := Counts{Minted: s.Mints}
		for i := range counts.Reads {
			counts.Reads[i] = e.counts.reads[i].Load()
		}
		for i := range counts.Failed {
			counts.Failed[i] = e.counts.failed[i].Load()
		}
		for i := range counts.Rejected {
			counts.Rejected[i] = e.counts.rejected[i].Load()
		}
		return f(name.(string), a, s, counts)
	})
}
