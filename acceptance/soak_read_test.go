// SPDX-License-Identifier: MPL-2.0

package acceptance

import (
	"fmt"
	"math"
	"math/rand/v2"
	"net/http"
	"sync"
	"time"

	"vault-plugin-secrets-messaging/acceptance/harness"
)

// The engine serves only tokens with at least maxTransit left. So if a token is dead on arrival,
// the read must have taken longer than maxTransit.
const maxTransit = 2 * time.Second

// If a cached token has more than mustServe left, a read must return a token. The engine serves no
// token with less than 2 s left. Rounding and the read need the rest.
const mustServe = 4500 * time.Millisecond

// readCounts counts reads and revocations by their outcome.
type readCounts struct {
	mu       sync.Mutex
	n        map[string]int
	shortest time.Duration // the shortest remaining lifetime of a token at its arrival; math.MaxInt64 before the first
}

func newReadCounts() *readCounts { return &readCounts{n: map[string]int{}, shortest: math.MaxInt64} }

func (c *readCounts) count(outcome string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.n[outcome]++
}

func (c *readCounts) noteLife(left time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.shortest = min(c.shortest, left)
}

// add adds the counts d, which must not change any more.
func (c *readCounts) add(d *readCounts) {
	for outcome, n := range d.n {
		c.n[outcome] += n
	}
	c.noteLife(d.shortest)
}

// read reads the account's creds and judges the answer.
//
// The token must be active, unless an operation or a revocation is running. The lease must not
// outlive the token.
//
// If the plugin and the server run and no operation interferes, the read must succeed in two cases:
//   - The cached token has more than [mustServe] left when the answer arrives.
//   - The provider works, and [soakAccount.repair] has succeeded since the last fault or deletion.
//
// Any other read may fail with the status 400 or 502.
func (a *soakAccount) read() {
	c := a.counts
	c.count("reads")
	path := a.creds()
	if !a.calm && rand.IntN(4) == 0 {
		path += fmt.Sprintf("?min_ttl=%ds", rand.IntN(20))
	}
	restarts, changes := a.restarts.mark(), a.changes.mark()
	healthySince, cachedUntil := a.state()
	sent := time.Now()
	r, err := a.Do(http.MethodGet, path, nil)
	arrived := time.Now()
	unchanged := a.changes.noneSince(changes)
	if err == nil && r.Status == http.StatusOK {
		a.judgeToken(r, sent, arrived, changes)
		return
	}
	stillSince, _ := a.state()
	switch {
	case !a.restarts.noneSince(restarts):
		c.count("cut")
	case err != nil:
		a.problem("%s: got error %v, want an answer", path, err)
	case unchanged && cachedUntil.Sub(arrived) > mustServe:
		a.problem("%s with a cached token that lives for %s: got status %d, want 200: %s", path, cachedUntil.Sub(arrived), r.Status, r.Raw)
	case unchanged && !healthySince.IsZero() && healthySince.Equal(stillSince):
		a.problem("%s with a provider that has worked for %s: got status %d, want 200: %s", path, arrived.Sub(healthySince), r.Status, r.Raw)
	case r.Status != 400 && r.Status != 502:
		a.problem("%s: got status %d, want 200, 400 or 502: %s", path, r.Status, r.Raw)
	default:
		c.count("failed")
	}
}

// judgeToken checks the token and the lease in a response. The parameter mark is the result of
// a.changes.mark before the read.
func (a *soakAccount) judgeToken(r harness.Response, sent, arrived time.Time, mark int64) {
	c := a.counts
	c.count("served")
	if len(r.Warnings) > 0 {
		c.count("warned")
	}
	asked := time.Now()
	known, err := a.sim.Introspect(a.t.Context(), r.Text("access_token"))
	if err != nil {
		a.problem("asking the simulator for a token: %v", err)
		return
	}
	// left is how long the token had to live when the read's answer arrived. The true value may be
	// slightly smaller, because the simulator described the token a moment ago.
	left := time.Duration(known.ExpiresIn*float64(time.Second)) + time.Since(arrived)
	late := max(arrived.Sub(sent)-maxTransit, 0)
	unchanged := a.changes.noneSince(mark)
	switch {
	case !known.Known || known.Provider != a.provider || known.Account != a.user || known.Kind != "access":
		a.problem("%s: got token %+v, want an access token of %s", a.config, known, a.user)
	case left+late <= 0:
		a.problem("%s: got a token that ended %s before it arrived, after a read of %s; want a live token", a.config, -left, arrived.Sub(sent))
	case left <= 0:
		c.count("late")
	case !known.Active && known.ExpiresIn > 0 && unchanged:
		a.problem("%s: got the revoked token %+v, want an active one", a.config, known)
	case r.LeaseDuration > 1 && time.Duration(r.LeaseDuration)*time.Second > left+arrived.Sub(sent):
		a.problem("%s: got a lease of %d s, want at most the token's %s", a.config, r.LeaseDuration, left)
	}
	c.noteLife(left)
	a.mu.Lock()
	defer a.mu.Unlock()
	// The check of a.changes needs the lock, because changeToken resets cachedUntil. The end counts
	// from the time before the request to the simulator, so that a slow answer does not make the
	// end too late.
	end := asked.Add(time.Duration(known.ExpiresIn * float64(time.Second)))
	if a.changes.noneSince(mark) && a.shares() && end.After(a.cachedUntil) {
		a.cachedUntil = end
	}
	if r.LeaseID != "" && len(a.leases) < 50 {
		a.leases = append(a.leases, r.LeaseID)
	}
}
