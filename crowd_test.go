// SPDX-License-Identifier: MPL-2.0

package messaging

import (
	"fmt"
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/hashicorp/vault/sdk/logical"

	"vault-plugin-secrets-messaging/internal/simulator"
)

// readAtOnce reads the creds of each name so many times at once, and returns the
// tokens of each that were answered, with how often.
func (m *mount) readAtOnce(names []string, readers int) map[string]map[string]int {
	m.t.Helper()
	var (
		mu    sync.Mutex
		got   = map[string]map[string]int{}
		all   sync.WaitGroup
		start = make(chan struct{})
	)
	for _, name := range names {
		got[name] = map[string]int{}
		for range readers {
			all.Go(func() {
				<-start
				resp, err := m.HandleRequest(m.t.Context(), &logical.Request{Operation: logical.ReadOperation, Path: "creds/" + name, Storage: m.storage})
				if err != nil || resp.IsError() {
					m.t.Errorf("%s: %v, %v", name, resp, err)
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

// However many read an account that has no token, there is one login, and one token
// for all.
func TestCrowdOfReaders(t *testing.T) {
	const readers = 10_000
	m := newMount(t)
	m.write("config/a", m.sinch(fields{"verify_connection": false})).want(t, http.StatusNoContent)
	m.set(`{"latency": 0.5}`)
	got := m.readAtOnce([]string{"a"}, readers)["a"]
	if len(got) != 1 || m.logins() != 1 {
		t.Errorf("%d tokens, %d logins", len(got), m.logins())
	}
	for token, n := range got {
		if n != readers || !m.alive(token) {
			t.Errorf("%d of %d readers were served; the token is alive: %t", n, readers, m.alive(token))
		}
	}
	if status := m.read("status/a"); status.data["reads"] != int64(readers) {
		t.Errorf("status: %v", status.data)
	}
}

// As many accounts that have no token, read at once, are as many logins, with no
// more of them at once than one host should see.
func TestCrowdOfAccounts(t *testing.T) {
	const accounts = 1000
	m := newMount(t)
	m.set(`{"any_account": true}`)
	var names []string
	for i := range accounts {
		name := fmt.Sprintf("account-%d", i)
		names = append(names, name)
		m.write("config/"+name, m.sinch(fields{"username": name, "password": name + "-secret", "verify_connection": false})).want(t, http.StatusNoContent)
	}
	tokens := map[string]bool{}
	for name, got := range m.again().readAtOnce(names, 3) {
		if len(got) != 1 {
			t.Errorf("%s: %d tokens", name, len(got))
		}
		for token, n := range got {
			if known := m.sim.Introspect(token); n != 3 || known.Account != name || !known.Active {
				t.Errorf("%s: %d readers were served with a token %+v", name, n, known)
			}
			tokens[token] = true
		}
	}
	total := m.sim.State().Total
	if len(tokens) != accounts || total.LoginsSucceeded != accounts || total.Requests != accounts || total.MaxConcurrent > 64 {
		t.Errorf("%d tokens of %d accounts; %+v", len(tokens), accounts, total)
	}
}

// Mounts share a process, and nothing else: what one has under way, and its
// Cleanup meanwhile, which returns at once, is not felt at the other.
func TestMountThatEndsIsNotFeltAtAnother(t *testing.T) {
	m, other := newMount(t), newMount(t)
	for _, one := range []*mount{m, other} {
		one.write("config/a", one.sinch(nil)).want(t, http.StatusNoContent)
	}
	token := m.token("a")
	if other.token("a") == token {
		t.Fatal("they share a token")
	}
	other.set(fmt.Sprintf(`{"latency": 60, "providers": {%q: {"any_account": true}}}`, simulator.SinchIndia))
	for i := range 100 {
		user := fmt.Sprintf("user-%d", i)
		other.write("config/"+user, other.sinch(fields{"username": user, "password": user + "-secret", "verify_connection": false})).want(t, http.StatusNoContent)
	}
	var hanging sync.WaitGroup
	for i := range 100 {
		hanging.Go(func() {
			_, err := other.HandleRequest(t.Context(), &logical.Request{Operation: logical.ReadOperation, Path: fmt.Sprintf("creds/user-%d", i), Storage: other.storage})
			if err == nil {
				t.Error("a mint that hangs has succeeded")
			}
		})
	}
	requests := other.sim.State().Total.Requests
	eventually(t, "mints hang", func() bool { return other.sim.State().Total.Requests > requests })
	begun := time.Now()
	for range 100 {
		if m.token("a") != token {
			t.Error("there is another token")
		}
	}
	other.Cleanup(t.Context())
	hanging.Wait() // they are told at once
	for range 100 {
		if m.token("a") != token {
			t.Error("there is another token")
		}
	}
	if took := time.Since(begun); took > 5*time.Second {
		t.Errorf("it took %s", took)
	}
	m.clock.advance(time.Minute)
	m.rotate("a").want(t, http.StatusOK)
	if got := m.token("a"); got == token {
		t.Error("it mints no more")
	}
}
