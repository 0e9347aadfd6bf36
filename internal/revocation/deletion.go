// SPDX-License-Identifier: MPL-2.0

package revocation

import (
	"errors"
	"strings"

	"vault-plugin-secrets-messaging/internal/account"
)

// To delete a config, the backend calls Prepare, then removes the token and the config from
// storage, and then calls EndConfig. If storage fails, the backend calls Abandon instead. After a
// crash, the next Drain or deletion handles the queued tokens.

// Prepare queues the tokens of a config before the config is deleted. Drain skips these tokens
// until Abandon is called. If Prepare fails, do not delete the config.
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

// Abandon ends a failed deletion. The engine then revokes the config's queued tokens, except a
// token that the config still uses.
func (r *Revoker) Abandon(config string) {
	r.queue.release(config)
}

// EndConfig revokes the queued tokens of a deleted config with the credentials of the account a. If
// the credentials are already lost, a is nil. EndConfig tries once for each token. It returns a
// warning for the user if a token was not revoked, otherwise "".
//
// EndConfig waits for providers at most budgetWait.
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
		r.endpoints.forget(endpointID{config, a.RevocationEndpoint()}) // try despite earlier failures
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
