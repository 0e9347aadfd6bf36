// SPDX-License-Identifier: MPL-2.0

package revocation

import (
	"cmp"
	"errors"
	"slices"

	"vault-plugin-secrets-messaging/internal/secret"
	"vault-plugin-secrets-messaging/internal/telemetry"
)

// maxReads limits the records that one call of Drain reads. Records of revoked tokens do not count.
const maxReads = 1000

// errServed reports that the token is still in use, because the deletion of its config failed.
var errServed = errors.New("the deletion of the config failed, so the token stays in use")

// Pending reports whether Drain has work to do. It uses neither storage nor network.
func (r *Revoker) Pending() bool {
	return !r.queue.isListed() || len(r.queue.filter(r.isDue)) > 0
}

// isDue reports whether Drain has to handle the entry e now. The caller holds the queue's mu.
func (r *Revoker) isDue(e *entry) bool {
	now := r.opts.Clock()
	switch {
	case e.held || e.storing:
		return false
	case !e.known || e.ended:
		return now.Until(e.due) <= 0
	case e.expires <= now.Wall.Unix():
		return true
	}
	return now.Until(e.due) <= 0 && !r.endpoints.resting(e.id)
}

// due returns the entries to handle now. Entries with the fewest failures come first, so that
// failing endpoints do not delay other endpoints.
func (r *Revoker) due() []*entry {
	failures := map[*entry]int{}
	due := r.queue.filter(func(e *entry) bool {
		if !r.isDue(e) {
			return false
		}
		failures[e] = e.failures + r.endpoints.get(e.id).failures
		return true
	})
	slices.SortStableFunc(due, func(a, b *entry) int { return cmp.Compare(failures[a], failures[b]) })
	return due
}

// Drain tries to revoke the queued tokens that are due. It returns at once if another Drain is
// running. The setting request_timeout limits each request to a provider.
func (r *Revoker) Drain() {
	if !r.draining.TryLock() {
		return
	}
	defer r.draining.Unlock()
	var err error
	defer func() { telemetry.LogPanic(r.opts.Log(), err) }()
	defer secret.RecoverTo(&err)
	if r.opts.Tainted() {
		return
	}
	if err := r.queue.list(r.ctx); err != nil {
		r.opts.Log().Error("listing the tokens to revoke failed", "error", err)
		return
	}
	reads := 0
	for again := true; again; {
		again = false
		for _, e := range r.due() {
			if !r.queue.check(e, r.isDue) { // no longer due
				continue
			}
			revoked, err := r.drainEntry(e)
			if r.ctx.Err() != nil {
				return
			}
			if err != nil {
				r.opts.Log().Error("handling a token to revoke failed", "error", err)
				return // the next entry would fail the same way
			}
			if again = again || revoked; !revoked {
				reads++
			}
			if reads == maxReads {
				return
			}
		}
	}
}

// drainEntry tries to revoke an entry's token, and reports whether the provider revoked the token.
// An error means that storage failed.
func (r *Revoker) drainEntry(e *entry) (revoked bool, err error) {
	rev, err := r.queue.read(r.ctx, e)
	log := r.opts.Log().With("config", rev.Config)
	switch {
	case errors.Is(err, errGone):
		r.queue.forget(e)
		return false, nil
	case errors.Is(err, errEnded): // only the record is left
	case errors.Is(err, errDamaged):
		log.Error("a token to revoke cannot be decoded and is left to expire", "error", err)
	case err != nil:
		r.queue.postpone(e)
		return false, err
	case !r.alive(rev):
		log.Warn("a token expired before it could be revoked")
	case r.endpoints.resting(rev.endpointID()):
		return false, nil
	default:
		err = r.revokeLater(rev)
		switch {
		case r.ctx.Err() != nil:
			return false, nil //nolint:nilerr // the revoker was closed, and the entry stays queued
		case err == nil:
			revoked = true
			log.Info("a token was revoked at a later attempt")
		case isPermanent(err), errors.Is(err, errServed):
			log.Warn("a token was not revoked", "error", err)
		default:
			log.Warn("a later attempt to revoke a token failed; the engine tries again until the token expires", "error", err)
			r.queue.postpone(e)
			return false, nil
		}
	}
	if r.queue.check(e, func(e *entry) bool { return e.held }) { // a deletion began and needs the entry
		return revoked, nil
	}
	return revoked, r.queue.remove(r.ctx, e)
}

// revokeLater revokes a queued token with the credentials of the stored config.
func (r *Revoker) revokeLater(rev Revocation) error {
	a, t, err := r.load(r.ctx, rev)
	if err != nil {
		return err
	}
	if rev.Deleting && t != nil && t.Access == rev.AccessToken {
		return errServed
	}
	return r.send(r.ctx, a, rev)
}
