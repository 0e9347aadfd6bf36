// SPDX-License-Identifier: MPL-2.0

package acceptance

import (
	"fmt"
	"math/rand/v2"
	"sync/atomic"
	"time"

	"vault-plugin-secrets-messaging/internal/simulator"
)

// activity counts beginnings in the lower 32 bits and ends in the upper 32 bits. It tells
// whether some action was running at any time since a mark.
type activity struct{ n atomic.Int64 }

func (a *activity) begin() { a.n.Add(1) }
func (a *activity) end()   { a.n.Add(1 << 32) }

func (a *activity) mark() int64 { return a.n.Load() }

func (a *activity) noneSince(mark int64) bool {
	return mark == a.n.Load() && mark&(1<<32-1) == mark>>32
}

func oneOf[T any](all ...T) T { return all[rand.IntN(len(all))] }

// fault causes a fault at the provider for a while, and then repairs the provider's accounts.
func (s *soak) fault(provider string) {
	kind := oneOf(simulator.FaultKinds()...)
	on := oneOf("", "", `, "count": 2`, `, "on": "refresh_token"`, `, "on": "revoke"`, `, "retry_after": "1", "status": 429`)
	latency := oneOf("null", "0.3", "1.5")
	var hit []*soakAccount
	for _, a := range s.accounts {
		if a.provider == provider {
			hit = append(hit, a)
			a.markUnhealthy()
		}
	}
	turn := func(knobs string) {
		if err := s.sim.Patch(s.t.Context(), forProvider(provider, knobs)); err != nil {
			s.problem("changing the simulator's settings: %v", err)
		}
	}
	begun := time.Now()
	turn(fmt.Sprintf(`{"faults": [{"kind": %q%s}], "latency": %s}`, kind, on, latency))
	if rand.IntN(3) == 0 {
		_, _ = s.sim.RevokeSessions(s.t.Context(), provider, "")
	}
	s.wait(500*time.Millisecond + rand.N(3500*time.Millisecond))
	turn(`{"faults": null, "latency": null}`)
	s.mu.Lock()
	s.faults[kind]++
	s.mu.Unlock()
	for _, a := range hit {
		a.noteFault(time.Since(begun))
		a.repair()
	}
}

// disturb kills the plugin while the actions run, and seals the server every fourth time.
func (s *soak) disturb(until time.Time) {
	time.Sleep(min(s.length/10, time.Minute))
	s.goroutines[0] = s.countGoroutines()
	for time.Now().Before(until) {
		time.Sleep(3*time.Second + rand.N(min(s.length/12, 12*time.Second)))
		s.restarts.begin()
		if s.kills++; s.kills%4 == 0 {
			s.Seal(s.t)
			s.Unseal(s.t)
			s.WaitActive(s.t)
			s.seals++
		} else if len(s.PluginPIDs()) > 0 {
			s.KillPlugin(s.t)
		}
		s.restarts.end()
	}
}

// countGoroutines pauses all actions, ends the plugin's process and returns how many
// goroutines the process had.
func (s *soak) countGoroutines() int {
	s.t.Helper()
	s.actions.Lock()
	defer s.actions.Unlock()
	s.restarts.begin()
	defer s.restarts.end()
	time.Sleep(3 * time.Second) // background refreshes end
	n, err := goroutinesOf(s.Server)
	time.Sleep(500 * time.Millisecond) // the server logs the end of its plugin before it acts on it
	if err != nil || n == 0 {
		s.t.Errorf("counting the plugin's goroutines: got %d, error %v", n, err)
	}
	return n
}
