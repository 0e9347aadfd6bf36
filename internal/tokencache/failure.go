// SPDX-License-Identifier: MPL-2.0

package tokencache

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"time"
)

// Kind is a kind of failed mint. It decides when the next attempt may be.
type Kind int

const (
	Unavailable Kind = iota // no answer, or one that says: not now
	Malformed               // an answer that makes no sense
	RateLimited             // too many requests
	Refused                 // the credentials were refused
)

func (k Kind) String() string {
	switch k {
	case Unavailable:
		return "unavailable"
	case Malformed:
		return "malformed"
	case RateLimited:
		return "rate_limited"
	case Refused:
		return "refused"
	}
	return fmt.Sprintf("kind %d", int(k))
}

// MintError is how [Account.Mint] says what its error means for the next
// attempt.
type MintError struct {
	Kind       Kind
	RetryAfter time.Duration // what the provider asked for; 0 if nothing
	Err        error
}

func (e *MintError) Error() string { return e.Err.Error() }
func (e *MintError) Unwrap() error { return e.Err }

// Failure is the last failed mint of an account, and the error of a read that
// it left without a token. It does not change once made.
type Failure struct {
	Kind     Kind
	Err      error     // as Mint returned it, without its MintError
	At       time.Time // when it failed
	Next     time.Time // the next attempt is at the first read or tick after this
	Failures int       // in a row

	next Instant
}

func (f *Failure) Error() string { return f.Err.Error() }
func (f *Failure) Unwrap() error { return f.Err }

// The waits between attempts. A wrong password that is tried again and again
// locks the account at the provider; an outage ends sooner or later.
const (
	refusedFirst, refusedMost     = time.Minute, 15 * time.Minute
	transientFirst, transientMost = time.Second, time.Minute
	retryAfterMost                = 15 * time.Minute

	// jitter is the most that is taken off a transient wait, as a part of it, so
	// that the accounts that one outage met do not come back all at once. It
	// is never added: the waits above are what users are told.
	jitter = 0.25
)

// backoff remembers the failed attempts of one account. The zero backoff has
// none. It is not safe for concurrent use.
type backoff struct {
	refused, transient int // failures since the last success, of either class
	retryAfter         Instant
	last               *Failure
}

// failed counts an error of a mint that ended now.
func (b *backoff) failed(now Instant, err error) *Failure {
	f := &Failure{Kind: Unavailable, Err: err, At: now.Wall, Failures: 1}
	if b.last != nil {
		f.Failures = b.last.Failures + 1
	}
	var asked time.Duration
	if m := (*MintError)(nil); errors.As(err, &m) {
		f.Kind, f.Err, asked = m.Kind, m.Err, m.RetryAfter
	}
	f.next = now.Add(b.wait(f.Kind, asked))
	if f.Kind == RateLimited && asked > 0 {
		b.retryAfter = f.next
	}
	f.Next = f.next.Wall
	b.last = f
	return f
}

func (b *backoff) wait(kind Kind, asked time.Duration) time.Duration {
	if kind == Refused {
		b.refused++
		return doubled(refusedFirst, refusedMost, b.refused)
	}
	b.transient++
	if kind == RateLimited && asked > 0 {
		return min(asked, retryAfterMost)
	}
	d := doubled(transientFirst, transientMost, b.transient)
	return d - time.Duration(rand.Float64()*jitter*float64(d))
}

// doubled returns first, doubled for each of n beyond the first, at most most.
func doubled(first, most time.Duration, n int) time.Duration {
	d := first
	for ; n > 1 && d < most; n-- {
		d *= 2
	}
	return min(d, most)
}

// blocks reports whether f forbids an attempt now; a nil Failure does not.
func (f *Failure) blocks(now Instant) bool { return f != nil && now.Until(f.next) > 0 }

// blocked returns the failure that forbids an attempt now, or nil.
func (b *backoff) blocked(now Instant) *Failure {
	if b.last.blocks(now) {
		return b.last
	}
	return nil
}

// clear forgets the failures, but for a Retry-After that still runs: that is the
// provider's word, and no one here can take it back.
func (b *backoff) clear(now Instant) {
	if b.last != nil && now.Until(b.retryAfter) > 0 {
		kept := *b.last
		kept.next, kept.Next = b.retryAfter, b.retryAfter.Wall
		*b = backoff{retryAfter: b.retryAfter, last: &kept}
		return
	}
	*b = backoff{}
}
