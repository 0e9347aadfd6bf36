// SPDX-License-Identifier: MPL-2.0

package messaging

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/vault/sdk/helper/consts"
	"github.com/hashicorp/vault/sdk/logical"
)

// A cached read does not call storage. It calls the system view at most once a second, for the
// replication state.
func TestCachedReadCallsNothing(t *testing.T) {
	for _, lease := range []bool{true, false} {
		m := newSinchMount(t, fields{"lease": lease})
		m.token("a")
		m.storage.takeCalls()
		m.system.takeCalls()
		for range 99 {
			m.clock.advance(10 * time.Millisecond)
			m.token("a")
		}
		inASecond, _ := m.system.takeCalls()
		equal(t, "calls of the system view within a second", inASecond, 0)
		for range 1000 {
			m.clock.advance(10 * time.Millisecond)
			m.token("a")
		}
		calls, stateCalls := m.system.takeCalls()
		if calls != stateCalls || stateCalls < 9 || stateCalls > 11 {
			t.Errorf("lease=%t: got %d calls of the system view in 10 s, %d of them for the replication state; want about 10, all for the replication state", lease, calls, stateCalls)
		}
		m.wantCalls()
	}
}

func TestCachingSystemView(t *testing.T) {
	clock, sys := &fakeClock{}, &system{state: consts.ReplicationPerformanceStandby}
	view := newCachingSystemView(sys, clock.instant)
	for _, step := range []struct {
		after time.Duration
		calls int
	}{{0, 1}, {0, 0}, {999 * time.Millisecond, 0}, {time.Millisecond, 1}, {time.Hour, 1}, {-time.Hour, 0}} {
		clock.advance(step.after)
		equal(t, fmt.Sprintf("state after %s", step.after), view.ReplicationState(), sys.state)
		_, got := sys.takeCalls()
		equal(t, fmt.Sprintf("calls after %s", step.after), got, step.calls)
	}
	if got := newCachingSystemView(nil, clock.instant); got != nil {
		t.Errorf("newCachingSystemView(nil): got %v, want nil", got)
	}
}

// nodes are the kinds of Vault nodes, and what each kind does.
var nodes = map[string]struct {
	state   consts.ReplicationState
	local   bool // mount
	creds   bool // read, rotate and show status itself, without forwarding
	writes  bool // write configs itself
	refresh bool // refresh at a tick
}{
	"active":                        {state: consts.ReplicationPerformancePrimary, creds: true, writes: true, refresh: true},
	"standby":                       {state: consts.ReplicationPerformanceStandby},
	"DR secondary":                  {state: consts.ReplicationDRSecondary, creds: true, writes: true},
	"performance secondary":         {state: consts.ReplicationPerformanceSecondary, creds: true, refresh: true},
	"local mount of a secondary":    {state: consts.ReplicationPerformanceSecondary, local: true, creds: true, writes: true, refresh: true},
	"standby of a secondary":        {state: consts.ReplicationPerformanceSecondary | consts.ReplicationPerformanceStandby},
	"local mount of such a standby": {state: consts.ReplicationPerformanceSecondary | consts.ReplicationPerformanceStandby, local: true},
}

func TestForwarding(t *testing.T) {
	for name, node := range nodes {
		t.Run(name, func(t *testing.T) {
			m := newSinchMount(t, nil)
			n := m.restart()
			n.system = &system{state: node.state, local: node.local}
			n.start()
			n.storage.takeCalls()
			n.clock.advance(time.Hour)
			logins := m.logins()
			for _, test := range []struct {
				here bool
				op   logical.Operation
				path string
				data fields
			}{
				{node.creds, logical.ReadOperation, "creds/a", nil},
				{node.creds, logical.UpdateOperation, "rotate/a", nil},
				{node.creds, logical.ReadOperation, "status/a", nil},
				{node.creds, logical.ListOperation, "status/", nil},
				{node.writes, logical.CreateOperation, "config/b", m.sinch(nil)},
				{node.writes, logical.UpdateOperation, "config/a", fields{"min_ttl": 5, "verify_connection": true}},
				{node.writes, logical.PatchOperation, "config/a", fields{"min_ttl": 6}},
				{node.writes, logical.DeleteOperation, "config/a", nil},
				{node.creds, logical.ReadOperation, "config/a", nil},
				{node.creds, logical.ListOperation, "config/", nil},
				{node.creds, logical.ReadOperation, "providers/sinch-india", nil},
				{node.creds, logical.ListOperation, "providers/", nil},
			} {
				if a := n.request(test.op, test.path, test.data); a.forwarded == test.here {
					t.Errorf("%s %s: got forwarded=%t (%d %s), want %t", test.op, test.path, a.forwarded, a.status, a.text, !test.here)
				}
			}
			wrote := slices.ContainsFunc(n.storage.takeCalls(), func(c string) bool { return strings.HasPrefix(c, "put") || strings.HasPrefix(c, "delete") })
			equal(t, "a write to storage", wrote, node.creds)
			equal(t, "a mint", m.logins() > logins, node.creds)
		})
	}
}

func TestTickByNode(t *testing.T) {
	for name, node := range nodes {
		for _, tainted := range []bool{false, true} {
			m := newFakeMount(t, newFake(numbered(time.Hour)), fields{"min_ttl": 2})
			m.token("a")
			m.clock.advance(55 * time.Minute) // past the refresh time of any token
			m.storage.takeCalls()
			m.system.set(func(s *system) { s.state, s.local, s.tainted = node.state, node.local, tainted })
			m.clock.advance(time.Second) // until the view forgets the old state
			m.tick().want(t, http.StatusNoContent)
			if node.refresh && !tainted {
				eventually(t, name+": the tick refreshes", func() bool { return slices.Contains(m.storage.takeCalls(), "put token/a") })
				continue
			}
			// A tick starts its mints before it returns.
			m.system.set(func(s *system) { s.state, s.tainted = 0, false })
			m.clock.advance(time.Second)
			m.read("status/a").wantData(t, fields{"state": "fresh", "mints": int64(1)})
			m.wantCalls("get config/a") // for the status
		}
	}
}

// A tick refreshes only tokens that were read and are due.
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
	m.storage.takeCalls()
	m.system.takeCalls()
	m.clock.advance(47 * time.Minute)
	for range 10 {
		m.tick().want(t, http.StatusNoContent)
	}
	calls, _ := m.system.takeCalls()
	equal(t, "calls of the system view in idle ticks", calls, 0)
	m.wantCalls()
	m.wantLogins(3)
	m.clock.advance(3 * time.Minute)
	m.tick().want(t, http.StatusNoContent)
	eventually(t, "the token is refreshed", func() bool { return m.token("read") != before })
	m.tick().want(t, http.StatusNoContent)
	m.wantLogins(4)
}
