// SPDX-License-Identifier: MPL-2.0

package tokencache

import (
	"context"
	"errors"
	"sync/atomic"
	"time"

	"golang.org/x/sync/semaphore"

	"vault-plugin-secrets-messaging/internal/token"
)

// These constants limit how many mints run at once. Without limits, refreshes could flood a
// provider or delay waiting readers.
const (
	maxMints             = 256
	maxBackgroundPerHost = 16 // background refreshes

	// MaxMintsPerHost limits the concurrent mints at one host. HTTP clients should allow this many
	// connections per host.
	MaxMintsPerHost = 32
)

// loginPause is the pause between two logins with the same SerialKey. Keycloak needs the pause to
// notice that a login ended.
const loginPause = 100 * time.Millisecond

// errNoSlot reports that a mint found no slot in time.
var errNoSlot = errors.New("too many mints are running")

// limiter limits how many mints run at once. Logins with the same SerialKey run one after another.
// A limiter is safe for concurrent use.
type limiter struct {
	all   *semaphore.Weighted
	hosts *keyed[*host]
	turns *keyed[*semaphore.Weighted] // by SerialKey

	freed    func(host string) // called after a slot or a turn at host was returned
	releases atomic.Int64      // counts the calls of freed; incremented before each call
}

type host struct{ all, background *semaphore.Weighted }

func newLimiter(freed func(host string)) *limiter {
	return &limiter{
		all:   semaphore.NewWeighted(maxMints),
		turns: newKeyed(func() *semaphore.Weighted { return semaphore.NewWeighted(1) }),
		hosts: newKeyed(func() *host {
			return &host{all: semaphore.NewWeighted(MaxMintsPerHost), background: semaphore.NewWeighted(maxBackgroundPerHost)}
		}),
		freed: freed,
	}
}

// A mint waits for a slot at the lane's host. serialKey is set only for a login of an account with
// a SerialKey. Such a login also waits for the user's other logins.
type lane struct{ host, serialKey string }

// acquire waits for a slot. If the lane has a serialKey, acquire first waits until no other login
// of that user runs. So waiting logins hold no slots. If ctx ends, acquire fails.
func (l *limiter) acquire(ctx context.Context, at lane) (release func(), err error) {
	return l.take(at, false, func(s *semaphore.Weighted) bool { return s.Acquire(ctx, 1) == nil })
}

// tryBackground takes a slot for a background refresh. If another mint must end first, ok is false.
func (l *limiter) tryBackground(at lane) (release func(), ok bool) {
	release, err := l.take(at, true, func(s *semaphore.Weighted) bool { return s.TryAcquire(1) })
	return release, err == nil
}

func (l *limiter) take(at lane, background bool, acquire func(*semaphore.Weighted) bool) (release func(), err error) {
	h := l.hosts.join(at.host)
	var turn *semaphore.Weighted
	needed := []*semaphore.Weighted{h.all, l.all}
	if background {
		needed = append(needed, h.background)
	}
	if at.serialKey != "" {
		turn = l.turns.join(at.serialKey)
		needed = append([]*semaphore.Weighted{turn}, needed...)
	}
	for i, s := range needed {
		if !acquire(s) {
			for _, taken := range needed[:i] {
				taken.Release(1)
			}
			l.leave(at)
			return nil, &token.Error{Kind: token.Unavailable, Problem: errNoSlot.Error(), Cause: errNoSlot}
		}
	}
	return func() {
		for _, s := range needed {
			if s != turn {
				s.Release(1)
			}
		}
		l.releases.Add(1)
		if turn == nil {
			l.leave(at)
			l.freed(at.host)
			return
		}
		l.freed(at.host)
		time.AfterFunc(loginPause, func() {
			turn.Release(1)
			l.releases.Add(1)
			l.leave(at)
			l.freed(at.host)
		})
	}, nil
}

func (l *limiter) leave(at lane) {
	if at.serialKey != "" {
		l.turns.leave(at.serialKey)
	}
	l.hosts.leave(at.host)
}
