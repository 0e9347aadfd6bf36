// SPDX-License-Identifier: MPL-2.0

package acceptance

import (
	"fmt"
	"sync"
	"testing"
	"time"

	"vault-plugin-secrets-messaging/acceptance/harness"
)

// Reads during and after a failover return the same token. The failover causes no login and no
// refresh.
func TestFailoverKeepsTheToken(t *testing.T) {
	t.Parallel() // the test mostly waits
	sim, cluster := harness.StartSimulator(t), harness.StartCluster(t)
	first := world{cluster.Active(t), sim}
	first.InstallPlugin(t)
	first.writeConfig(t, sinch)
	token := first.token(t, sinch)
	consented := first.consentedConfig(t, "consented")
	spent := first.token(t, consented)
	survivors := cluster.Standbys(t)
	for _, node := range survivors {
		waitForMount(t, node)
		world{node, sim}.wantToken(t, sinch, token, "through a standby")
		world{node, sim}.wantToken(t, consented, spent, "through a standby")
	}

	stop := collectTokens(t, survivors, sinch.creds())
	first.Kill()
	cluster.Active(t).WaitActive(t)
	for _, node := range survivors {
		waitForToken(t, node, token)
	}
	for answer := range stop() {
		if answer != token {
			t.Errorf("read during the failover: got token %q, want %q", answer, token)
		}
	}

	first.Start(t) // as a standby
	waitForToken(t, first.Server, token)
	first.wantLogins(t, sinch, 1)

	first.wantToken(t, consented, spent, "after the failover")
	first.wantRefreshes(t, "after the failover", 1)
	first.Write(t, consented.rotatePath(), nil).OK(t)
	first.wantRefreshes(t, "after a rotate on the new active node", 2)
}

// A user can write a config through a standby and read it back at once. After a step-down, the next
// active node serves the same token.
func TestStandbysAndStepDown(t *testing.T) {
	t.Parallel() // the test mostly waits
	sim, cluster := harness.StartSimulator(t), harness.StartCluster(t)
	active := world{cluster.Active(t), sim}
	active.InstallPlugin(t)
	for _, node := range cluster.Standbys(t) {
		waitForMount(t, node)
	}
	standby := world{cluster.Standbys(t)[0], sim}
	standby.writeConfig(t, sinch)
	for seconds := 3; seconds < 13; seconds++ {
		standby.Write(t, sinch.path(), harness.Fields{"min_ttl": seconds}).OK(t)
		if got := fmt.Sprint(standby.Read(t, sinch.path()).OK(t).Data["min_ttl"]); got != fmt.Sprint(seconds) {
			t.Errorf("through the standby: got min_ttl=%s after a write of %d, want the written value", got, seconds)
		}
	}
	token := standby.token(t, sinch)
	for _, node := range cluster.Nodes {
		world{node, sim}.wantToken(t, sinch, token, "through each node")
	}

	active.Write(t, "sys/step-down", nil)
	harness.Until(t, "another node is active", func() bool { return cluster.Active(t) != active.Server })
	cluster.Active(t).WaitActive(t)
	for _, node := range cluster.Nodes {
		waitForToken(t, node, token)
	}
	standby.wantLogins(t, sinch, 1)
}

// waitForMount waits until the node serves the mount. OpenBao's standbys need about 100 ms for a
// new mount.
func waitForMount(t *testing.T, node *harness.Server) {
	t.Helper()
	harness.Within(t, harness.Timeout, "the standby serves the mount", func() error {
		return failed(node.Do("GET", "messaging/providers?list=true", nil))
	})
}

// waitForToken waits until a read at the node succeeds. The read must return this token.
func waitForToken(t *testing.T, node *harness.Server, token string) {
	t.Helper()
	harness.Within(t, harness.Timeout, "the node answers", func() error {
		r, err := node.Do("GET", sinch.creds(), nil)
		if err == nil && r.Status == 200 && r.Text("access_token") != token {
			t.Fatalf("read after the failover: got token %q, want %q", r.Text("access_token"), token)
		}
		return failed(r, err)
	})
}

// collectTokens reads a path through each node until the test calls stop. The function stop returns
// all tokens. Failed reads are ignored.
func collectTokens(t *testing.T, nodes []*harness.Server, path string) (stop func() map[string]bool) {
	t.Helper()
	var mu sync.Mutex
	answers := map[string]bool{}
	var stops []func()
	for _, node := range nodes {
		stops = append(stops, harness.Repeat(t, 50*time.Millisecond, func() {
			if r, err := node.Do("GET", path, nil); err == nil && r.Status == 200 {
				mu.Lock()
				defer mu.Unlock()
				answers[r.Text("access_token")] = true
			}
		}))
	}
	return func() map[string]bool {
		for _, stop := range stops {
			stop()
		}
		return answers
	}
}
