// SPDX-License-Identifier: MPL-2.0

package acceptance

import (
	"cmp"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"vault-plugin-secrets-messaging/acceptance/harness"
	"vault-plugin-secrets-messaging/internal/simulator"
)

// All at once, for as long as SOAK says (a minute; SOAK=15m for the figures in
// docs/security.md), in a server with raft storage: reads with leases and without,
// with min_ttl, of tokens that live some seconds; writes and patches of configs, good
// and bad; rotates; configs that are deleted and written again; the ends of leases, by
// id and by prefix; every fault of every provider; kills of the plugin; seals. What
// must hold is said where it is judged: for reads at [patient.read], for logins at
// [patient.mostLogins], for what is left of it all below.
func TestSoak(t *testing.T) {
	harness.Need(t)
	length, err := time.ParseDuration(cmp.Or(os.Getenv("SOAK"), "1m"))
	if err != nil {
		t.Fatalf("SOAK: %v", err)
	}
	s := newSoak(t, length)
	s.begin()
	s.disturb(s.started.Add(length * 6 / 10))
	s.watch(s.started.Add(length))
	s.end()
	s.judge()
}

// soak is one run.
type soak struct {
	world
	t        *testing.T
	length   time.Duration
	started  time.Time
	patients []*patient

	// An action holds still for reading; who holds it for writing has quiet.
	still   sync.RWMutex
	over    chan struct{}
	working sync.WaitGroup

	disturbed epoch // kills of the plugin and seals
	kills     int
	seals     int
	goroutine [2]int // in the plugin, near the beginning and at the end
	samples   []usage

	mu       sync.Mutex
	faults   map[string]int // by kind, how often each was on
	problems int
	done     map[string]int // actions, by name
}

// epoch tells whether something that takes a while was under way, wholly or in part,
// between two moments.
type epoch struct{ n atomic.Int64 }

func (e *epoch) begin() { e.n.Add(1) }
func (e *epoch) end()   { e.n.Add(1 << 32) }

// quiet reports whether nothing was under way since: the value of a load at the first
// of the moments.
func (e *epoch) quiet(since int64) bool {
	return since == e.n.Load() && since&(1<<32-1) == since>>32
}

func newSoak(t *testing.T, length time.Duration) *soak {
	s := &soak{
		world: world{sim: harness.StartSimulator(t), Server: harness.StartRaft(t)}, t: t, length: length,
		over: make(chan struct{}), faults: map[string]int{}, done: map[string]int{},
	}
	s.InstallPlugin(t)
	s.sim.Configure(t, `{"any_account": true, "providers": {
		"sinch-conversation": {"access_ttl": 10},
		"sinch-india":        {"access_ttl": 8, "refresh_ttl": 20},
		"enablex-whatsapp":   {"access_ttl": 6},
		"enablex-rcs":        {"access_ttl": 7},
		"enablex-sms":        {"access_ttl": 9},
		"oauth2":             {"access_ttl": 8, "refresh_tokens": true}}}`)
	revocable := func(a account) harness.Fields {
		return harness.Fields{"revocation_url": revocationURL(s.sim, a.provider)}
	}
	s.patients = []*patient{
		{account: conversation.with("calm", nil), life: 10 * time.Second, calm: true},
		{account: sinch.with("sinch", nil), life: 8 * time.Second},
		{account: sinch.with("sinch-ended", revocable(sinch)), life: 8 * time.Second, ends: true},
		{account: whatsapp.with("whatsapp", harness.Fields{"lease": false}), life: 6 * time.Second},
		{account: rcs.with("rcs", nil), life: 7 * time.Second},
		{account: sms.with("sms", nil), life: 9 * time.Second},
		{account: generic.with("generic", revocable(generic)), life: 8 * time.Second, ends: true},
		{account: generic.with("own", revocable(generic)), life: 8 * time.Second, ends: true, own: true},
	}
	for _, p := range s.patients {
		p.soak = s
		p.user = "user-of-" + p.config
		for _, name := range []string{"username", "app_id", "client_id"} {
			if p.fields[name] != nil {
				p.fields[name] = p.user
			}
		}
		p.fields[p.secretField] = p.user + "-secret"
		if p.own {
			p.fields["share"] = false
		}
		s.Write(t, p.path(), p.body(s.sim)).OK(t)
		p.ops.Add(1)
		p.healed()
	}
	return s
}

