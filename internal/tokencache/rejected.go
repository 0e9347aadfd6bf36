// SPDX-License-Identifier: MPL-2.0

package tokencache

import (
	"context"
	"time"

	"vault-plugin-secrets-messaging/internal/clock"
	"vault-plugin-secrets-messaging/internal/secret"
	"vault-plugin-secrets-messaging/internal/token"
)

// Rejection is the outcome of a reader's report of a rejected token.
type Rejection int

const (
	NotRejected         Rejection = iota // there was no report, or no shared token
	RejectedHonored                      // the engine logs in
	RejectedReplaced                     // the rejected token is not the cached token
	RejectedRecent                       // the token is too new to be replaced
	RejectedTooFrequent                  // another report was honored a short time ago
	RejectedBackingOff                   // the last mint failed, and the next mint must wait

	NumRejections = iota
)

func (r Rejection) String() string {
	return [NumRejections]string{
		NotRejected: "", RejectedHonored: "honored", RejectedReplaced: "replaced", RejectedRecent: "recent",
		RejectedTooFrequent: "too_frequent", RejectedBackingOff: "backing_off"}[r]
}

// After a report of a rejected token caused a login, further reports cause no login for a while.
// This wait starts at firstRejection and doubles up to maxRejection. If a token lives half its life
// without a report, the wait is firstRejection again.
const firstRejection, maxRejection = time.Minute, 15 * time.Minute

// rejections remembers the reports of rejected tokens for one account. It is not safe for
// concurrent use.
type rejections struct {
	honored  int           // honored reports since a token lived half its life without a report
	next     clock.Instant // when the next report can be honored
	last     clock.Instant // when the last report was honored
	reported secret.String // the token of the last report
}

// report decides on a report about t, the cached token.
func (r *rejections) report(now clock.Instant, t *cachedToken, minimumAge time.Duration) Rejection {
	age := now.Since(t.Sent)
	if age >= t.timeline.lifetime/2 && r.reported != t.Access {
		r.honored = 0
	}
	r.reported = t.Access
	switch {
	case age < max(newest, minimumAge):
		return RejectedRecent
	case r.honored > 0 && now.Until(r.next) > 0:
		return RejectedTooFrequent
	}
	r.honored++
	r.last, r.next = now, now.Add(doubled(firstRejection, maxRejection, r.honored))
	return RejectedHonored
}

// GetAfterRejection is Get for a reader whose token the provider rejected. id is the [token.ID] of
// the rejected token. If that token is still cached and the limits allow a login, the cache logs
// in, and the reader waits up to MaxWait for the new token. If MayMint forbids that login, its error
// is returned. In all other cases, GetAfterRejection does what Get does. Grant.Rejection says which
// case applied.
func (c *Cache) GetAfterRejection(ctx context.Context, name, id string, asked time.Duration) (Grant, error) {
	return c.read(ctx, name, func(ctx context.Context, e *entry) (g Grant, err error) {
		m, rejection, next, err := c.reportRejection(e, id)
		if err != nil {
			return Grant{}, err
		}
		if rejection != NotRejected {
			e.counts.rejected[rejection].Add(1)
		}
		if m == nil {
			g, err = c.get(ctx, e, asked)
		} else {
			g, err = c.await(ctx, e, m, 0, asked)
		}
		g.Rejection, g.RejectionNext = rejection, next
		return g, err
	})
}

// reportRejection handles a reader's report that the provider rejected the token with this id. If
// the reader must wait for a mint, m is that mint. r and next are Grant.Rejection and
// Grant.RejectionNext.
func (c *Cache) reportRejection(e *entry, id string) (m *mint, r Rejection, next time.Time, err error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	now := c.clock()
	if e.gone || !e.account.Share() || e.cached.left(now) <= 0 {
		return nil, NotRejected, time.Time{}, nil
	}
	if token.ID(e.cached.Access) != id {
		return nil, RejectedReplaced, time.Time{}, nil
	}
	if e.mint != nil && (e.mint.refresh == "" || e.mint.finishing) { // another token is about to come
		return e.mint, RejectedHonored, time.Time{}, nil
	}
	if f := e.backoff.blocked(now); f != nil {
		return nil, RejectedBackingOff, f.Next, nil
	}
	if err := c.opts.MayMint(e.account, true); err != nil {
		return nil, NotRejected, time.Time{}, err
	}
	minimumAge := e.account.Policy().MinimumAge
	if r = e.rejections.report(now, e.cached, minimumAge); r != RejectedHonored {
		return nil, r, now.Wall.Add(max(now.Until(e.rejections.next), max(newest, minimumAge)-now.Since(e.cached.Sent))), nil
	}
	e.supersede() // a running mint uses the refresh token, which the provider may have ended too
	return c.startMint(e, now, rejection, nil), r, time.Time{}, nil
}
