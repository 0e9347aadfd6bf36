// SPDX-License-Identifier: MPL-2.0

package tokencache

import "sync/atomic"

// Served is how a read got its token.
type Served int

const (
	ServedFresh  Served = iota // at once, from a token that is not due for a refresh
	ServedStale                // from a token in its refresh window, or with less life than the read wanted
	ServedWaited               // by a mint that it waited for
	ServedNot                  // not at all
)

func (s Served) String() string {
	return [...]string{ServedFresh: "fresh", ServedStale: "stale", ServedWaited: "waited", ServedNot: "failed"}[s]
}

// Counts are what one account has seen since it came into memory. They only grow,
// and begin again at 0 when the account is forgotten and loaded anew.
type Counts struct {
	Reads  [int(ServedNot) + 1]int64 // by Served
	Minted int64                     // mints that succeeded, with those that came by Put
	Failed [int(Refused) + 1]int64   // mints that failed, by Kind
}

// counts are the part of an entry's [Counts] that is counted without a lock.
type counts struct {
	reads  [int(ServedNot) + 1]atomic.Int64
	failed [int(Refused) + 1]atomic.Int64
}

// read counts a read that ended so.
func (c *counts) read(g Grant, err error) {
	if err != nil {
		g.Served = ServedNot
	}
	c.reads[g.Served].Add(1)
}

// mint counts a mint that ended so, if it failed; an entry counts the others.
func (c *counts) mint(f Flight) {
	if f.Failure != nil {
		c.failed[f.Failure.Kind].Add(1)
	}
}

// Each calls f for each account in memory, in no order, until f returns false. It
// holds no lock meanwhile: the accounts are not all of one moment, and f may take
// its time.
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
		return f(name.(string), a, s, counts)
	})
}
