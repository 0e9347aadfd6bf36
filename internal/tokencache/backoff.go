// SPDX-License-Identifier: MPL-2.0

package tokencache

import (
	"errors"
	"math/rand/v2"
	"time"

	"vault-plugin-secrets-messaging/internal/clock"
	"vault-plugin-secrets-messaging/internal/token"
)

// Failure is the last failed mint of an account, and the error of reads that get no token
// because of it. A Failure never changes.
type Failure struct {
	Kind     token.Kind
	Err      error     // as Mint returned it
	At       time.Time // when the mint failed
	Next     time.Time // the first read or tick after Next makes the next attempt
	Failures int       // consecutive failures, with this one

	next clock.Instant
}

func (f *Failure) Error() string { return f.Err.Error() }
func (f *Failure) Unwrap() error { return f.Err }

// The waits between failed attempts double from first to max. Refused credentials wait longer
// than outages, because repeated wrong passwords lock the account.
const (
	firstRefused, maxRefused     = time.Minute, 15 * time.Minute
	firstTransient, maxTransient = time.Second, time.Minute

	// jitter is the largest part by which a wait after an outage is shortened, so that accounts
	// do not retry at the same moment. A wait is never lengthened, because users are told the
	// waits above.
	jitter = 0.25
)

// backoff remembers the failed attempts of one account. The zero backoff has none. It is
// not safe for concurrent use.
type backoff struct {
	refused, transient int // failures of each class since the last success
	retryAfter         clock.Instant
	last               *Failure
}

// failed records an error of a mint that ended now.
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

// doubled returns first for n = 1, and twice as much for each n beyond, up to limit.
func doubled(first, limit time.Duration, n int) time.Duration {
	d := first
	for ; n > 1 && d < limit; n-- {
		d *= 2
	}
	return min(d, limit)
}

// blocks reports whether f forbids an attempt now; a nil Failure does not.
func (f *Failure) blocks(now clock.Instant) bool { return f != nil && now.Until(f.next) > 0 }

// blocked returns the failure that forbids an attempt now, or nil.
func (b *backoff) blocked(now clock.Instant) *Failure {
	if b.last.blocks(now) {
		return b.last
	}
	return nil
}

// clear forgets the failures, except a Retry-After that has not passed, because only the
// provider can end that wait.
func (b *backoff) clear(now clock.Instant) {
	if b.last != nil && now.Until(b.retryAfter) > 0 {
		kept := *b.last
		kept.next, kept.Next = b.retryAfter, b.retryAfter.Wall
		*b = backoff{retryAfter: b.retryAfter, last: &kept}
		return
	}
	*b = backoff{}
}
