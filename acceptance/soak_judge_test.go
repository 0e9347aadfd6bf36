// SPDX-License-Identifier: MPL-2.0

package acceptance

import (
	"fmt"
	"math"
	"strings"
	"time"

	"vault-plugin-secrets-messaging/acceptance/harness"
	"vault-plugin-secrets-messaging/internal/simulator"
)

// judge checks what must hold at the end of the run.
func (s *soak) judge() {
	t := s.t
	harness.Within(t, 30*time.Second, "no lease is irrevocable", func() error {
		if n := s.Read(t, "sys/leases/count?type=irrevocable").OK(t).Text("lease_count"); n != "0" {
			return fmt.Errorf("got %s irrevocable leases, want 0", n)
		}
		return nil
	})
	state := s.sim.State(t)
	for _, a := range s.accounts {
		counts := state.Providers[a.provider].Accounts[a.user]
		got := counts.Logins() + counts.RefreshesSucceeded
		if limit := a.maxLogins(); got > limit {
			t.Errorf("%s: got %d logins and refreshes, want at most %d", a.config, got, limit)
		}
		if least := int(s.length/a.life) / 2; a.shares() && got < least {
			t.Errorf("%s: got %d logins and refreshes, want at least %d", a.config, got, least)
		}
	}
	s.wantNoViolations(t)
	if strings.Contains(harness.ReadFile(t, s.Log), "recovered from a panic") {
		t.Error("server's log: got a panic of the plugin, want none")
	}
	first, last := medians(s.samples)
	if last.rss > first.rss+24<<10 || last.threads > first.threads+8 || last.files > first.files+32 {
		t.Errorf("plugin process: got %s at the end, want hardly more than %s", last, first)
	}
	if s.goroutines[1] > s.goroutines[0]+12 {
		t.Errorf("plugin process: got %d goroutines at the end, want at most 12 more than the %d near the beginning", s.goroutines[1], s.goroutines[0])
	}
	if s.problems > 20 {
		t.Errorf("got %d more problems", s.problems-20)
	}
	s.logFigures(first, last, state)
}

// maxLogins returns how many logins and refreshes the account may cause. In the time T, an account
// with a shared token needs
//
//	T ÷ (lifetime − early) + 1
//
// Here, early is the longest time from a refresh to the old token's end. The lifetime is reduced by
// one second, because of rounding.
//
// Each operation, kill or seal adds one login, or three if the account has faults. Each fault adds
// the attempts of one backoff.
func (a *soakAccount) maxLogins() int {
	a.mu.Lock()
	defer a.mu.Unlock()
	life := a.life - time.Second
	early := max(life/5, 2*time.Second)
	ops := float64(a.ops.Load()) + float64(a.kills) + 2
	if !a.calm {
		early = max(life/2, 3*time.Second)
		ops *= 3
	}
	if !a.shares() {
		return int(3*ops) + a.counts.n["reads"]
	}
	limit := float64(time.Since(a.started))/float64(life-early) + 1 + ops
	if a.faults > 0 {
		mean := a.faulty.Seconds() / float64(a.faults)
		limit += float64(a.faults) * (2 + math.Log2(1+mean))
	}
	return int(limit)
}

// logFigures logs the figures of docs/testing.md.
func (s *soak) logFigures(first, last usage, state simulator.State) {
	all := newReadCounts()
	for _, a := range s.accounts {
		n, counts := a.counts.n, state.Providers[a.provider].Accounts[a.user]
		s.t.Logf("%-14s %7d reads: %d served, %d with a warning, %d failed with the provider, %d cut off by a kill or a seal; %d logins, %d refreshes, at most %d",
			a.config, n["reads"], n["served"], n["warned"], n["failed"], n["cut"], counts.Logins(), counts.RefreshesSucceeded, a.maxLogins())
		all.add(a.counts)
	}
	s.t.Logf("%s, %d reads: %d served, %d of them too slow to be judged, shortest lifetime at arrival %s; %d failed with the provider, %d cut off; %d leases revoked",
		s.length, all.n["reads"], all.n["served"], all.n["late"], all.shortest.Round(time.Millisecond), all.n["failed"], all.n["cut"], all.n["revoked"])
	s.t.Logf("%d kills of the plugin, %d seals, faults %v, actions %v", s.kills-s.seals+2, s.seals, s.faults, s.done)
	s.t.Logf("plugin process in the first and the last quarter of the time without kills: %s, %s; goroutines near the beginning and at the end: %d, %d",
		first, last, s.goroutines[0], s.goroutines[1])
}
