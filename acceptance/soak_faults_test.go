// SPDX-License-Identifier: MPL-2.0

package acceptance

import (
	"fmt"
	"math/rand/v2"
	"sync/atomic"
	"syscall"
	"time"

	"vault-plugin-secrets-messaging/internal/simulator"
)

// activity tells whether an action ran after the method mark was called. The lower 32 bits of n are
// the number of begun actions. The upper 32 bits are the number of ended actions.
type activity struct{ n atomic.Int64 }

func (a *activity) begin() { a.n.Add(1) }
func (a *activity) end()   { a.n.Add(1 << 32) }

func (a *activity) mark() int64 { return a.n.Load() }

func (a *activity) noneSince(mark int64) bool {
	return mark == a.n.Load() && mark&(1<<32-1) == mark>>32
}

func oneOf[T any](all ...T) T { return all[rand.IntN(len(all))] }

// fault makes the provider faulty for a while, and then calls repair for the provider's accounts.
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

// disturb kills the plugin again and again. Every fourth time, it seals and unseals the server
// instead.
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

// countGoroutines returns how many goroutines the plugin has. It ends the process with SIGQUIT, so
// that Go logs all goroutines.
func (s *soak) countGoroutines() int {
	s.t.Helper()
	s.actions.Lock()
	defer s.actions.Unlock()
	s.restarts.begin()
	defer s.restarts.end()
	time.Sleep(3 * time.Second) // background refreshes end
	n := len(goroutineHead.FindAllString(s.SignalPlugin(s.t, syscall.SIGQUIT), -1))
	if n == 0 {
		s.t.Error("got no goroutine of the plugin in the server's log, want some")
	}
	return n
}
