// SPDX-License-Identifier: MPL-2.0

package tokencache

import (
	"context"
	"errors"
	"sync"

	"golang.org/x/sync/semaphore"

	"vault-plugin-secrets-messaging/internal/token"
)

// Limits on the mints that run at once. A thousand tokens that fall due together must neither flood
// a provider nor delay a reader who waits.
const (
	maxMints             = 256
	maxBackgroundPerHost = 16

	// MaxMintsPerHost is how many mints run at one host. An HTTP client needs as many
	// connections per host, so that no mint waits for a connection.
	MaxMintsPerHost = 32
)

// errNoSlot reports a mint that found no slot in time.
var errNoSlot = errors.New("too many mints are running")

// limiter bounds the mints that run at once. It is safe for concurrent use.
type limiter struct {
	all *semaphore.Weighted

	mu    sync.Mutex
	hosts map[string]*host // the hosts with a mint that runs or waits
}

type host struct {
	all, background *semaphore.Weighted
	users           int // guarded by the limiter's mu
}

func newLimiter() *limiter {
	return &limiter{all: semaphore.NewWeighted(maxMints), hosts: map[string]*host{}}
}

// acquire waits for a slot until ctx ends and returns the function that releases the slot.
// Until demoted ends, the mint also needs one of the host's background slots.
func (l *limiter) acquire(ctx, demoted context.Context, name string) (release func(), err error) {
	h := l.join(name)
	var taken []*semaphore.Weighted
	if h.background.Acquire(demoted, 1) == nil {
		taken = append(taken, h.background)
	}
	for _, s := range []*semaphore.Weighted{h.all, l.all} {
		if s.Acquire(ctx, 1) != nil {
			l.leave(name, h, taken)
			return nil, &token.Error{Kind: token.Unavailable, Problem: errNoSlot.Error(), Cause: errNoSlot}
		}
		taken = append(taken, s)
	}
	return func() { l.leave(name, h, taken) }, nil
}

func (l *limiter) join(name string) *host {
	l.mu.Lock()
	defer l.mu.Unlock()
	h := l.hosts[name]
	if h == nil {
		h = &host{all: semaphore.NewWeighted(MaxMintsPerHost), background: semaphore.NewWeighted(maxBackgroundPerHost)}
		l.hosts[name] = h
	}
	h.users++
	return h
}

func (l *limiter) leave(name string, h *host, taken []*semaphore.Weighted) {
	for _, s := range taken {
		s.Release(1)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if h.users--; h.users == 0 {
		delete(l.hosts, name)
	}
}
