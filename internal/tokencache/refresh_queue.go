// SPDX-License-Identifier: MPL-2.0

package tokencache

import (
	"container/heap"
	"maps"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"vault-plugin-secrets-messaging/internal/clock"
)

// Ticks start each refresh at a random time in the first tenth of the refresh window. So tokens that
// were minted together are not refreshed together.
const spread = 0.1

// resavePause is the least time between two attempts to save a token.
const resavePause = time.Second

// Due reports whether Tick has work. The cost of Due does not depend on the number of accounts.
func (c *Cache) Due() bool { return c.queue.due(c.clock()) }

// Tick starts a background refresh of each due token, and does not wait. A token is due if it is in
// its refresh window and was read since its mint. If nobody read the token, its next read starts the
// refresh. If no slot is free, the refresh starts later. Tick also saves tokens that the store does
// not have yet, and repeats failed removals. It calls OnUnused for unshared tokens that no reader
// got within maxParked. The cost does not depend on the number of idle accounts.
func (c *Cache) Tick() {
	now := c.clock()
	var unsaved []*entry
	for e := c.queue.next(now); e != nil; e = c.queue.next(now) {
		e.mu.Lock()
		c.discardLater(e.unshared.unparkOlder(now))
		if e.unsaved {
			unsaved = append(unsaved, e)
		}
		if e.due(now) && e.cached.reads.Load() > 0 {
			c.refresh(e, now)
		} else if e.unsaved || e.cached == nil || e.cached.reads.Load() > 0 {
			c.enqueue(e, now) // the entry has changed, or a clock was set
		}
		e.mu.Unlock()
	}
	if len(unsaved) > 0 {
		go func() {
			for _, e := range unsaved {
				c.resave(e)
			}
		}()
	}
	for _, host := range c.queue.waitingHosts() {
		c.startWaiting(host)
	}
}

// mayMintPause delays a refresh that MayMint did not allow.
const mayMintPause = time.Second

// refresh starts a background refresh for e, or lets the refresh wait for a slot. The caller holds
// e.mu.
func (c *Cache) refresh(e *entry, now clock.Instant) {
	if c.opts.MayMint(e.account, e.cached.lacksLife(now)) != nil {
		e.notBefore = now.Add(mayMintPause)
		c.publish(e)
		return
	}
	at := lane{host: e.account.Host()}
	if e.cached.refreshToken(now) == "" {
		at.serialKey = e.account.SerialKey()
	}
	if release, ok := c.limiter.tryBackground(at); ok {
		c.startMint(e, now, background, release)
		return
	}
	e.waiting = true
	c.queue.wait(at, e)
	c.publish(e)
}

// freed starts waiting refreshes at this host, and then at other hosts, because all hosts share one
// limit. The limiter calls freed when a slot becomes free or a user may log in again.
func (c *Cache) freed(host string) {
	c.startWaiting(host)
	for {
		other := c.queue.otherHost(host)
		if other == "" || c.startWaiting(other) {
			return
		}
	}
}

// startWaiting starts the refreshes that wait at this host, while slots are free. If some refreshes
// still wait afterwards, the result is true.
func (c *Cache) startWaiting(host string) (more bool) {
	for _, at := range c.queue.lanes(host) {
		for {
			before := c.limiter.releases.Load()
			e := c.queue.nextWaiting(at)
			if e == nil {
				break
			}
			e.mu.Lock()
			e.waiting = false
			now := c.clock()
			if c.ctx.Err() == nil && e.due(now) {
				c.refresh(e, now)
			} else {
				c.publish(e)
			}
			waits := e.waiting
			e.mu.Unlock()
			if waits && c.limiter.releases.Load() == before { // otherwise a slot may be free
				more = true
				break
			}
		}
	}
	return more
}

// enqueue updates the place of e in the refresh queue. If e needs no tick, enqueue removes e from
// the queue. The caller holds e.mu.
func (c *Cache) enqueue(e *entry, now clock.Instant) {
	in, ok := e.nextTick(now)
	if !ok {
		c.queue.remove(e)
		return
	}
	c.queue.put(e, now.Mono+in)
}

