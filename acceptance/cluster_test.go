// SPDX-License-Identifier: MPL-2.0

package acceptance

import (
	"sync"
	"testing"
	"time"

	"vault-plugin-secrets-messaging/acceptance/harness"
)

// The node that takes over serves the token of the node that died, and no read on
// the way answers anything else.
func TestFailoverKeepsTheToken(t *testing.T) {
	harness.Need(t)
	sim, cluster := harness.StartSimulator(t), harness.StartCluster(t)
	first := cluster.Active(t)
	first.InstallPlugin(t)
	first.Write(t, sinch.path(), sinch.write(sim)).OK(t)
	token := first.Read(t, sinch.creds()).OK(t).Text("access_token")
	survivors := cluster.Standbys(t)
	for _, node := range survivors {
		if got := node.Read(t, sinch.creds()).OK(t).Text("access_token"); got != token {
			t.Error("a read through a standby has another token")
		}
	}

	answers := readAllTheWhile(t, survivors, sinch.creds())
	first.Kill()
	second := cluster.Active(t)
	second.WaitActive(t)
	for _, node := range survivors {
		harness.Within(t, 30*time.Second, "the survivors answer", func() error {
			r, err := node.Do("GET", sinch.creds(), nil)
			if err == nil && r.Status == 200 && r.Text("access_token") != token {
				t.Fatal("after the failover there is another token")
			}
			return failed(r, err)
		})
	}
	for answer := range answers() {
		if answer != token {
			t.Errorf("a read during the failover answered %q", answer)
		}
	}

	first.Start(t) // and comes back as a standby
	harness.Within(t, 30*time.Second, "the node that was killed answers", func() error {
		r, err := first.Do("GET", sinch.creds(), nil)
		if err == nil && r.Status == 200 && r.Text("access_token") != token {
			t.Fatal("the node that came back has another token")
		}
		return failed(r, err)
	})
	if n := sim.Logins(t, sinch.provider); n != 1 {
		t.Errorf("%d logins, want 1", n)
	}
}

// readAllTheWhile reads a path through each of the nodes, over and over, until
// the function that it returns is called: which returns the tokens that were
// answered. Reads may fail.
func readAllTheWhile(t *testing.T, nodes []*harness.Server, path string) (stop func() map[string]bool) {
	t.Helper()
	done := make(chan struct{})
	var (
		mu      sync.Mutex
		answers = map[string]bool{}
		readers sync.WaitGroup
	)
	for _, node := range nodes {
		readers.Go(func() {
			for ticks := time.Tick(50 * time.Millisecond); ; {
				select {
				case <-done:
					return
				case <-ticks:
				}
				if r, err := node.Do("GET", path, nil); err == nil && r.Status == 200 {
					mu.Lock()
					answers[r.Text("access_token")] = true
					mu.Unlock()
				}
			}
		})
	}
	end := sync.OnceFunc(func() { close(done); readers.Wait() })
	t.Cleanup(end)
	return func() map[string]bool { end(); return answers }
}
