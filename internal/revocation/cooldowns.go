// SPDX-License-Identifier: MPL-2.0

package revocation

import (
	"errors"
	"maps"
	"sync"
	"time"

	"vault-plugin-secrets-messaging/internal/clock"
	"vault-plugin-secrets-messaging/internal/token"
)

// cooldown is how long a revocation endpoint that failed is not asked again, unless it
// asks for a longer time.
const cooldown = 30 * time.Second

// cooldowns are the revocation endpoints that failed lately. Cooldowns are per config:
// two configs may reach one endpoint with different credentials and certificates. A
// cooldowns value is safe for concurrent use.
type cooldowns struct {
	clock clock.Clock

	mu    sync.Mutex
	until map[endpoint]clock.Instant
}

type endpoint struct{ config, url string }

func newCooldowns(c clock.Clock) *cooldowns {
	return &cooldowns{clock: c, until: map[endpoint]clock.Instant{}}
}

// active reports whether the endpoint of rev must not be asked now.
func (c *cooldowns) active(rev Revocation) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	until, ok := c.until[endpoint{rev.Config, rev.URL}]
	return ok && c.clock().Until(until) > 0
}

// start records a failure to revoke rev, and removes the cooldowns that have ended. An
// answer that neither refuses the client nor says to try later concerns only this token,
// and starts no cooldown.
func (c *cooldowns) start(rev Revocation, err error) {
	var e *token.Error
	if !errors.As(err, &e) || e.Kind == token.Malformed {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	now := c.clock()
	maps.DeleteFunc(c.until, func(_ endpoint, until clock.Instant) bool { return now.Until(until) <= 0 })
	c.until[endpoint{rev.Config, rev.URL}] = now.Add(max(cooldown, e.RetryAfter))
}

// end records that rev was revoked, and reports whether its endpoint had failed before.
func (c *cooldowns) end(rev Revocation) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	e := endpoint{rev.Config, rev.URL}
	_, failed := c.until[e]
	delete(c.until, e)
	return failed
}