// nextTick returns the time until e needs a tick. If e needs no tick, ok is false.
func (e *entry) nextTick(now clock.Instant) (in time.Duration, ok bool) {
	if e.gone {
		return 0, false
	}
	if e.unsaved {
		return resavePause, true
	}
	if len(e.unshared.parked) > 0 {
		return e.unshared.parked[0].at.Add(maxParked).Mono - now.Mono, true
	}
	t := e.cached
	if e.mint != nil || e.waiting || t.left(now) <= 0 || t.timeline.refreshAt >= t.timeline.lifetime {
		return 0, false
	}
	window := t.timeline.lifetime - t.timeline.minTTL - t.timeline.refreshAt
	in = t.timeline.refreshAt - now.Since(t.Sent)
	if window > 0 {
		in += time.Duration(rand.Float64() * spread * float64(window))
	}
	if f := e.backoff.last; f != nil {
		in = max(in, now.Until(f.next))
	}
	return max(in, now.Until(e.notBefore)), true
}

// refreshQueue says which entries a tick must refresh or save, and when. The field waiting holds
// the entries whose refresh waits for a slot. A refreshQueue is safe for concurrent use. Code that
// holds mu takes no other lock.
type refreshQueue struct {
	mu      sync.Mutex
	heap    queueHeap
	waiting map[string]map[lane][]*entry // by host; no list is empty
}

func newRefreshQueue() *refreshQueue {
	return &refreshQueue{waiting: map[string]map[lane][]*entry{}}
}

func (q *refreshQueue) put(e *entry, tick time.Duration) {
	q.mu.Lock()
	defer q.mu.Unlock()
	e.tick = tick
	if e.place > 0 {
		heap.Fix(&q.heap, e.place-1)
	} else {
		heap.Push(&q.heap, e)
	}
}

func (q *refreshQueue) remove(e *entry) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if e.place > 0 {
		heap.Remove(&q.heap, e.place-1)
	}
}

// due reports whether Tick has anything to do.
func (q *refreshQueue) due(now clock.Instant) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	return len(q.waiting) > 0 || len(q.heap) > 0 && q.heap[0].tick <= now.Mono
}

// next removes and returns the earliest due entry, or nil.
func (q *refreshQueue) next(now clock.Instant) *entry {
	q.mu.Lock()
	defer q.mu.Unlock()
	if len(q.heap) == 0 || q.heap[0].tick > now.Mono {
		return nil
	}
	return heap.Pop(&q.heap).(*entry)
}

// wait adds e to the entries whose refresh waits for a slot.
func (q *refreshQueue) wait(at lane, e *entry) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.waiting[at.host] == nil {
		q.waiting[at.host] = map[lane][]*entry{}
	}
	q.waiting[at.host][at] = append(q.waiting[at.host][at], e)
}

// waitingHosts returns the hosts at which refreshes wait.
func (q *refreshQueue) waitingHosts() []string {
	q.mu.Lock()
	defer q.mu.Unlock()
	return slices.Collect(maps.Keys(q.waiting))
}

// otherHost returns a different host with waiting refreshes, or "".
func (q *refreshQueue) otherHost(host string) string {
	q.mu.Lock()
	defer q.mu.Unlock()
	for other := range q.waiting {
		if other != host {
			return other
		}
	}
	return ""
}

// lanes returns this host's lanes that have waiting refreshes. If there are many, the result is a
// random part that suffices to fill the free slots.
func (q *refreshQueue) lanes(host string) []lane {
	q.mu.Lock()
	defer q.mu.Unlock()
	var some []lane
	for at := range q.waiting[host] {
		if some = append(some, at); len(some) == 2*maxBackgroundPerHost {
			break
		}
	}
	return some
}

// nextWaiting removes and returns the entry whose refresh has waited longest for this host and
// user, or nil.
func (q *refreshQueue) nextWaiting(at lane) *entry {
	q.mu.Lock()
	defer q.mu.Unlock()
	list := q.waiting[at.host][at]
	if len(list) == 0 {
		return nil
	}
	e := list[0]
	list[0] = nil
	if list = list[1:]; len(list) > 0 {
		q.waiting[at.host][at] = list
		return e
	}
	delete(q.waiting[at.host], at)
	if len(q.waiting[at.host]) == 0 {
		delete(q.waiting, at.host)
	}
	return e
}

// queueHeap implements [heap.Interface].
type queueHeap []*entry

func (h queueHeap) Len() int           { return len(h) }
func (h queueHeap) Less(i, j int) bool { return h[i].tick < h[j].tick }
func (h queueHeap) Swap(i, j int) {
	h[i], h[j] = h[j], h[i]
	h[i].place, h[j].place = i+1, j+1
}

func (h *queueHeap) Push(x any) {
	*h = append(*h, x.(*entry))
	x.(*entry).place = len(*h)
}

func (h *queueHeap) Pop() any {
	last := len(*h) - 1
	e := (*h)[last]
	(*h)[last] = nil
	*h = (*h)[:last]
	e.place = 0
	return e
}
