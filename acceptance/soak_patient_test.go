// SPDX-License-Identifier: MPL-2.0

package acceptance

import (
	"fmt"
	"math"
	"math/rand/v2"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"vault-plugin-secrets-messaging/acceptance/harness"
)

// patient is one account of a soak.
type patient struct {
	account
	*soak
	user string        // its name at the provider
	life time.Duration // of its tokens

	calm bool // nothing happens to it, but for kills and seals
	ends bool // its tokens are ended at the provider when they are replaced
	own  bool // each reader has a token of its own

	upheaval epoch        // what may end or drop a token, wholly or in part
	ops      atomic.Int64 // what may cost a login by itself
	counts   readCounts

	mu      sync.Mutex
	healthy time.Time     // since when its provider has been well, and the account mended; zero while it is not
	inHand  time.Time     // the end of a token that the engine has, which it must go on serving; zero if it is not known to have one
	leases  []string      // that may be revoked
	faulty  time.Duration // how long in all its provider was not well
	phases  int
}

// readCounts are how reads went.
type readCounts struct {
	reads, served, warned, failed, cut, late, ended atomic.Int64
	shortest                                        atomic.Int64 // life at arrival plus an hour, in ns; 0 if there is none
}

func (c *readCounts) add(d *readCounts) {
	for _, pair := range [][2]*atomic.Int64{{&c.reads, &d.reads}, {&c.served, &d.served}, {&c.warned, &d.warned}, {&c.failed, &d.failed}, {&c.cut, &d.cut}, {&c.late, &d.late}, {&c.ended, &d.ended}} {
		pair[0].Add(pair[1].Load())
	}
	if n := d.shortest.Load(); n != 0 {
		c.short(time.Duration(n) - time.Hour)
	}
}

// short notes a token's life at arrival.
func (c *readCounts) short(left time.Duration) {
	for n := int64(left + time.Hour); ; {
		old := c.shortest.Load()
		if old != 0 && old <= n || c.shortest.CompareAndSwap(old, n) {
			return
		}
	}
}

func (c *readCounts) least() time.Duration {
	return (time.Duration(c.shortest.Load()) - time.Hour).Round(time.Millisecond)
}

// The engine hands out a token with 2 s of life at least, so one whose read took no
// longer than that is alive when it arrives. On a machine so busy that the read took
// longer, it may have come to its end on the way: what it took beyond is granted.
const onTheWay = 2 * time.Second

// inHandFor is how much life a token must have for the engine to be bound to serve it:
// it does until 2 s before the end, which is a second earlier to it than to the
// provider (both JWTs and EnableX say their end in whole seconds), and the read takes
// its time.
const inHandFor = 4500 * time.Millisecond

// read reads the account's token, and judges what comes.
//
// A token that is served must be one that the provider takes at the moment when it
// arrives: neither expired, nor ended by a rotate, a write or a revocation, unless one
// of these is under way just then. Its lease must not outlive it.
//
// A read must not fail as long as
//   - the account has a token with [inHandFor] left, whatever the provider does, also
//     after a kill and a seal, or
//   - the provider is well, and the account was mended after it last was not,
//
// but where the plugin's process is being killed, or the server sealed, meanwhile. One
// that fails, for want of both, says 400 or 502: never 500.
func (p *patient) read() {
	c := &p.counts
	c.reads.Add(1)
	path := p.creds()
	if !p.calm && rand.IntN(4) == 0 {
		path += fmt.Sprintf("?min_ttl=%ds", rand.IntN(20))
	}
	disturbed, upheaval := p.disturbed.n.Load(), p.upheaval.n.Load()
	healthy, inHand := p.state()
	sent := time.Now()
	r, err := p.Do(http.MethodGet, path, nil)
	arrived := time.Now()
	undisturbed, unmoved := p.disturbed.quiet(disturbed), p.upheaval.quiet(upheaval)
	if err == nil && r.Status == http.StatusOK {
		p.judgeToken(r, sent, arrived, upheaval)
		return
	}
	stillHealthy, _ := p.state()
	switch {
	case !undisturbed:
		c.cut.Add(1)
	case err != nil:
		p.problem("%s: %v", path, err)
	case unmoved && inHand.Sub(arrived) > inHandFor:
		p.problem("%s failed with %s left of the token in hand: %d %s", path, inHand.Sub(arrived), r.Status, r.Raw)
	case unmoved && !healthy.IsZero() && healthy.Equal(stillHealthy):
		p.problem("%s failed with a provider that has been well for %s: %d %s", path, arrived.Sub(healthy), r.Status, r.Raw)
	case r.Status != 400 && r.Status != 502:
		p.problem("%s: %d %s", path, r.Status, r.Raw)
	default:
		c.failed.Add(1)
	}
}

