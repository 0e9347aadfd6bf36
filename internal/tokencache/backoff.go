// SPDX-License-Identifier: MPL-2.0

package tokencache

import (
	"errors"
	"math/rand/v2"
	"time"

	"vault-plugin-secrets-messaging/internal/clock"
	"vault-plugin-secrets-messaging/internal/token"
)

// Failure describes an account's last failed mint. If no token can be served, reads return the
// Failure as their error. A Failure never changes.
type Failure struct {
	Kind     token.Kind
	Err      error     // as Mint returned it
	At       time.Time // when the mint failed
	Next     time.Time // the first read or tick after Next starts the next mint
	Failures int       // consecutive failures, including this failure

	next clock.Instant
}

func (f *Failure) Error() string { return f.Err.Error() }
func (f *Failure) Unwrap() error { return f.Err }

// The wait after a failed mint doubles with each failure, up to the maximum. Refused credentials
// cause longer waits than outages, because providers lock an account after several wrong passwords.
const (
	firstRefused, maxRefused     = time.Minute, 15 * time.Minute
	firstTransient, maxTransient = time.Second, time.Minute

	// Waits after an outage are shortened at random by up to this fraction. So accounts do not all
	// retry at the same moment.
	jitter = 0.25
)

// backoff remembers the failed mints of one account. The zero backoff has no failures. A backoff is
// not safe for concurrent use.
type backoff struct {
	refused, transient int           // failures since the last success, by class
	retryAfter         clock.Instant // the end of the last Retry-After
	last               *Failure
}

// failed records the error of a mint that ended now.
func (b *backoff) failed(now clock.Instant, err error) *Failure {
	f := &Failure{Kind: token.Unavailable, Err: err, At: now.Wall, Failures: 1}
	if b.last != nil {
		f.Failures = b.last.Failures + 1
	}
	var retryAfter time.Duration
	if e := (*token.Error)(nil); errors.As(err, &e) {
		f.Kind, retryAfter = e.Kind, e.RetryAfter
	}
	f.next = now.Add(b.wait(f.Kind, retryAfter))
	if f.Kind != token.Refused && retryAfter > 0 {
		b.retryAfter = f.next
	}
	f.Next = f.next.Wall
	b.last = f
	return f
}

func (b *backoff) wait(kind token.Kind, retryAfter time.Duration) time.Duration {
	if kind == token.Refused {
		b.refused++
		return doubled(firstRefused, maxRefused, b.refused)
	}
	b.transient++
	if retryAfter > 0 {
		return min(retryAfter, token.MaxRetryAfter)
	}
	d := doubled(firstTransient, maxTransient, b.transient)
	return d - time.Duration(rand.Float64()*jitter*float64(d))
}

// doubled doubles a wait n-1 times, from first up to limit.
func doubled(first, limit time.Duration, n int) time.Duration {
	return min(first<<min(n-1, 10), limit) // ten doublings exceed every limit
}

// blocked returns the last failure, or nil if the wait after that failure has passed.
func (b *backoff) blocked(now clock.Instant) *Failure {
	if b.last == nil || now.Until(b.last.next) <= 0 {
		return nil
	}
	return b.last
}

// clear forgets the failures, but keeps a Retry-After that has not passed.
func (b *backoff) clear(now clock.Instant) {
	if b.last != nil && now.Until(b.retryAfter) > 0 {
		kept := *b.last
		kept.next, kept.Next = b.retryAfter, b.retryAfter.Wall
		*b = backoff{retryAfter: b.retryAfter, last: &kept}
		return
	}
	*b = backoff{}
}
