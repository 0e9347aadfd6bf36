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

// An open mount leaves no goroutine behind after its work, and a closed mount leaves none
// at all.
func TestNoGoroutineIsLeftBehind(t *testing.T) {
	count := func() (n int) {
		buf := make([]byte, 4<<20)
		for g := range strings.SplitSeq(string(buf[:runtime.Stack(buf, true)]), "\n\n") {
			// The test ignores goroutines of net/http, because they end with their connections.
			if strings.Contains(g, "vault-plugin-secrets-messaging") && !strings.Contains(g, "goroutines_test.go") && !strings.Contains(g, "internal/simulator.") {
				n++
			}
		}
		return n
	}
	m := newMount(t)
	m.simulate(`{"any_account": true}`)
	for i := range 5 {
		m.write(fmt.Sprint("config/", i), m.revocable(fields{"username": fmt.Sprint("user-", i), "verify_connection": false, "share": i%2 == 0})).want(t, http.StatusNoContent)
	}
	for round := range 20 {
		m.simulate([]string{`{"faults": null}`, `{"faults": [{"kind": "status"}, {"kind": "status", "on": "revoke"}]}`, `{"faults": [{"kind": "close-mid-body"}]}`}[round%3])
		for i := range 5 {
			m.write(fmt.Sprint("config/", i), fields{"password": fmt.Sprintf("user-%d-secret", i), "verify_connection": false}).want(t, http.StatusNoContent)
			if a := m.read(fmt.Sprint("creds/", i)); a.secret != nil && i%2 == 1 {
				m.revokeLease(a)
			}
			m.rotate(fmt.Sprint(i))
		}
		m.clock.advance(20 * time.Minute)
		m.tick()
	}
	eventually(t, "no goroutine is left after the work", func() bool { return count() == 0 })
	m.simulate(`{"faults": null, "latency": 60}`)
	m.clock.advance(20 * time.Minute)
	for i := range 5 {
		go m.HandleRequest(t.Context(), &logical.Request{Operation: logical.ReadOperation, Path: fmt.Sprint("creds/", i), Storage: m.storage})
	}
	m.tick()
	eventually(t, "mints run", func() bool { return count() >= 3 })
	m.Cleanup(t.Context())
	eventually(t, "no goroutine is left after Cleanup", func() bool { return count() == 0 })
}
