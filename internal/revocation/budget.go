// SPDX-License-Identifier: MPL-2.0

package revocation

import (
	"sync"
	"time"

	"vault-plugin-secrets-messaging/internal/clock"
)

// In any budgetPeriod, requests to a mount wait at most budgetWait in total for revocation
// endpoints. Vault cannot disable or move the mount while a request waits.
const (
	budgetWait   = 5 * time.Second
	budgetPeriod = 30 * time.Second
)

// budget limits how long requests wait in total. Concurrent waits count once. A budget is safe for
// concurrent use.
type budget struct {
	clock clock.Clock

	mu      sync.Mutex
	spells  []spell       // the spells of the last budgetPeriod, at most about one per second
	waiting int           // how many requests wait now
	since   clock.Instant // when the first of the waiting requests began
}

// spell is one wait, or several short waits in a row. If a wait ends within a second after the
// start of the last spell, the wait is added to that spell.
type spell struct {
	start, end clock.Instant
	waited     time.Duration
}

// start begins a wait and returns how long the wait may last. Call end after the wait. If no time
// is left, start returns 0 and nil.
func (b *budget) start() (left time.Duration, end func()) {
	b.mu.Lock()
	defer b.mu.Unlock()
	now := b.clock()
	left = budgetWait
	for len(b.spells) > 0 && b.spells[0].end.Until(now) >= budgetPeriod {
		b.spells = b.spells[1:]
	}
	for _, s := range b.spells {
		left -= s.waited
	}
	if b.waiting > 0 {
		left -= b.since.Until(now)
	} else {
		b.since = now
	}
	if left <= 0 {
		return 0, nil
	}
	b.waiting++
	return left, b.end
}

func (b *budget) end() {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.waiting--; b.waiting > 0 {
		return
	}
	now := b.clock()
	waited := b.since.Until(now)
	if i := len(b.spells) - 1; i >= 0 && b.spells[i].start.Until(now) <= time.Second {
		b.spells[i] = spell{b.spells[i].start, now, b.spells[i].waited + waited}
		return
	}
	b.spells = append(b.spells, spell{b.since, now, waited})
}
