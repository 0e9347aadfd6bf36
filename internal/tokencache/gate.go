// SPDX-License-Identifier: MPL-2.0

package tokencache

import (
	"context"
	"sync"

	"golang.org/x/sync/semaphore"
)

// How many mints run at once: in all, at one host (as many as a client opens
// connections to it, so that no exchange waits for one), and of those at one host the
// refreshes that no one waits for, so that a thousand tokens that fall due
// together neither flood a provider nor stand in the way of a reader who waits.
const (
	mostMints       = 256
	mostMintsAtHost = 32
	mostBehind      = 16
)

// gate bounds the mints that run at once. It is safe for concurrent use.
type gate struct {
	all *semaphore.Weighted

	mu    sync.Mutex
	hosts map[string]*host // those with a mint that runs or waits
}

type host struct {
	all, behind *semaphore.Weighted
	users       int // guarded by the gate's mu
}

func (g *gate) init() {
	g.all = semaphore.NewWeighted(mostMints)
	g.hosts = map[string]*host{}
}

// enter waits for a slot, as long as ctx lives, and returns what gives it back.
// While patience lives, which ends with ctx or before, no one waits for the mint,
// and it must be among the few at its host of which that is so.
func (g *gate) enter(ctx, patience context.Context, name string) (leave func(), err error) {
	h := g.host(name)
	var taken []*semaphore.Weighted
	if h.behind.Acquire(patience, 1) == nil {
		taken = append(taken, h.behind)
	}
	for _, s := range []*semaphore.Weighted{h.all, g.all} {
		if s.Acquire(ctx, 1) != nil {
			g.leave(name, h, taken)
			return nil, &MintError{Kind: Unavailable, Err: errCrowded}
		}
		taken = append(taken, s)
	}
	return func() { g.leave(name, h, taken) }, nil
}

func (g *gate) host(name string) *host {
	g.mu.Lock()
	defer g.mu.Unlock()
	h := g.hosts[name]
	if h == nil {
		h = &host{all: semaphore.NewWeighted(mostMintsAtHost), behind: semaphore.NewWeighted(mostBehind)}
		g.hosts[name] = h
	}
	h.users++
	return h
}

func (g *gate) leave(name string, h *host, taken []*semaphore.Weighted) {
	for _, s := range taken {
		s.Release(1)
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if h.users--; h.users == 0 {
		delete(g.hosts, name)
	}
}
