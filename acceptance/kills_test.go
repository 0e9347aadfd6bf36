// SPDX-License-Identifier: MPL-2.0

package acceptance

import (
	"fmt"
	"math/rand/v2"
	"net/http"
	"os"
	"strconv"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"vault-plugin-secrets-messaging/acceptance/harness"
	"vault-plugin-secrets-messaging/internal/simulator"
)

// TestKills kills the plugin at random moments while it uses refresh tokens that work only once.
// Meanwhile, the test reloads the plugin, writes configs and rotates tokens. If KILLS is set, the
// test also steps down the active node.
//
// KILLS sets the number of kills. The figures in docs/testing.md need 200. [killRun.judge] says
// what must hold.
func TestKills(t *testing.T) {
	text, isLong := os.LookupEnv("KILLS")
	if !isLong {
		t.Parallel() // the test mostly waits
		runKills(t, killPlan{kills: 6}, harness.StartRaft(t))
		return
	}
	kills, err := strconv.Atoi(text)
	if err != nil {
		t.Fatalf("KILLS: %v", err)
	}
	for name, plan := range map[string]killPlan{
		"single use":    {kills: kills},
		"with a grace":  {kills: max(kills/5, 1), grace: time.Minute},
		"reloads alone": {reloads: max(kills/5, 1)},
	} {
		t.Run(name, func(t *testing.T) { runKills(t, plan, harness.StartCluster(t).Nodes...) })
	}
}

// killPlan is what a run does.
type killPlan struct {
	kills   int           // kills, with reloads and step-downs in between
	reloads int           // reloads without kills and step-downs, so that no refresh token may be lost
	grace   time.Duration // how long the provider accepts a used refresh token
}

// killRun is one run.
type killRun struct {
	t        *testing.T
	cluster  *harness.Cluster
	sim      *harness.Simulator
	plan     killPlan
	accounts []*killAccount

	over    chan struct{}
	working sync.WaitGroup
	reads   [2]atomic.Int64 // how many reads failed, and how many got a token
	failure atomic.Value    // the error of the last read that failed
	started time.Time

	mu     sync.Mutex
	events []killEvent
	losses []killLoss
}

// killEvent is a kill, a reload, a step-down or an operation on an account.
type killEvent struct {
	kind     string
	from, to time.Time
}

const (
	killAccounts = 6
	killLife     = 6 * time.Second // the lifetime of access tokens, which the engine refreshes after half of it
	killLatency  = 50 * time.Millisecond
)

func runKills(t *testing.T, plan killPlan, nodes ...*harness.Server) {
	r := &killRun{t: t, cluster: &harness.Cluster{Nodes: nodes}, sim: harness.StartSimulator(t), plan: plan,
		over: make(chan struct{}), started: time.Now()}
	r.active().InstallPlugin(t)
	r.sim.Configure(t, fmt.Sprintf(`{"any_account": true, "providers": {"oauth2": {%s, "refresh_grace": %v, "access_ttl": %v, "latency": %v}}}`,
		reuseDetection, plan.grace.Seconds(), killLife.Seconds(), killLatency.Seconds()))
	for i := range killAccounts {
		r.accounts = append(r.accounts, newKillAccount(r, fmt.Sprintf("consented-%d", i)))
	}
	for _, a := range r.accounts {
		for range 2 {
			r.repeat(100*time.Millisecond, a.read)
		}
		r.repeat(250*time.Millisecond, a.watch)
		r.repeat(2*time.Second, a.operate)
	}
	harness.Within(t, time.Minute, "the engine refreshes a token", func() error {
		if n := r.exchanges(); n <= killAccounts {
			return fmt.Errorf("got %d exchanges, want more than the %d of the config writes", n, killAccounts)
		}
		return nil
	})
	for range plan.reloads {
		r.waitForTokens()
		r.reload()
	}
	for n := range plan.kills {
		r.waitForTokens()
		r.kill()
		switch {
		case n%20 == 19 && len(nodes) > 1:
			r.stepDown()
		case n%4 == 1:
			r.reload()
		}
	}
	close(r.over)
	r.working.Wait()
	r.judge()
}

// active returns the active node.
func (r *killRun) active() *harness.Server { return r.cluster.Active(r.t) }

// exchanges returns how many exchanges of refresh tokens succeeded.
func (r *killRun) exchanges() int {
	return r.sim.State(r.t).Providers[simulator.OAuth2].RefreshesSucceeded
}

