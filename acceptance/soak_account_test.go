// SPDX-License-Identifier: MPL-2.0

package acceptance

import (
	"math/rand/v2"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"vault-plugin-secrets-messaging/acceptance/harness"
)

// soakAccount is one account of a soak.
type soakAccount struct {
	account
	*soak
	user string        // its name at the provider
	life time.Duration // the lifetime of its tokens
	calm bool          // only kills and seals disturb the account, not operations and faults

	changes activity     // actions that may revoke or drop a token
	ops     atomic.Int64 // operations that may cause a login
	counts  *readCounts

	mu           sync.Mutex
	healthySince time.Time     // zero while the provider is faulty or the config is wrong
	cachedUntil  time.Time     // the end of a token that the engine must still serve; zero if unknown
	leases       []string      // leases to revoke
	faulty       time.Duration // how long the provider was faulty in total
	faults       int
}

// shares reports whether all readers get the same token.
func (a *soakAccount) shares() bool { return a.fields["share"] != false }

// revokes reports whether the engine revokes replaced tokens.
func (a *soakAccount) revokes() bool { return a.fields["revocation_url"] != nil }

func (a *soakAccount) state() (healthySince, cachedUntil time.Time) {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.healthySince, a.cachedUntil
}

func (a *soakAccount) markHealthy()   { a.setHealthySince(time.Now()) }
func (a *soakAccount) markUnhealthy() { a.setHealthySince(time.Time{}) }

func (a *soakAccount) setHealthySince(since time.Time) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.healthySince = since
}

func (a *soakAccount) noteFault(d time.Duration) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.faulty += d
	a.faults++
}

// changeToken calls act, which may revoke or drop a token.
func (a *soakAccount) changeToken(act func()) {
	a.changes.begin()
	act()
	a.mu.Lock()
	a.cachedUntil = time.Time{}
	a.mu.Unlock()
	a.changes.end()
}

// put sends a request that may cause a login.
func (a *soakAccount) put(path string, f harness.Fields) (harness.Response, error) {
	a.ops.Add(1)
	return a.Do(http.MethodPut, path, f)
}

// writeAndVerify writes the right config with one change. The engine logs in to verify the config.
func (a *soakAccount) writeAndVerify(change harness.Fields) (r harness.Response, err error) {
	a.changeToken(func() {
		r, err = a.put(a.path(), a.body(a.sim, harness.Fields{"verify_connection": true}, change))
	})
	return r, err
}

// repair writes the right config until a write succeeds. A successful write ends the engine's
// backoff.
func (a *soakAccount) repair() {
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(200 * time.Millisecond) {
		r, err := a.writeAndVerify(nil)
		if err == nil && r.Status < 300 {
			a.markHealthy()
			return
		}
		if time.Now().After(deadline) {
			a.problem("write of the right config of %s: got status %d, error %v, want success within a minute: %s", a.config, r.Status, err, r.Raw)
			return
		}
	}
}

// operate does one operation at random.
func (a *soakAccount) operate() {
	healthySince, _ := a.state()
	mark := a.restarts.mark()
	var r harness.Response
	want := 204
	switch rand.IntN(7) {
	case 0, 1:
		r, _ = a.Do(http.MethodPatch, a.path(), harness.Fields{"min_ttl": oneOf[any](nil, 2, 3), "refresh_window": oneOf[any](nil, "1s", "2s")})
		healthySince = time.Now() // the patch needs no provider
	case 2:
		r, _ = a.put(a.path(), harness.Fields{a.secretField: "wrong"})
		want = 400
	case 3:
		r, _ = a.writeAndVerify(nil)
	case 4: // another endpoint of the same provider
		elsewhere := strings.Replace(a.sim.TokenURL(a.provider), "/realms/", "/auth/realms/", 1)
		if elsewhere == a.sim.TokenURL(a.provider) {
			return
		}
		r, _ = a.writeAndVerify(harness.Fields{"token_url": elsewhere})
	case 5:
		if !a.shares() {
			return
		}
		if time.Since(healthySince) < 11*time.Second {
			healthySince = time.Time{} // a rotate within 10 s of a failed mint returns that failure
		}
		r, want = a.rotate(), 200
	case 6:
		if rand.IntN(4) == 0 {
			a.recreate()
		}
		return
	}
	if want == 204 && revokesLater(r) {
		want = 200
	}
	stillSince, _ := a.state()
	if r.Status != want && a.restarts.noneSince(mark) && !healthySince.IsZero() && !stillSince.IsZero() && !healthySince.Before(stillSince) {
		a.problem("operation on %s: got status %d, want %d: %s", a.config, r.Status, want, r.Raw)
	}
}

// revokesLater reports whether the response has warnings, and all of them say that a token will be
// revoked later.
func revokesLater(r harness.Response) bool {
	for _, w := range r.Warnings {
		if !strings.HasPrefix(w, "a token was not revoked yet; ") {
			return false
		}
	}
	return len(r.Warnings) > 0
}

func (a *soakAccount) rotate() (r harness.Response) {
	rotate := func() { r, _ = a.put(a.rotatePath(), nil) }
	if a.revokes() {
		a.changeToken(rotate)
	} else {
		rotate()
	}
	return r
}

// recreate deletes the config and writes it again.
func (a *soakAccount) recreate() {
	a.markUnhealthy()
	a.changeToken(func() { _, _ = a.Do(http.MethodDelete, a.path(), nil) })
	a.repair()
}

// revokeLeases revokes all leases of the account by prefix, or a few leases by ID.
func (a *soakAccount) revokeLeases() {
	a.mu.Lock()
	leases := a.leases
	a.leases = nil
	a.mu.Unlock()
	if len(leases) == 0 {
		return
	}
	revoke := func() {
		if rand.IntN(4) == 0 {
			a.revoke("sys/leases/revoke-prefix/"+a.creds(), harness.Fields{"sync": true})
			return
		}
		for _, lease := range leases[:min(len(leases), 5)] {
			a.revoke("sys/leases/revoke", harness.Fields{"lease_id": lease, "sync": true})
			a.counts.count("revoked")
		}
	}
	if a.shares() {
		revoke()
	} else {
		a.changeToken(revoke)
	}
}

func (a *soakAccount) revoke(path string, f harness.Fields) {
	mark := a.restarts.mark()
	if r, err := a.Do(http.MethodPut, path, f); (err != nil || r.Status >= 300) && a.restarts.noneSince(mark) {
		a.problem("%s %v of %s: got status %d, error %v, want success: %s", path, f["lease_id"], a.config, r.Status, err, r.Raw)
	}
}