func (p *patient) judgeToken(r harness.Response, sent, arrived time.Time, upheaval int64) {
	c := &p.counts
	c.served.Add(1)
	if len(r.Warnings) > 0 {
		c.warned.Add(1)
	}
	known, err := p.sim.Introspect(p.t.Context(), r.Text("access_token"))
	if err != nil {
		p.problem("asking the simulator: %v", err)
		return
	}
	// As of the asking, which is between the arrival and now: as much as it may have been at the arrival.
	left := time.Duration(known.ExpiresIn*float64(time.Second)) + time.Since(arrived)
	late := max(arrived.Sub(sent)-onTheWay, 0)
	unmoved := p.upheaval.quiet(upheaval)
	switch {
	case !known.Known || known.Provider != p.provider || known.Account != p.user || known.Kind != "access":
		p.problem("%s: not a token of it: %+v", p.config, known)
	case left+late <= 0:
		p.problem("%s: a dead token was served: it ended %s before it arrived, in a read of %s", p.config, -left, arrived.Sub(sent))
	case left <= 0:
		c.late.Add(1)
	case !known.Active && known.ExpiresIn > 0 && unmoved:
		p.problem("%s: a token was served that the provider has ended: %+v", p.config, known)
	case r.LeaseDuration > 1 && time.Duration(r.LeaseDuration)*time.Second > left+arrived.Sub(sent):
		p.problem("%s: a lease of %d s on a token with %s left", p.config, r.LeaseDuration, left)
	}
	c.short(left)
	p.mu.Lock()
	defer p.mu.Unlock()
	if end := time.Now().Add(time.Duration(known.ExpiresIn * float64(time.Second))); unmoved && !p.own && end.After(p.inHand) {
		p.inHand = end
	}
	if r.LeaseID != "" && len(p.leases) < 50 {
		p.leases = append(p.leases, r.LeaseID)
	}
}

// state returns what a read is judged by.
func (p *patient) state() (healthy, inHand time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.healthy, p.inHand
}

func (p *patient) healed() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.healthy = time.Now()
}

func (p *patient) fell() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.healthy = time.Time{}
}

func (p *patient) suffered(d time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.faulty += d
	p.phases++
}

// moving does what may end or drop tokens.
func (p *patient) moving(act func()) {
	p.upheaval.begin()
	act()
	p.mu.Lock()
	p.inHand = time.Time{}
	p.mu.Unlock()
	p.upheaval.end()
}

// mend writes the config until that is taken, which has the engine forget that it
// waits, as an operator would when the provider is back.
func (p *patient) mend() {
	for deadline := time.Now().Add(time.Minute); ; p.rest(200 * time.Millisecond) {
		p.ops.Add(1)
		var r harness.Response
		var err error
		write := func() {
			r, err = p.Do(http.MethodPut, p.path(), p.body(p.sim, harness.Fields{"verify_connection": true}))
		}
		p.moving(write) // it may have been moved before
		if err == nil && r.Status < 300 {
			p.healed()
			return
		}
		if time.Now().After(deadline) {
			p.problem("%s cannot be mended: %d %s %v", p.config, r.Status, r.Raw, err)
			return
		}
	}
}

