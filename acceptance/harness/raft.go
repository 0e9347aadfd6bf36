// SPDX-License-Identifier: MPL-2.0

package harness

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// StartRaft returns an active server that keeps its data on disk. The test may stop, kill and
// restart the server.
func StartRaft(t testing.TB) *Server {
	t.Helper()
	return StartRaftWith(t, "")
}

// StartRaftWith is StartRaft with another plugin folder.
func StartRaftWith(t testing.TB, pluginDir string) *Server {
	t.Helper()
	s := newRaftNode(t, 1, pluginDir, "")
	s.Start(t)
	s.initialize(t)
	return s
}

// newRaftNode returns a raft server that is not started yet. The parameter leader is the address of
// a node in the cluster that the server joins. If leader is "", the caller must call initialize to
// make a new cluster. See [pluginConfig] for pluginDir.
func newRaftNode(t testing.TB, number int, pluginDir, leader string) *Server {
	t.Helper()
	s := newServer(t, fmt.Sprintf("vault-%d", number))
	s.env = s.Env(t)
	if err := os.Mkdir(s.Data(), 0o700); err != nil {
		t.Fatal(err)
	}
	join, cluster := "", FreeAddress(t)
	if leader != "" {
		join = fmt.Sprintf("retry_join { leader_api_addr = %q }", leader)
	}
	config := WriteFile(t, s.dir, "config.hcl", pluginConfig(t, pluginDir)+fmt.Sprintf(`
disable_mlock = true
api_addr      = %q
cluster_addr  = %q
storage "raft" {
  path    = %q
  node_id = %q
  %s
}
listener "tcp" {
  address         = %q
  cluster_address = %q
  tls_disable     = true
}
`, s.Addr, "https://"+cluster, s.Data(), s.name, join, strings.TrimPrefix(s.Addr, "http://"), cluster))
	s.args = []string{"server", "-log-level=trace", "-config=" + config}
	return s
}

// Data returns a raft server's data folder.
func (s *Server) Data() string { return filepath.Join(s.dir, "data") }

// initialize makes a cluster with one node and one unseal key. It returns when the node is active.
func (s *Server) initialize(t testing.TB) {
	t.Helper()
	var initialized struct {
		Keys      []string `json:"keys_base64"`
		RootToken string   `json:"root_token"`
	}
	r := s.Write(t, "sys/init", Fields{"secret_shares": 1, "secret_threshold": 1}).OK(t)
	if err := json.Unmarshal([]byte(r.Raw), &initialized); err != nil || len(initialized.Keys) != 1 {
		t.Fatalf("initializing %s: got %s, want one unseal key (%v)", s.name, r.Raw, err)
	}
	s.unsealKey, s.Token = initialized.Keys[0], initialized.RootToken
	s.Unseal(t)
	s.WaitActive(t)
}

// Cluster is a raft cluster of servers.
type Cluster struct {
	Nodes []*Server
}

// StartCluster starts three nodes, and waits until all are voters.
func StartCluster(t testing.TB) *Cluster {
	t.Helper()
	first := StartRaft(t)
	// By default a new node becomes a voter only after 10 s.
	first.Write(t, "sys/storage/raft/autopilot/configuration", Fields{"server_stabilization_time": "1s"}).OK(t)
	c := &Cluster{Nodes: []*Server{first}}
	for number := 2; number <= 3; number++ {
		node := newRaftNode(t, number, "", first.Addr)
		node.Token, node.unsealKey = first.Token, first.unsealKey
		node.Start(t)
		c.Nodes = append(c.Nodes, node)
	}
	c.waitVoters(t)
	return c
}

func (c *Cluster) waitVoters(t testing.TB) {
	t.Helper()
	Within(t, Timeout, "all nodes of the cluster are voters", func() error {
		r, err := c.Nodes[0].Do("GET", "sys/storage/raft/configuration", nil)
		if err == nil && strings.Count(r.Raw, `"voter":true`) != len(c.Nodes) {
			err = fmt.Errorf("got status %d, want %d voters: %s", r.Status, len(c.Nodes), r.Raw)
		}
		return err
	})
	for _, node := range c.Nodes {
		Within(t, Timeout, node.name+" knows its leader", func() error {
			_, err := node.leader()
			return err
		})
	}
}

// Active waits until a running node is active, and returns that node.
func (c *Cluster) Active(t testing.TB) *Server {
	t.Helper()
	var active *Server
	Within(t, Timeout, "a node is active", func() error {
		for _, node := range c.Nodes {
			if !node.Running() {
				continue
			}
			if self, err := node.leader(); err == nil && self {
				active = node
				return nil
			}
		}
		return fmt.Errorf("none of the %d nodes is active", len(c.Nodes))
	})
	return active
}

// Standbys returns the running nodes that are not active.
func (c *Cluster) Standbys(t testing.TB) []*Server {
	t.Helper()
	var standbys []*Server
	active := c.Active(t)
	for _, node := range c.Nodes {
		if node.Running() && node != active {
			standbys = append(standbys, node)
		}
	}
	return standbys
}

// leader reports whether the node is active. It returns an error if the node knows no active node.
func (s *Server) leader() (self bool, err error) {
	r, err := s.Do("GET", "sys/leader", nil)
	if err != nil {
		return false, err
	}
	var answer struct {
		Self    bool   `json:"is_self"`
		Address string `json:"leader_address"`
	}
	if err := json.Unmarshal([]byte(r.Raw), &answer); err != nil {
		return false, fmt.Errorf("%w: %s", err, r.Raw)
	}
	if answer.Address == "" {
		return false, fmt.Errorf("%s knows no active node: %s", s.name, r.Raw)
	}
	return answer.Self, nil
}
