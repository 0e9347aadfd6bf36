// SPDX-License-Identifier: MPL-2.0

package tokencache

import (
	"container/heap"
	"math/rand/v2"
	"sync"
	"time"

	"vault-plugin-secrets-messaging/internal/clock"
)

// spread is the part of the refresh window over which ticks spread the refreshes of
// tokens that were minted together.
const spread = 0.1

// Due reports whether Tick has anything to do. It takes one lock, whatever the number of
// accounts.
func (c *Cache) Due() bool { return c.queue.due(c.clock()) }

// Tick starts a refresh of each token that is in its refresh window and was read since it
// was minted, and returns without waiting. The cost follows the number of due tokens, not
// of accounts. A token that nobody read is left alone: the next read refreshes it.
func (c *Cache) Tick() {
	now := c.clock()
	for e := c.queue.next(now); e != nil; e = c.queue.next(now) {
		e.mu.Lock()
		switch {
		case e.cached == nil || e.cached.reads.Load() == 0:
		case e.due(now):
			c.startMint(e, now, background)
		default: // the entry changed since, or a clock was set
			c.enqueue(e, now)
		}
		e.mu.Unlock()
	}
}

// enqueue puts e in the refresh queue for the moment at which its token enters the refresh
// window, or removes e if no refresh will be due; the caller holds e.mu.
func (c *Cache) enqueue(e *entry, now clock.Instant) {
	t := e.cached
	if e.gone || e.mint != nil || t.left(now) <= 0 || t.timeline.refreshAt >= t.timeline.lifetime {
		c.queue.remove(&e.queued)
		return
	}
	window := t.timeline.lifetime - t.timeline.minTTL - t.timeline.refreshAt
	in := t.timeline.refreshAt - now.Since(t.Sent)
	if window > 0 {
		in += time.Duration(rand.Float64() * spread * float64(window))
	}
	if f := e.backoff.last; f != nil {
		in = max(in, now.Until(f.next))
	}
	c.queue.put(&e.queued, now.Mono+in)
}

// refreshQueue holds the entries whose tokens a tick may have to refresh, earliest first.
// The zero refreshQueue is empty and ready to use. It is safe for concurrent use, and no
// other lock is taken while its lock is held.
type refreshQueue struct {
	mu   sync.Mutex
	heap queueHeap
}

// queued is an entry's place in the refresh queue.
type queued struct {
	entry *entry        // set when the entry is made
	at    time.Duration // when the refresh is due, on the monotonic clock
	index int           // in the heap, plus one; 0 if the entry is not queued
}

func (q *refreshQueue) put(p *queued, at time.Duration) {
	q.mu.Lock()
	defer q.mu.Unlock()
	p.at = at
	if p.index > 0 {
		heap.Fix(&q.heap, p.index-1)
	} else {
		heap.Push(&q.heap, p)
	}
}

func (q *refreshQueue) remove(p *queued) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if p.index > 0 {
		heap.Remove(&q.heap, p.index-1)
	}
}

// due reports whether next would return an entry.
func (q *refreshQueue) due(now clock.Instant) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	return len(q.heap) > 0 && q.heap[0].at <= now.Mono
}

// next removes the first entry that is due and returns it; nil if none is due.
func (q *refreshQueue) next(now clock.Instant) *entry {
	q.mu.Lock()
	defer q.mu.Unlock()
	if len(q.heap) == 0 || q.heap[0].at > now.Mono {
		return nil
	}
	return heap.Pop(&q.heap).(*queued).entry
}

// queueHeap is a [heap.Interface].
type queueHeap []*queued

func (h queueHeap) Len() int           { return len(h) }
func (h queueHeap) Less(i, j int) bool { return h[i].at < h[j].at }
func (h queueHeap) Swap(i, j int) {
	h[i], h[j] = h[j], h[i]
	h[i].index, h[j].index = i+1, j+1
}

func (h *queueHeap) Push(x any) {
	*h = append(*h, x.(*queued))
	x.(*queued).index = len(*h)
}

func (h *queueHeap) Pop() any {
	last := len(*h) - 1
	x := (*h)[last]
	(*h)[last] = nil
	*h = (*h)[:last]
	x.index = 0
	return x
}
