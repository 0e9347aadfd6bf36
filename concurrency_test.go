// SPDX-License-Identifier: MPL-2.0

package messaging

import (
	"context"
	"fmt"
	"net/http"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hashicorp/vault/sdk/logical"

	"vault-plugin-secrets-messaging/internal/simulator"
)

// If requests of all kinds run at the same time, no answer is a 5xx. In the end, memory and
// storage agree.
func TestAllAtOnce(t *testing.T) {
	m := newMount(t)
	m.simulate(`{"any_account": true}`)
	m.write("config/a", m.sinch(nil)).want(t, http.StatusNoContent)
	var all sync.WaitGroup
	for worker := range 8 {
		all.Go(func() {
			for i := range 30 {
				var a answer
				step := (worker + i) % 8
				switch step {
				case 0:
					user := fmt.Sprintf("user%d", i)
					a = m.write("config/a", m.sinch(fields{"username": user, "password": user + "-secret", "verify_connection": i%2 == 0}))
				case 1:
					a = m.rotate("a")
				case 2:
					a = m.tick()
				case 3:
					m.InvalidateKey(t.Context(), "token/a")
				case 4:
					a = m.read("status/a")
				case 5:
					m.clock.advance(11 * time.Minute)
				case 6:
					if i%5 == 0 {
						a = m.delete("config/a")
					}
				default:
					a = m.read("creds/a")
				}
				// Two 5xx answers are right: another goroutine may advance the clock past a token's
				// end, and a login on a slow machine may take more than 3 s.
				if a.status >= 500 && !strings.Contains(a.text, "to arrive") && !strings.Contains(a.text, "so read again") {
					t.Errorf("step %d: got %d %s, want no 5xx", step, a.status, a.text)
				}
			}
		})
	}
	all.Wait()
	m.write("config/a", m.sinch(nil)).want(t, http.StatusNoContent)
	checkAgreement(t, m, "in the end")
}

// A reader that gives up gets an error, and the mint continues for other readers.
func TestReaderGivesUp(t *testing.T) {
	f := newFake(minting("fake-token", time.Hour))
	m := newFakeMount(t, f, fields{"verify_connection": false})
	started, release := block(f)
	defer release()
	ctx, cancel := context.WithCancel(t.Context())
	first := async(func() answer { return m.requestWith(ctx, logical.ReadOperation, "creds/a", nil) })
	<-started
	cancel()
	(<-first).want(t, http.StatusServiceUnavailable, "context canceled: the request ended before its answer was ready")
	second := async(func() answer { return m.read("creds/a") })
	release()
	equal(t, "token of the second reader", (<-second).token(), "late-token")
	equal(t, "more mints", len(started), 0)
}

// readAtOnce lets many readers read each name at the same time. A reader repeats its read while the
// mint continues, because a slow machine may need more than 3 s. The result counts the readers by
// name and token.
func (m *mount) readAtOnce(names []string, readers int) map[string]map[string]int {
	m.t.Helper()
	var (
		mu    sync.Mutex
		got   = map[string]map[string]int{}
		all   sync.WaitGroup
		start = make(chan struct{})
	)
	deadline := time.Now().Add(3 * time.Minute) // a mint may take 2 minutes
	for _, name := range names {
		got[name] = map[string]int{}
		for range readers {
			all.Go(func() {
				<-start
				read := func() (*logical.Response, error) {
					return m.HandleRequest(m.t.Context(), &logical.Request{Operation: logical.ReadOperation, Path: "creds/" + name, Storage: m.storage})
				}
				resp, err := read()
				for err != nil && strings.Contains(err.Error(), "so read again") && time.Now().Before(deadline) {
					resp, err = read()
				}
				if err != nil || resp.IsError() {
					m.t.Errorf("creds/%s: got %v, %v, want a token", name, resp, err)
					return
				}
				mu.Lock()
				defer mu.Unlock()
				got[name][resp.Data["access_token"].(string)]++
			})
		}
	}
	close(start)
	all.Wait()
	return got
}

