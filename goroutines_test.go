// SPDX-License-Identifier: MPL-2.0

package messaging

import (
	"fmt"
	"net/http"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/vault/sdk/logical"
)

// A mount leaves no goroutine behind when it is closed, whatever it was doing; and
// the work that is done over and over leaves none while it is open.
func TestNoGoroutineIsLeftBehind(t *testing.T) {
	ours := func() (n int, stacks string) {
		buf := make([]byte, 4<<20)
		buf = buf[:runtime.Stack(buf, true)]
		for _, g := range strings.Split(string(buf), "\n\n") {
			// net/http's own end with the connections, within a minute at most
			if strings.Contains(g, "vault-plugin-secrets-messaging") && !strings.Contains(g, "goroutines_test.go") && !strings.Contains(g, "internal/simulator.") {
				n++
				stacks += g + "\n\n"
			}
		}
		return n, stacks
	}
	settled := func(when string) {
		t.Helper()
		eventually(t, "no goroutine of ours is left "+when, func() bool { n, _ := ours(); return n == 0 })
	}
	m := newMount(t)
	for i := range 5 {
		name := fmt.Sprint("config/", i)
		m.write(name, m.revocable(fields{"username": fmt.Sprint("user-", i), "verify_connection": false, "share": i%2 == 0})).want(t, http.StatusNoContent)
	}
	m.set(`{"any_account": true}`)
	for round := range 20 {
		m.set([]string{`{"faults": null}`, `{"faults": [{"kind": "status"}, {"kind": "status", "on": "revoke"}]}`, `{"faults": [{"kind": "close-mid-body"}]}`}[round%3])
		for i := range 5 {
			m.write(fmt.Sprint("config/", i), fields{"password": fmt.Sprintf("user-%d-secret", i), "verify_connection": false}).want(t, http.StatusNoContent)
			if a := m.read(fmt.Sprint("creds/", i)); a.secret != nil && i%2 == 1 {
				m.end(a)
			}
			m.request(logical.UpdateOperation, fmt.Sprint("rotate/", i), nil)
		}
		m.clock.advance(20 * time.Minute)
		m.tick()
	}
	settled("after the work is done")
	m.set(`{"faults": null, "latency": 60}`)
	m.clock.advance(20 * time.Minute)
	for i := range 5 {
		go m.HandleRequest(t.Context(), &logical.Request{Operation: logical.ReadOperation, Path: fmt.Sprint("creds/", i), Storage: m.storage})
	}
	m.tick()
	eventually(t, "mints are under way", func() bool { n, _ := ours(); return n >= 3 })
	m.Cleanup(t.Context())
	settled("after the mount is closed")
}