// begin sets everyone to work.
func (s *soak) begin() {
	s.started = time.Now()
	for _, p := range s.patients {
		pace := 80 * time.Millisecond
		if p.own { // each read is a login
			pace = 250 * time.Millisecond
		}
		for range 2 {
			s.each(pace, "read", p.read)
		}
		if !p.calm {
			s.each(2500*time.Millisecond, "operate", p.operate)
		}
		if p.fields["lease"] != false {
			s.each(700*time.Millisecond, "end leases", p.endLeases)
		}
	}
	for _, provider := range []string{simulator.SinchIndia, simulator.EnableXWhatsApp, simulator.EnableXRCS, simulator.EnableXSMS, simulator.OAuth2} {
		s.each(5*time.Second, "fault", func() { s.fault(provider) })
	}
	s.each(time.Second, "look", s.look)
}

// each has something done again and again until the end, at about this pace.
func (s *soak) each(pace time.Duration, name string, act func()) {
	s.working.Go(func() {
		for {
			timer := time.NewTimer(pace/2 + rand.N(pace))
			select {
			case <-s.over:
				timer.Stop()
				return
			case <-timer.C:
			}
			s.still.RLock()
			act()
			s.still.RUnlock()
			s.mu.Lock()
			s.done[name]++
			s.mu.Unlock()
		}
	})
}

// problem fails the test.
func (s *soak) problem(format string, args ...any) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.problems++; s.problems <= 20 {
		s.t.Errorf("after %s: %s", time.Since(s.started).Round(time.Millisecond), fmt.Sprintf(format, args...))
	}
}

// pause waits, no longer than the run.
func (s *soak) pause(d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-s.over:
	}
}

// look reads what must be there at any time.
func (s *soak) look() {
	for _, path := range []string{"messaging/status?list=true", "messaging/metrics", "messaging/config?list=true", "messaging/providers?list=true"} {
		before := s.disturbed.n.Load()
		r, err := s.Do(http.MethodGet, path, nil)
		if failed(r, err) != nil && s.disturbed.quiet(before) {
			s.problem("%s: %v", path, failed(r, err))
		}
	}
}

func oneOf[T any](all ...T) T { return all[rand.IntN(len(all))] }

// fault turns one of the faults on, for some requests or for a while, and has its
// accounts mended afterwards.
func (s *soak) fault(provider string) {
	kind := oneOf(simulator.FaultKinds()...)
	on := oneOf("", "", `, "count": 2`, `, "on": "refresh_token"`, `, "on": "revoke"`, `, "retry_after": "1", "status": 429`)
	latency := oneOf("null", "0.3", "1.5")
	var hit []*patient
	for _, p := range s.patients {
		if p.provider == provider {
			hit = append(hit, p)
			p.fell()
		}
	}
	turn := func(knobs string) {
		if err := s.sim.Patch(s.t.Context(), forProvider(provider, knobs)); err != nil {
			s.problem("turning knobs: %v", err)
		}
	}
	begun := time.Now()
	turn(fmt.Sprintf(`{"faults": [{"kind": %q%s}], "latency": %s}`, kind, on, latency))
	if rand.IntN(3) == 0 {
		_, _ = s.sim.RevokeSessions(s.t.Context(), provider, "")
	}
	s.pause(500*time.Millisecond + rand.N(3500*time.Millisecond))
	turn(`{"faults": null, "latency": null}`)
	s.mu.Lock()
	s.faults[kind]++
	s.mu.Unlock()
	for _, p := range hit {
		p.suffered(time.Since(begun))
		p.mend()
	}
}

// disturb kills the plugin again and again, in the middle of everything, and now and
// then seals the server, until a moment; the first time it asks the process what it
// is doing, in a lull.
func (s *soak) disturb(until time.Time) {
	s.rest(min(s.length/10, time.Minute))
	s.goroutine[0] = s.lull()
	for time.Now().Before(until) {
		s.rest(3*time.Second + rand.N(min(s.length/12, 12*time.Second)))
		s.disturbed.begin()
		if s.kills++; s.kills%4 == 0 {
			s.Seal(s.t)
			s.Unseal(s.t)
			s.WaitActive(s.t)
			s.seals++
		} else if len(s.PluginPIDs()) > 0 {
			s.KillPlugin(s.t)
		}
		s.disturbed.end()
	}
}

// rest lets the others work.
func (s *soak) rest(d time.Duration) { time.Sleep(d) }

