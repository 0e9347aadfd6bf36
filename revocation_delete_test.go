// SPDX-License-Identifier: MPL-2.0

package messaging

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"
)

// deletionFaults are storage faults during a deletion. The parameter failing is the number of the
// first call that fails.
var deletionFaults = map[string]func(m *mount, failing int){
	"the call fails": func(m *mount, failing int) {
		m.failCalls(func(n int, _, _ string) bool { return n == failing })
	},
	"the call works, and fails": func(m *mount, failing int) {
		m.failCalls(func(n int, op, key string) bool {
			if n == failing && op == "delete" {
				_ = m.storage.InmemStorage.Delete(context.Background(), key)
			}
			return n == failing
		})
	},
	"all later calls fail": func(m *mount, failing int) {
		m.failCalls(func(n int, _, _ string) bool { return n >= failing })
	},
}

// failCalls makes a storage call fail if the given function returns true. The first call has n=1.
func (m *mount) failCalls(fails func(n int, op, key string) bool) {
	n := 0
	m.storage.failWith(func(op, key string) error {
		if n++; fails(n, op, key) {
			return errStorage
		}
		return nil
	})
}

// After a failed deletion, no reader gets a revoked token. If the engine discards the token without
// revoking it, a warning or a log line says so.
func TestDeletionThatFailsHalfway(t *testing.T) {
	for fault, arrange := range deletionFaults {
		for _, crash := range []bool{false, true} {
			for _, retry := range []bool{false, true} {
				for failing := 1; ; failing++ {
					m := newRevocableMount(t, nil)
					old := m.token("a")
					m.storage.takeCalls()
					arrange(m, failing)
					first := m.delete("config/a")
					calls := len(m.storage.takeCalls())
					m.storage.failWith(nil)
					if calls < failing {
						break
					}
					what := fmt.Sprintf("%s (call %d), crash=%t, retry=%t", fault, failing, crash, retry)
					if crash {
						m = m.restart()
					}
					warned := strings.Join(first.warnings, "")
					if retry {
						second := m.delete("config/a").succeeded(t, what+", second deletion")
						warned += strings.Join(second.warnings, "")
						m.wantStored()
					}
					m.clock.advance(time.Minute)
					m.drain()
					if !retry && strings.Contains(m.log.String(), "left to expire") { // only a storage that deletes and reports an error causes this
						warned += "left to expire"
					}
					current := ""
					if a := m.read("creds/a"); a.status == http.StatusOK {
						current = a.token()
					}
					switch alive := m.alive(old); {
					case current == old && !alive:
						t.Errorf("%s: readers get a dead token", what)
					case current != old && alive && !strings.Contains(warned, "left to expire"):
						t.Errorf("%s: the token is alive, and neither a warning nor the log says so", what)
					case fault == "the call fails" && retry && !crash && alive:
						t.Errorf("%s: the token is alive after the second deletion", what)
					}
				}
			}
		}
	}
}
