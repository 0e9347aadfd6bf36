// SPDX-License-Identifier: MPL-2.0

package messaging

import (
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/vault/sdk/helper/consts"
	"github.com/hashicorp/vault/sdk/logical"
)

// A read of a token in hand calls nothing of Vault's: neither the storage nor the
// system view, but for the replication state once a second.
func TestCachedReadCallsNothing(t *testing.T) {
	for _, lease := range []bool{true, false} {
		m := newMount(t)
		m.write("config/a", m.sinch(fields{"lease": lease})).want(t, http.StatusNoContent)
		m.token("a")
		m.storage.taken()
		m.system.taken()
		for range 99 {
			m.clock.advance(10 * time.Millisecond)
			m.token("a")
		}
		if calls, _ := m.system.taken(); calls > 0 {
			t.Errorf("%d calls of the system view within a second", calls)
		}
		for range 1000 {
			m.clock.advance(10 * time.Millisecond)
			m.token("a")
		}
		calls, stateful := m.system.taken()
		if calls != stateful || stateful < 9 || stateful > 11 {
			t.Errorf("%d calls of the system view in 10 s, %d of them for the replication state", calls, stateful)
		}
		if calls := m.storage.taken(); len(calls) > 0 {
			t.Errorf("storage: %v", calls)
		}
	}
}

func TestStateIsRememberedForASecond(t *testing.T) {
	clock, sys := &fakeClock{}, newSystem()
	view := newCachingSystemView(sys, clock.instant)
	sys.state = consts.ReplicationPerformanceStandby
	for _, step := range []struct {
		after time.Duration
		asks  int
	}{{0, 1}, {0, 0}, {999 * time.Millisecond, 0}, {time.Millisecond, 1}, {time.Hour, 1}, {-time.Hour, 0}} {
		clock.advance(step.after)
		if view.ReplicationState() != consts.ReplicationPerformanceStandby {
			t.Error("another state")
		}
		if _, asked := sys.taken(); asked != step.asks {
			t.Errorf("after %s: asked %d times", step.after, asked)
		}
	}
	if newCachingSystemView(nil, clock.instant) != nil {
		t.Error("a view of nothing")
	}
}

// nodes are the states of a node, and what it may do.
var nodes = map[string]struct {
	state   consts.ReplicationState
	local   bool // mount
	creds   bool // read, rotate and status here, else forwarded
	writes  bool // configs
	refresh bool // by a tick
}{
	"active":                       {state: consts.ReplicationPerformancePrimary, creds: true, writes: true, refresh: true},
	"standby":                      {state: consts.ReplicationPerformanceStandby},
	"DR secondary":                 {state: consts.ReplicationDRSecondary, creds: true, writes: true},
	"performance secondary":        {state: consts.ReplicationPerformanceSecondary, creds: true, refresh: true},
	"local mount of a secondary":   {state: consts.ReplicationPerformanceSecondary, local: true, creds: true, writes: true, refresh: true},
	"standby of a secondary":       {state: consts.ReplicationPerformanceSecondary | consts.ReplicationPerformanceStandby},
	"local, standby, of secondary": {state: consts.ReplicationPerformanceSecondary | consts.ReplicationPerformanceStandby, local: true},
}