func TestManyReadersOfOneAccount(t *testing.T) {
	const readers = 10_000
	m := newSinchMount(t, fields{"verify_connection": false})
	m.simulate(`{"latency": 0.5}`)
	got := m.readAtOnce([]string{"a"}, readers)["a"]
	m.wantLogins(1)
	for token, n := range got {
		equal(t, "readers of the token", n, readers)
		m.wantAlive("the token", token, true)
	}
	equal(t, "reads", m.status("reads"), int64(readers))
}

// Each account logs in once. At most 64 logins run at the same time at one host.
func TestReadersOfManyAccounts(t *testing.T) {
	const accounts = 1000
	m := newMount(t)
	m.simulate(`{"any_account": true}`)
	var names []string
	for i := range accounts {
		name := fmt.Sprintf("account-%d", i)
		names = append(names, name)
		m.write("config/"+name, m.sinch(fields{"username": name, "password": name + "-secret", "verify_connection": false})).want(t, http.StatusNoContent)
	}
	tokens := map[string]bool{}
	for name, got := range m.restart().readAtOnce(names, 3) {
		for token, n := range got {
			if known := m.sim.Introspect(token); n != 3 || known.Account != name || !known.Active {
				t.Errorf("%s: got %d readers with the token %+v, want 3 with an active token of the account", name, n, known)
			}
			tokens[token] = true
		}
	}
	total := m.sim.State().Total
	if len(tokens) != accounts || total.LoginsSucceeded != accounts || total.Requests != accounts || total.MaxConcurrent > 64 {
		t.Errorf("got %d tokens and %+v, want %d tokens and logins, at most 64 concurrently", len(tokens), total, accounts)
	}
}

// Hanging mints and a Cleanup do not slow down another mount.
func TestMountThatEndsIsNotFeltAtAnother(t *testing.T) {
	m, other := newSinchMount(t, nil), newSinchMount(t, nil)
	token := m.token("a")
	differ(t, "token of the other mount", other.token("a"), token)
	other.simulate(fmt.Sprintf(`{"latency": 60, "providers": {%q: {"any_account": true}}}`, simulator.SinchIndia))
	for i := range 100 {
		user := fmt.Sprintf("user-%d", i)
		other.write("config/"+user, other.sinch(fields{"username": user, "password": user + "-secret", "verify_connection": false})).want(t, http.StatusNoContent)
	}
	var hanging sync.WaitGroup
	requests := other.requests()
	for i := range 100 {
		hanging.Go(func() {
			if a := other.read(fmt.Sprintf("creds/user-%d", i)); a.status == http.StatusOK {
				t.Error("got a token from a mint that hangs")
			}
		})
	}
	eventually(t, "mints hang", func() bool { return other.requests() > requests })
	begun := time.Now()
	readAll := func() {
		for range 100 {
			equal(t, "token", m.token("a"), token)
		}
	}
	readAll()
	other.Cleanup(t.Context())
	hanging.Wait() // Cleanup ends them
	readAll()
	took(t, begun, 5*time.Second) // for 200 reads and a Cleanup
	m.clock.advance(time.Minute)
	m.rotate("a").want(t, http.StatusOK)
	differ(t, "token after a rotate", m.token("a"), token)
}

// All goroutines of a mount end when its work is done. Cleanup ends them even if mints hang.
func TestNoGoroutineIsLeftBehind(t *testing.T) {
	count := func() (n int) {
		buf := make([]byte, 4<<20)
		for g := range strings.SplitSeq(string(buf[:runtime.Stack(buf, true)]), "\n\n") {
			// The test ignores goroutines of net/http, because they end with their connections.
			if strings.Contains(g, "vault-plugin-secrets-messaging") && !strings.Contains(g, "concurrency_test.go") && !strings.Contains(g, "internal/simulator.") {
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
