// SPDX-License-Identifier: MPL-2.0

package tokencache

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// outcome describes a read or a rotate, and its result.
type outcome struct {
	grant  Grant
	err    error
	asked  time.Duration
	began  event
	rotate bool
	report bool // of a rejected token

	unshared bool // the account was unshared when the read began

	// The read must return the cached token by waitEnds, on the monotonic clock. 0 means no limit.
	waitEnds time.Duration
	changes  int // the model's changes when the read began
}

// judge checks the outcome of a read or a rotate. If the account changed in the same step, judge
// checks less, because the order is unknown.
func (m *model) judge(o outcome, now event) error {
	ordered := o.began.step > m.changed.step || m.changed.at.Mono < now.at.Mono
	left := m.left(now.at)
	if waited := now.at.Mono - o.began.at.Mono; waited > MaxWait && !o.rotate {
		return fmt.Errorf("got an outcome after %s, want at most %s", waited, MaxWait)
	}
	if a, ok := o.grant.Account.(*fakeAccount); ok && a.unshared && o.err == nil {
		if m.unshared[o.grant.Token.Access]++; m.unshared[o.grant.Token.Access] > 1 {
			return fmt.Errorf("got token %s of an unshared account again, want each once", o.grant.Token.Access.Reveal())
		}
		return nil
	}
	unchanged := m.changes == o.changes || m.changes == o.changes+1 && m.changed.at.Mono > o.waitEnds
	if unchanged && o.waitEnds > 0 && now.at.Mono > o.waitEnds {
		return fmt.Errorf("got an outcome %s after the wait had to end", now.at.Mono-o.waitEnds)
	}
	var failure *Failure
	switch {
	case o.err == nil:
		g := o.grant
		if g.Left <= 0 {
			return errors.New("got an expired token")
		}
		if !ordered {
			return nil
		}
		if m.config == nil || m.cached == nil {
			return fmt.Errorf("got token %s, want an error because there is no token", g.Token.Access.Reveal())
		}
		if g.Token.Access != m.cached.access || g.Account.Revision() != m.config.revision {
			return fmt.Errorf("got token %s of revision %s, want %s of %s",
				g.Token.Access.Reveal(), g.Account.Revision(), m.cached.access.Reveal(), m.config.revision)
		}
		if g.Left != left {
			return fmt.Errorf("got %s left, want %s", g.Left, left)
		}
		if o.rotate && m.cached.minted.at.Mono < o.began.at.Mono-10*time.Second {
			return fmt.Errorf("got a token minted %s before the rotate, want at most 10s", o.began.at.Mono-m.cached.minted.at.Mono)
		}
		minTTL := m.timeline().minTTL
		if g.Failure == nil && !o.rotate && !o.report && left < minTTL && m.minting() == 0 && now.at.Mono >= m.again.Mono && m.failedAt != now.at {
			return fmt.Errorf("got a token with %s left while no mint runs, want a Failure with it", left)
		}
		if left < min(2*time.Second, minTTL) && !o.rotate && o.began.step > m.changed.step && !m.wallSet {
			return fmt.Errorf("got a token with %s left, want more", left)
		}
	case errors.As(o.err, &failure):
		if ordered && !o.rotate && left >= 2*time.Second {
			return fmt.Errorf("got error %v, want the token with %s left", o.err, left)
		}
	case errors.Is(o.err, ErrNotFound):
		if ordered && m.config != nil {
			return o.err
		}
	case errors.Is(o.err, ErrUnshared):
		if ordered && !m.config.unshared {
			return o.err
		}
	case errors.Is(o.err, context.DeadlineExceeded), errors.Is(o.err, ErrStillMinting):
		if ordered && !o.rotate && !o.unshared && left >= 2*time.Second {
			return fmt.Errorf("got error %v, want the token with %s left", o.err, left)
		}
	default:
		return o.err
	}
	return nil
}