// operate does one of the things that operators do.
func (p *patient) operate() {
	put := func(f harness.Fields) (int, string) {
		p.ops.Add(1)
		r, _ := p.Do(http.MethodPut, p.path(), f)
		return r.Status, r.Raw
	}
	healthy, _ := p.state()
	disturbed := p.disturbed.n.Load()
	status, raw, want := 0, "", 204
	switch rand.IntN(7) {
	case 0, 1: // costs nothing
		r, _ := p.Do(http.MethodPatch, p.path(), harness.Fields{"min_ttl": oneOf[any](nil, 2, 3), "refresh_window": oneOf[any](nil, "1s", "2s")})
		status, raw = r.Status, r.Raw
		healthy = time.Now() // it needs no provider
	case 2: // changes nothing
		status, raw = put(harness.Fields{p.secretField: "wrong"})
		want = 400
	case 3:
		p.moving(func() { status, raw = put(p.body(p.sim, harness.Fields{"verify_connection": true})) })
	case 4: // another endpoint: a new revision
		if !strings.Contains(p.sim.TokenURL(p.provider), "/realms/") {
			return
		}
		elsewhere := strings.Replace(p.sim.TokenURL(p.provider), "/realms/", "/auth/realms/", 1)
		p.moving(func() { status, raw = put(p.body(p.sim, harness.Fields{"token_url": elsewhere})) })
	case 5:
		if p.own {
			return
		}
		if time.Since(healthy) < 11*time.Second {
			healthy = time.Time{} // one that failed before is the outcome of those within 10 s of it, too
		}
		rotate := func() {
			p.ops.Add(1)
			r, _ := p.Do(http.MethodPut, p.rotatePath(), nil)
			status, raw, want = r.Status, r.Raw, 200
		}
		if p.ends {
			p.moving(rotate)
		} else {
			rotate()
		}
	case 6:
		if rand.IntN(4) > 0 {
			return
		}
		p.fell()
		p.moving(func() { _, _ = p.Do(http.MethodDelete, p.path(), nil) })
		p.mend()
		return
	}
	stillHealthy, _ := p.state()
	if status != want && p.disturbed.quiet(disturbed) && !healthy.IsZero() && !stillHealthy.IsZero() && !healthy.Before(stillHealthy) {
		p.problem("operating %s: %d, want %d: %s", p.config, status, want, raw)
	}
}

// endLeases revokes some of the account's leases.
func (p *patient) endLeases() {
	p.mu.Lock()
	leases := p.leases
	p.leases = nil
	p.mu.Unlock()
	if len(leases) == 0 {
		return
	}
	revoke := func() {
		disturbed := p.disturbed.n.Load()
		if rand.IntN(4) == 0 {
			r, err := p.Do(http.MethodPut, "sys/leases/revoke-prefix/"+p.creds(), harness.Fields{"sync": true})
			if (err != nil || r.Status >= 300) && p.disturbed.quiet(disturbed) {
				p.problem("revoking the leases of %s: %d %s %v", p.config, r.Status, r.Raw, err)
			}
			return
		}
		for _, lease := range leases[:min(len(leases), 5)] {
			disturbed := p.disturbed.n.Load()
			r, err := p.Do(http.MethodPut, "sys/leases/revoke", harness.Fields{"lease_id": lease, "sync": true})
			if (err != nil || r.Status >= 300) && p.disturbed.quiet(disturbed) {
				p.problem("revoking a lease of %s: %d %s %v", p.config, r.Status, r.Raw, err)
			}
			p.counts.ended.Add(1)
		}
	}
	if p.own {
		p.moving(revoke)
	} else {
		revoke()
	}
}

// mostLogins is the most logins and refreshes that the account may have seen: over a
// time T,
//
//	T ÷ (lifetime − the larger of refresh_window and min_ttl) + 1
//
// where the lifetime is a second shorter to the engine (see [inHandFor]) and a
// reader's min_ttl counts for at most half of it; one for each operation that logs in
// by itself, and for each kill and seal, which lose a login under way; and where an
// operation or a kill forgets a backoff while the provider fails, two more attempts,
// beside the attempts that double their distance in each time that it does.
func (p *patient) mostLogins() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	life := p.life - time.Second
	early := max(life/5, 2*time.Second)
	ops := float64(p.ops.Load()) + float64(p.kills) + 2
	if !p.calm {
		early = max(life/2, 3*time.Second)
		ops *= 3
	}
	most := float64(time.Since(p.started))/float64(life-early) + 1 + ops
	if p.phases > 0 {
		mean := p.faulty.Seconds() / float64(p.phases)
		most += float64(p.phases) * (2 + math.Log2(1+mean))
	}
	if p.own {
		most = 3*ops + float64(p.counts.reads.Load())
	}
	return int(most)
}
