// SPDX-License-Identifier: MPL-2.0

package revocation

import (
	"errors"
	"strings"

	"vault-plugin-secrets-messaging/internal/account"
)

// The deletion of a config calls Prepare, removes the stored token and config, and calls
// EndConfig, or Abandon if it failed. So no failure and no crash in between loses a token:
// if the config still exists, a drain or the next deletion ends its token.

// Prepare queues the tokens of a config that is about to be deleted. No drain tries them
// until Abandon. If Prepare fails, the config must not be deleted.
func (r *Revoker) Prepare(revs ...Revocation) error {
	ctx, cancel := r.storageContext()
	defer cancel()
	for _, rev := range revs {
		if !r.alive(rev) {
			continue
		}
		rev.Deleting = true
		if err := r.queue.add(ctx, rev); err != nil {
			return err
		}
	}
	return nil
}

// Abandon leaves the tokens of a config whose deletion failed to later attempts. A token
// that is still stored stays in use.
func (r *Revoker) Abandon(config string) {
	r.queue.release(config)
}

// EndConfig ends the queued tokens of a deleted config with the credentials of a, which is nil if
// they are lost. A later attempt would have no credentials. EndConfig returns what a user should
// know if a token has not ended, otherwise "". It waits within the budget of the mount.
func (r *Revoker) EndConfig(config string, a *account.Account) (warning string) {
	ctx, cancel := r.storageContext()
	defer cancel()
	if err := r.queue.list(ctx); err != nil {
		r.opts.Log().Error("listing the tokens to revoke failed", "error", err)
	}
	unknown := r.queue.filter(func(e *entry) bool { return !e.known })
	for _, e := range unknown[:min(len(unknown), maxReads)] {
		_, _ = r.queue.read(ctx, e) // a drain reports the error
	}
	entries := r.queue.filter(func(e *entry) bool { return e.id.config == config && e.held })
	entries = append(entries, r.queue.filter(func(e *entry) bool { return e.id.config == config && !e.held && !e.storing && !e.ended })...)
	var revs []Revocation
	var unread error
	for _, e := range entries {
		rev, err := r.queue.read(ctx, e)
		switch {
		case err == nil:
			revs = append(revs, rev)
		case !errors.Is(err, errGone) && !errors.Is(err, errDamaged):
			unread = err
		}
	}
	if a == nil {
		warning = each(revs, func(rev Revocation) string { return r.leave(rev.Config, errMoved) })
	} else {
		r.endpoints.forget(endpointID{config, a.RevocationEndpoint()}) // this attempt is the last
		warning = r.RevokeOnce(a, revs...)
	}
	if unread != nil {
		warning = strings.TrimPrefix(warning+"; "+r.leave(config, unread), "; ")
	}
	r.queue.end(entries)
	ctx, cancel = r.storageContext()
	defer cancel()
	for _, e := range entries {
		if err := r.queue.remove(ctx, e); err != nil {
			r.opts.Log().Error("handling a token to revoke failed", "config", config, "error", err)
			break // a drain removes the rest
		}
	}
	return warning
}
