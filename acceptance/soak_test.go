// SPDX-License-Identifier: MPL-2.0

package acceptance

import (
	"cmp"
	"fmt"
	"math/rand/v2"
	"net/http"
	"os"
	"sync"
	"testing"
	"time"

	"vault-plugin-secrets-messaging/acceptance/harness"
	"vault-plugin-secrets-messaging/internal/simulator"
)

// TestSoak mixes reads, writes, rotates, deletions, revocations, faults, kills and seals. Tokens
// live for seconds.
//
// SOAK sets the length. The default is 1m, and the figures in the docs need 15m. See
// [soakAccount.read], [soakAccount.maxLogins] and [soak.judge] for what must hold.
func TestSoak(t *testing.T) {
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
	accounts []*soakAccount

	actions sync.RWMutex // an action holds the read lock; the write lock pauses all actions
	over    chan struct{}
	working sync.WaitGroup

	restarts     activity // kills of the plugin, and seals
	kills, seals int
	goroutines   [2]int // of the plugin, near the beginning and at the end
	samples      []usage

	mu       sync.Mutex
	problems int
	faults   map[string]int // how often each fault kind was on
	done     map[string]int // how often each action was done
}

func newSoak(t *testing.T, length time.Duration) *soak {
	s := &soak{world: newWorldOn(t, harness.StartRaft), t: t, length: length, over: make(chan struct{}), faults: map[string]int{}, done: map[string]int{}}
	s.sim.Configure(t, `{"any_account": true, "providers": {
		"sinch-conversation": {"access_ttl": 10},
		"sinch-india":        {"access_ttl": 8, "refresh_ttl": 20},
		"enablex-whatsapp":   {"access_ttl": 6},
		"enablex-rcs":        {"access_ttl": 7},
		"enablex-sms":        {"access_ttl": 9},
		"oauth2":             {"access_ttl": 8, "refresh_tokens": true}}}`)
	s.accounts = []*soakAccount{
		{account: conversation.with("calm", nil), life: 10 * time.Second, calm: true},
		{account: sinch.with("sinch", nil), life: 8 * time.Second},
		{account: sinch.revocable(s.sim).with("sinch-revoked", nil), life: 8 * time.Second},
		{account: whatsapp.with("whatsapp", harness.Fields{"lease": false}), life: 6 * time.Second},
		{account: rcs.with("rcs", nil), life: 7 * time.Second},
		{account: sms.with("sms", nil), life: 9 * time.Second},
		{account: generic.revocable(s.sim).with("generic", nil), life: 8 * time.Second},
		{account: generic.unshared(s.sim).with("unshared", nil), life: 8 * time.Second},
	}
	for _, a := range s.accounts {
		a.soak, a.counts = s, newReadCounts()
		a.user = "user-of-" + a.config
		for _, name := range []string{"username", "app_id", "client_id"} {
			if a.fields[name] != nil {
				a.fields[name] = a.user
			}
		}
		a.fields[a.secretField] = a.user + "-secret"
		s.writeConfig(t, a.account)
		a.ops.Add(1)
		a.markHealthy()
	}
	return s
}

// begin starts all actions.
func (s *soak) begin() {
	s.started = time.Now()
	for _, a := range s.accounts {
		pace := 80 * time.Millisecond
		if !a.shares() { // each read is a login
			pace = 250 * time.Millisecond
		}
		for range 2 {
			s.repeat(pace, "read", a.read)
		}
		if !a.calm {
			s.repeat(2500*time.Millisecond, "operate", a.operate)
		}
		if a.fields["lease"] != false {
			s.repeat(700*time.Millisecond, "revoke leases", a.revokeLeases)
		}
	}
	for _, provider := range []string{simulator.SinchIndia, simulator.EnableXWhatsApp, simulator.EnableXRCS, simulator.EnableXSMS, simulator.OAuth2} {
		s.repeat(5*time.Second, "fault", func() { s.fault(provider) })
	}
	s.repeat(time.Second, "look", s.look)
}

// repeat does an action at about this pace until the end.
func (s *soak) repeat(pace time.Duration, name string, act func()) {
	s.working.Go(func() {
		for s.wait(pace/2 + rand.N(pace)) {
			s.actions.RLock()
			act()
			s.actions.RUnlock()
			s.mu.Lock()
			s.done[name]++
			s.mu.Unlock()
		}
	})
}

// wait waits for the time d. It returns false at the end of the run.
func (s *soak) wait(d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-s.over:
		return false
	}
}

// problem fails the test.
func (s *soak) problem(format string, args ...any) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.problems++; s.problems <= 20 {
		s.t.Errorf("after %s: %s", time.Since(s.started).Round(time.Millisecond), fmt.Sprintf(format, args...))
	}
}

// look reads the paths that need no provider.
func (s *soak) look() {
	for _, path := range []string{"messaging/status?list=true", "messaging/metrics", "messaging/config?list=true", "messaging/providers?list=true"} {
		mark := s.restarts.mark()
		r, err := s.Do(http.MethodGet, path, nil)
		if failed(r, err) != nil && s.restarts.noneSince(mark) {
			s.problem("%s: got %v, want success", path, failed(r, err))
		}
	}
}

// end stops all actions and repairs all accounts.
func (s *soak) end() {
	close(s.over)
	s.working.Wait()
	s.sim.Configure(s.t, `{"faults": null}`)
	for _, a := range s.accounts {
		a.repair()
		s.readCreds(s.t, a.account)
		a.ops.Add(1)
	}
	s.goroutines[1] = s.countGoroutines()
}
