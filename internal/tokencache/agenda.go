// SPDX-License-Identifier: MPL-2.0

package tokencache

import (
	"container/heap"
	"math/rand/v2"
	"sync"
	"time"
)

// spread is the part of the refresh window over which ticks spread the
// refreshes of tokens that were minted together.
const spread = 0.1

// agenda holds the entries whose tokens a tick may have to refresh, the earliest
// first. The zero agenda is empty and ready to use; it is safe for concurrent use.
// Its lock is taken last of all.
type agenda struct {
	mu    sync.Mutex
	slots slots
}

// slot is the agenda's part of an entry.
type slot struct {
	entry *entry        // set when the entry is made
	at    time.Duration // due, on the monotonic clock
	index int           // in the heap, plus one; 0 if it is not there
}

// schedule puts e on the agenda for the moment when its token enters the refresh
// window, or takes it off if there is nothing to do; the caller holds e.mu.
func (c *Cache) schedule(e *entry, now Instant) {
	h := e.held
	if e.gone || e.flight != nil || h.left(now) <= 0 || h.span.refreshAt >= h.span.lifetime {
		c.agenda.remove(&e.slot)
		return
	}
	window := h.span.lifetime - h.span.minTTL - h.span.refreshAt
	in := h.span.refreshAt - now.Since(h.Sent)
	if window > 0 {
		in += time.Duration(rand.Float64() * spread * float64(window))
	}
	if f := e.backoff.last; f != nil {
		in = max(in, now.Until(f.next))
	}
	c.agenda.put(&e.slot, now.Mono+in)
}

func (a *agenda) put(s *slot, at time.Duration) {
	a.mu.Lock()
	defer a.mu.Unlock()
	s.at = at
	if s.index > 0 {
		heap.Fix(&a.slots, s.index-1)
	} else {
		heap.Push(&a.slots, s)
	}
}

func (a *agenda) remove(s *slot) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if s.index > 0 {
		heap.Remove(&a.slots, s.index-1)
	}
}

// due reports whether next would return an entry.
func (a *agenda) due(now Instant) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return len(a.slots) > 0 && a.slots[0].at <= now.Mono
}

// next takes the first entry that is due off the agenda; nil if none is.
func (a *agenda) next(now Instant) *entry {
	a.mu.Lock()
	defer a.mu.Unlock()
	if len(a.slots) == 0 || a.slots[0].at > now.Mono {
		return nil
	}
	return heap.Pop(&a.slots).(*slot).entry
}

// slots is a [heap.Interface].
type slots []*slot

func (s slots) Len() int           { return len(s) }
func (s slots) Less(i, j int) bool { return s[i].at < s[j].at }
func (s slots) Swap(i, j int) {
	s[i], s[j] = s[j], s[i]
	s[i].index, s[j].index = i+1, j+1
}
func (s *slots) Push(x any) {
	*s = append(*s, x.(*slot))
	x.(*slot).index = len(*s)
}
func (s *slots) Pop() any {
	last := len(*s) - 1
	x := (*s)[last]
	(*s)[last] = nil
	*s = (*s)[:last]
	x.index = 0
	return x
}
