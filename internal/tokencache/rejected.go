// SPDX-License-Identifier: MPL-2.0

package tokencache

import (
	"context"
	"errors"
	"time"

	"vault-plugin-secrets-messaging/internal/clock"
	"vault-plugin-secrets-messaging/internal/secret"
	"vault-plugin-secrets-messaging/internal/token"
)

// Rejection is the result of a report that the provider rejected a token.
type Rejection int

const (
	NotRejected         Rejection = iota // the read was no report, or the account is unshared
	RejectedHonored                      // the engine logs in
	RejectedReplaced                     // the rejected token is no longer the cached token
	RejectedRecent                       // the token is too new to be replaced
	RejectedTooFrequent                  // another report was honored lately
	RejectedBackingOff                   // the last mint failed, and the next one must wait

	NumRejections = iota
)

func (r Rejection) String() string {
	return [NumRejections]string{
		NotRejected: "", RejectedHonored: "honored", RejectedReplaced: "replaced", RejectedRecent: "recent",
		RejectedTooFrequent: "too_frequent", RejectedBackingOff: "backing_off"}[r]
}

// The waits between honored reports about an account double from first to max, so that readers
// cannot cause logins at will. They start again at first when a token has lived half its life
// without a report.
const firstRejection, maxRejection = time.Minute, 15 * time.Minute

// rejections remembers the reports about one account. It is not safe for concurrent use.
type rejections struct {
	honored  int           // reports since a token lived half its life without a report
	next     clock.Instant // before this no report is honored
	last     clock.Instant // the last honored report
	reported secret.String // the token that the last report was about
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

// GetAfterRejection is Get for a reader that reports the token with the given [token.ID] as
// rejected by the provider. If that token is cached, the cache logs in, within limits, and the
// reader waits up to MaxWait for the new token. In all other cases the reader gets the cached
// token. Grant.Rejection is the result of the report.
func (c *Cache) GetAfterRejection(ctx context.Context, name, id string, asked time.Duration) (Grant, error) {
	e, err := c.entry(ctx, name)
	wait, cancel := c.bounded(ctx)
	defer cancel()
	for ; err == nil; e, err = c.entry(ctx, name) {
		m, rejection, next, err := c.reportRejection(e, id)
		if err != nil {
			return Grant{}, err
		}
		if rejection != NotRejected {
			e.counts.rejected[rejection].Add(1)
		}
		g, err := c.getAfter(wait, e, m, asked)
		if !errors.Is(err, errSuperseded) || wait.Err() != nil {
			g.Rejection, g.RejectionNext = rejection, next
			return e.counted(wait, g, err)
		}
	}
	return Grant{}, err
}

// reportRejection starts or joins a login if it honors the report. It returns a nil mint if
// there is nothing to wait for. next is when the next report can be honored.
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
	if err := c.mayMint(e, true); err != nil {
		return nil, NotRejected, time.Time{}, err
	}
	minimumAge := e.account.Policy().MinimumAge
	if r = e.rejections.report(now, e.cached, minimumAge); r != RejectedHonored {
		return nil, r, now.Wall.Add(max(now.Until(e.rejections.next), max(newest, minimumAge)-now.Since(e.cached.Sent))), nil
	}
	e.supersede() // a refresh, whose session may be what the provider ended
	return c.startMint(e, now, rejection, nil), r, time.Time{}, nil
}

// getAfter waits for m, if it is not nil, and then serves what Get would.
func (c *Cache) getAfter(ctx context.Context, e *entry, m *mint, asked time.Duration) (Grant, error) {
	if m == nil {
		return c.get(ctx, e, asked)
	}
	select {
	case <-m.done:
		return c.waited(e, m, asked)
	case <-ctx.Done():
		return e.snapshot.Load().fallback(c.clock(), asked, context.Cause(ctx))
	}
}
