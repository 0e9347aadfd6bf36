// SPDX-License-Identifier: MPL-2.0

package harness

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// StartRaft starts a server that keeps its data on disk, initialised, unsealed
// and active. Stop or Kill it, and Start it again, as often as need be.
func StartRaft(t testing.TB) *Server {
	t.Helper()
	s := newRaftNode(t, 1, "")
	s.Start(t)
	s.initialise(t)
	return s
}

// newRaftNode returns a raft server, not yet started; leader is the address of
// the server whose cluster it is to join, or "".
func newRaftNode(t testing.TB, number int, leader string) *Server {
	t.Helper()
	s := newServer(t, fmt.Sprintf("vault-%d", number))
	s.env = s.Env(t)
	data := filepath.Join(s.dir, "data")
	if err := os.Mkdir(data, 0o700); err != nil {
		t.Fatal(err)
	}
	join, cluster := "", freeAddress(t)
	if leader != "" {
		join = fmt.Sprintf("retry_join { leader_api_addr = %q }", leader)
	}
	config := s.writeConfig(t, pluginConfig("")+fmt.Sprintf(`
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
`, s.Addr, "https://"+cluster, data, s.name, join, strings.TrimPrefix(s.Addr, "http://"), cluster))
	s.args = []string{"server", "-log-level=trace", "-config=" + config}
	return s
}

// Data returns the folder of a raft server's data.
func (s *Server) Data() string { return filepath.Join(s.dir, "data") }

// initialise makes a new cluster of one node, with one unseal key.
func (s *Server) initialise(t testing.TB) {
	t.Helper()
	var made struct {
		Keys      []string `json:"keys_base64"`
		RootToken string   `json:"root_token"`
	}
	r := s.Write(t, "sys/init", Fields{"secret_shares": 1, "secret_threshold": 1}).OK(t)
	if err := json.Unmarshal([]byte(r.Raw), &made); err != nil || len(made.Keys) != 1 {
		t.Fatalf("initialising %s: %v: %s", s.name, err, r.Raw)
	}
	s.unsealKey, s.Token = made.Keys[0], made.RootToken
	s.Unseal(t)
	s.WaitActive(t)
}

// Cluster is a raft cluster of servers that share their data.
type Cluster struct {
	Nodes []*Server
}

// StartCluster starts a cluster of three nodes, all unsealed, and all voters.
func StartCluster(t testing.TB) *Cluster {
	t.Helper()
	first := StartRaft(t)
	// else a new node becomes a voter after 10 s, not 1 s
	first.Write(t, "sys/storage/raft/autopilot/configuration", Fields{"server_stabilization_time": "1s"}).OK(t)
	c := &Cluster{Nodes: []*Server{first}}
	for number := 2; number <= 3; number++ {
		node := newRaftNode(t, number, first.Addr)
		node.Token, node.unsealKey = first.Token, first.unsealKey
		node.Start(t)
		c.Nodes = append(c.Nodes, node)
	}
	c.waitVoters(t)
	return c
}

func (c *Cluster) waitVoters(t testing.TB) {
	t.Helper()
	Within(t, patience, "all nodes are voters", func() error {
		r, err := c.Nodes[0].Do("GET", "sys/storage/raft/configuration", nil)
		if err == nil && strings.Count(r.Raw, `"voter":true`) != len(c.Nodes) {
			err = fmt.Errorf("status %d: %s", r.Status, r.Raw)
		}
		return err
	})
	for _, node := range c.Nodes {
		Within(t, patience, node.name+" knows its leader", func() error {
			_, err := node.leader()
			return err
		})
	}
}

// Active returns the running node that is active, when there is one.
func (c *Cluster) Active(t testing.TB) *Server {
	t.Helper()
	var active *Server
	Within(t, patience, "a node is active", func() error {
		for _, node := range c.Nodes {
			if !node.Running() {
				continue
			}
			if self, err := node.leader(); err == nil && self {
				active = node
				return nil
			}
		}
		return fmt.Errorf("none of %d is at %s", len(c.Nodes), time.Now().Format(time.TimeOnly))
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

// leader reports whether the node is the active one; an error says that it
// knows of none.
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
		return false, fmt.Errorf("%s knows no leader: %s", s.name, r.Raw)
	}
	return answer.Self, nil
}