// watch notes what the plugin's process uses until a moment. It is the same process
// all the while.
func (s *soak) watch(until time.Time) {
	s.rest(time.Until(until) / 4) // what it takes to be warm
	for time.Now().Before(until) {
		if pids := s.PluginPIDs(); len(pids) == 1 {
			if u, ok := usageOf(pids[0]); ok {
				s.samples = append(s.samples, u)
			}
		} else {
			s.problem("%d plugin processes, want 1", len(pids))
		}
		s.rest(max(s.length/200, 100*time.Millisecond))
	}
}

// end has everyone stop, and mends what is broken.
func (s *soak) end() {
	close(s.over)
	s.working.Wait()
	s.sim.Configure(s.t, `{"faults": null}`)
	for _, p := range s.patients {
		p.mend()
		s.Read(s.t, p.creds()).OK(s.t)
		p.ops.Add(1)
	}
	s.goroutine[1] = s.lull()
}

// lull asks the plugin's process, while no request is under way, what goroutines it
// has: by the signal that has Go tell that and end. The server's log has what it says.
func (s *soak) lull() (goroutines int) {
	s.t.Helper()
	s.still.Lock()
	defer s.still.Unlock()
	s.disturbed.begin()
	defer s.disturbed.end()
	s.rest(3 * time.Second) // refreshes that no one waits for come to their end
	n, err := goroutinesOf(s.Server)
	s.rest(500 * time.Millisecond) // the server logs the end of its plugin before it acts on it
	switch {
	case errors.Is(err, errors.ErrUnsupported):
	case err != nil:
		s.t.Errorf("asking for the goroutines: %v", err)
	}
	return n
}

// judge is what must hold at the end.
func (s *soak) judge() {
	t := s.t
	harness.Within(t, 30*time.Second, "no lease is irrevocable", func() error {
		r := s.Read(t, "sys/leases/count?type=irrevocable").OK(t)
		if n := r.Text("lease_count"); n != "0" {
			return fmt.Errorf("%s are", n)
		}
		return nil
	})
	state := s.sim.State(t)
	for _, p := range s.patients {
		counts := state.Providers[p.provider].Accounts[p.user]
		if n, most := counts.Logins()+counts.RefreshesSucceeded, p.mostLogins(); n > most {
			t.Errorf("%s: %d logins and refreshes, want at most %d", p.config, n, most)
		}
		if !p.own && counts.Logins()+counts.RefreshesSucceeded < int(s.length/p.life)/2 {
			t.Errorf("%s: hardly any logins: %+v", p.config, counts)
		}
	}
	if len(state.Violations) > 0 {
		t.Errorf("requests that are not as the providers' documentation has them: %+v", state.Violations)
	}
	if log := file(t, s.Log); strings.Contains(log, "recovered from a panic") {
		t.Error("something panicked")
	}
	first, last := split(s.samples)
	if last.rss > first.rss+24<<10 || last.threads > first.threads+8 || last.files > first.files+32 {
		t.Errorf("the plugin grew: from %s to %s", first, last)
	}
	if s.goroutine[1] > s.goroutine[0]+12 {
		t.Errorf("the plugin had %d goroutines near the beginning and %d at the end", s.goroutine[0], s.goroutine[1])
	}
	if s.problems > 20 {
		t.Errorf("and %d more", s.problems-20)
	}
	s.tell(first, last, state)
}

// tell logs the figures.
func (s *soak) tell(first, last usage, state simulator.State) {
	var all readCounts
	for _, p := range s.patients {
		c := &p.counts
		s.t.Logf("%-12s %7d reads: %d served, %d with a warning, %d failed with the provider, %d cut off by a kill or a seal; %d logins, %d refreshes, at most %d",
			p.config, c.reads.Load(), c.served.Load(), c.warned.Load(), c.failed.Load(), c.cut.Load(),
			state.Providers[p.provider].Accounts[p.user].Logins(), state.Providers[p.provider].Accounts[p.user].RefreshesSucceeded, p.mostLogins())
		all.add(c)
	}
	s.t.Logf("%s, %d reads: %d served, of which %d not judged for want of time, least life at arrival %s; %d failed with the provider, %d cut off; %d leases ended",
		s.length, all.reads.Load(), all.served.Load(), all.late.Load(), time.Duration(all.least()), all.failed.Load(), all.cut.Load(), all.ended.Load())
	s.t.Logf("%d kills of the plugin, %d seals, faults %v, actions %v", s.kills-s.seals+2, s.seals, s.faults, s.done)
	s.t.Logf("the plugin, first and last quarter of the part without kills: %s, %s; goroutines near the beginning and at the end: %d, %d", first, last, s.goroutine[0], s.goroutine[1])
}
