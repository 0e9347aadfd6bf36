// SPDX-License-Identifier: MPL-2.0

package messaging

import (
	"errors"
	"maps"
	"sync"

	"vault-plugin-secrets-messaging/internal/tokencache"
	"vault-plugin-secrets-messaging/providers"
)

// pauses are the revocation endpoints that are left alone for a while, since they
// failed. They are each of one config: what an endpoint answers to one, and whether
// it answers, tells nothing of another's, which has credentials, and may have
// certificates, of its own. Safe for concurrent use.
type pauses struct {
	clock tokencache.Clock

	mu    sync.Mutex
	until map[revocationEndpoint]tokencache.Instant
}

type revocationEndpoint struct{ config, url string }

func newPauses(clock tokencache.Clock) *pauses {
	return &pauses{clock: clock, until: map[revocationEndpoint]tokencache.Instant{}}
}

// has reports whether the endpoint of rev is not to be asked.
func (p *pauses) has(rev revocation) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	until, ok := p.until[revocationEndpoint{rev.Config, rev.URL}]
	return ok && p.clock().Until(until) > 0
}

// begin notes a failure to revoke rev, and forgets the pauses that are over. An
// answer that says neither that the client is refused nor to try later is one
// about this token, and pauses nothing.
func (p *pauses) begin(rev revocation, err error) {
	var e *providers.Error
	if !errors.As(err, &e) || e.Kind == providers.Malformed {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	now := p.clock()
	maps.DeleteFunc(p.until, func(_ revocationEndpoint, until tokencache.Instant) bool { return now.Until(until) <= 0 })
	p.until[revocationEndpoint{rev.Config, rev.URL}] = now.Add(max(revokePause, e.RetryAfter))
}

// end notes that rev was revoked, and reports whether its endpoint had failed before.
func (p *pauses) end(rev revocation) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	endpoint := revocationEndpoint{rev.Config, rev.URL}
	_, failed := p.until[endpoint]
	delete(p.until, endpoint)
	return failed
}