func TestForwarding(t *testing.T) {
	for name, node := range nodes {
		t.Run(name, func(t *testing.T) {
			m := newMount(t)
			m.write("config/a", m.sinch(nil)).want(t, http.StatusNoContent)
			n := m.again()
			n.system = newSystem()
			n.system.state, n.system.local = node.state, node.local
			n.start()
			n.storage.taken()
			n.clock.advance(time.Hour)
			logins := m.logins()

			here := func(want bool, op logical.Operation, path string, data fields) {
				t.Helper()
				if a := n.request(op, path, data); a.forwarded == want {
					t.Errorf("%s %s: %d %s", op, path, a.status, a.text)
				}
			}
			here(node.creds, logical.ReadOperation, "creds/a", nil)
			here(node.creds, logical.UpdateOperation, "rotate/a", nil)
			here(node.creds, logical.ReadOperation, "status/a", nil)
			here(node.creds, logical.ListOperation, "status/", nil)
			here(node.writes, logical.CreateOperation, "config/b", m.sinch(nil))
			here(node.writes, logical.UpdateOperation, "config/a", fields{"min_ttl": 5, "verify_connection": true})
			here(node.writes, logical.PatchOperation, "config/a", fields{"min_ttl": 6})
			here(node.writes, logical.DeleteOperation, "config/a", nil)
			here(true, logical.ReadOperation, "config/a", nil)
			here(true, logical.ListOperation, "config/", nil)
			here(true, logical.ReadOperation, "providers/sinch-india", nil)
			here(true, logical.ListOperation, "providers/", nil)

			minted := m.logins() > logins
			writes := slices.ContainsFunc(n.storage.taken(), func(c string) bool { return strings.HasPrefix(c, "put") || strings.HasPrefix(c, "delete") })
			if minted != node.creds || writes != node.creds {
				t.Errorf("minted: %v, wrote: %v", minted, writes)
			}
		})
	}
}

func TestTickByNode(t *testing.T) {
	for name, node := range nodes {
		for _, tainted := range []bool{false, true} {
			m := newMount(t, newFake(lives("fake-token", time.Hour)))
			m.write("config/a", also(fields{"min_ttl": 2}, fakeConfig)).want(t, http.StatusNoContent)
			m.token("a")
			m.clock.advance(55 * time.Minute) // beyond all spread
			m.storage.taken()
			m.system.set(func(s *system) { s.state, s.local, s.tainted = node.state, node.local, tainted })
			m.clock.advance(time.Second) // the state before is forgotten
			m.tick().want(t, http.StatusNoContent)
			if !node.refresh || tainted {
				// A flight would have begun by the time that the tick returned.
				m.system.set(func(s *system) { s.state, s.tainted = 0, false })
				m.clock.advance(time.Second)
				if got := m.read("status/a").data; got["state"] != "fresh" || got["mints"] != int64(1) {
					t.Errorf("%s, tainted=%v: %v", name, tainted, got)
				}
				if calls := m.storage.taken(); !slices.Equal(calls, []string{"get config/a"}) { // the status
					t.Errorf("%s, tainted=%v: %v", name, tainted, calls)
				}
				continue
			}
			eventually(t, name+": the tick refreshes", func() bool { return slices.Contains(m.storage.taken(), "put token/a") })
		}
	}
}

// A tick refreshes the tokens that were read and are due, and nothing else.
func TestTick(t *testing.T) {
	m := newMount(t)
	m.tick().want(t, http.StatusNoContent)
	for _, name := range []string{"read", "unread"} {
		m.write("config/"+name, m.sinch(nil)).want(t, http.StatusNoContent)
	}
	m.write("config/never", m.sinch(fields{"refresh_window": 0})).want(t, http.StatusNoContent)
	before := m.token("read")
	m.token("never")
	eventually(t, "the first tick has looked for revocations", func() bool { return !m.Backend.(*backend).revoker.Pending() })
	m.storage.taken()
	m.system.taken()
	m.clock.advance(47 * time.Minute)
	for range 10 {
		m.tick().want(t, http.StatusNoContent)
	}
	calls, _ := m.system.taken()
	if got := m.storage.taken(); calls > 0 || len(got) > 0 || m.logins() != 3 {
		t.Errorf("an idle tick: %d calls of the system view, storage %v, %d logins", calls, got, m.logins())
	}
	m.clock.advance(3 * time.Minute)
	m.tick().want(t, http.StatusNoContent)
	eventually(t, "the token is refreshed", func() bool { return m.token("read") != before })
	m.tick().want(t, http.StatusNoContent)
	if m.logins() != 4 {
		t.Errorf("%d logins", m.logins())
	}
}