// do sends a request through any node.
func (r *killRun) do(method, path string, body any) (harness.Response, error) {
	return r.cluster.Nodes[rand.IntN(len(r.cluster.Nodes))].Do(method, path, body)
}

// repeat does an action at about this pace until the end.
func (r *killRun) repeat(pace time.Duration, act func()) {
	r.working.Go(func() {
		for {
			select {
			case <-r.over:
				return
			case <-time.After(pace/2 + rand.N(pace)):
				act()
			}
		}
	})
}

// event runs the function act and records a killEvent.
func (r *killRun) event(kind string, act func()) {
	e := killEvent{kind: kind, from: time.Now()}
	act()
	e.to = time.Now()
	r.mu.Lock()
	defer r.mu.Unlock()
	r.events = append(r.events, e)
}

// waitForTokens waits until readers get tokens again. Then it sleeps for a random time.
func (r *killRun) waitForTokens() {
	r.t.Helper()
	served := r.reads[1].Load()
	harness.Within(r.t, time.Minute, "the plugin serves tokens after a disturbance", func() error {
		if now := r.reads[1].Load(); now < served+killAccounts {
			return fmt.Errorf("got %d tokens, want %d; the last read that failed: %v", now-served, killAccounts, r.failure.Load())
		}
		return nil
	})
	time.Sleep(rand.N(600 * time.Millisecond))
}

func (r *killRun) kill() {
	r.t.Helper()
	var pids []int
	harness.Until(r.t, "a plugin process runs", func() bool { pids = r.active().PluginPIDs(); return len(pids) > 0 })
	r.event("kill", func() {
		for _, pid := range pids {
			if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
				r.t.Fatalf("killing plugin process %d: %v", pid, err)
			}
			harness.WaitGone(pid)
		}
	})
}

func (r *killRun) reload() {
	r.event("reload", func() {
		_, _ = r.active().Do(http.MethodPut, "sys/plugins/reload/backend", harness.Fields{"mounts": []string{"messaging/"}})
	})
}

// stepDown makes another node active, and returns when that node is active.
func (r *killRun) stepDown() {
	r.event("step-down", func() {
		before := r.active()
		before.Write(r.t, "sys/step-down", nil) // answers before the node steps down
		harness.Until(r.t, "another node is active", func() bool { return r.active() != before })
		r.active().WaitActive(r.t)
	})
}

// judge checks the run:
//   - Only a kill or a step-down has caused the loss of a refresh token.
//   - If the provider accepts used refresh tokens for a while, no refresh token is lost.
//   - For each lost refresh token, the provider has ended at most one session.
//   - At the end, each account's refresh token works.
func (r *killRun) judge() {
	t := r.t
	took, exchanges := time.Since(r.started).Round(time.Second), r.exchanges()
	for _, a := range r.accounts {
		harness.Within(t, time.Minute, a.config+" works", func() error {
			a.watch()
			return failed(r.do(http.MethodPut, a.rotatePath(), nil)) // uses the refresh token, unlike a read of a cached token
		})
	}
	counts := r.sim.State(t).Providers[simulator.OAuth2]
	done, causes := map[string]int{}, map[string]int{}
	for _, e := range r.events {
		done[e.kind]++
	}
	for _, l := range r.losses {
		cause := l.cause(r.events)
		if causes[cause]++; cause == "" {
			t.Errorf("%s: got a loss that no kill or step-down explains: %s", l.config, l.text)
		}
	}
	t.Logf("%s, %d exchanges, %d reads with a token, %d without; %v; losses by cause: %v; second uses: %d, families ended: %d",
		took, exchanges, r.reads[1].Load(), r.reads[0].Load(), done, causes,
		counts.RefreshReuses, counts.SessionsEndedByReuse)
	if counts.SessionsEndedByReuse > len(r.losses) {
		t.Errorf("got %d families of refresh tokens ended by a second use, want at most one for each of the %d losses", counts.SessionsEndedByReuse, len(r.losses))
	}
	if r.plan.grace > 0 && len(r.losses) > 0 {
		t.Errorf("got %d losses at a provider with a grace of %s, want none", len(r.losses), r.plan.grace)
	}
	if disturbances := r.plan.kills + r.plan.reloads; exchanges < disturbances {
		t.Errorf("got %d exchanges, want at least as many as the %d kills and reloads: the run shows nothing", exchanges, disturbances)
	}
}
