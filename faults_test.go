// SPDX-License-Identifier: MPL-2.0

package messaging

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/vault/sdk/framework"
	"github.com/hashicorp/vault/sdk/logical"
)

// faultCases are operations for TestStorageFaults. By default, config/a exists and its token is
// cached.
var faultCases = map[string]struct {
	cold      bool // the mount was restarted, and the token is only in storage
	tokenless bool // the mount was restarted, and no token is stored
	new       bool // config/a does not exist
	do        func(*mount) answer
}{
	"create":              {new: true, do: func(m *mount) answer { return m.write("config/a", m.sinch(nil)) }},
	"create, unverified":  {new: true, do: func(m *mount) answer { return m.write("config/a", m.sinch(fields{"verify_connection": false})) }},
	"update of lifetimes": {do: func(m *mount) answer { return m.write("config/a", fields{"min_ttl": 77}) }},
	"update, cold":        {cold: true, do: func(m *mount) answer { return m.write("config/a", fields{"min_ttl": 77}) }},
	"update of a user":    {do: func(m *mount) answer { return m.write("config/a", fields{"username": "eve", "password": "eve-secret"}) }},
	"the same, unverified": {do: func(m *mount) answer {
		return m.write("config/a", fields{"username": "eve", "password": "eve-secret", "verify_connection": false})
	}},
	"patch":            {do: func(m *mount) answer { return m.patch("config/a", fields{"username": "eve", "password": "eve-secret"}) }},
	"delete":           {do: func(m *mount) answer { return m.delete("config/a") }},
	"delete, cold":     {cold: true, do: func(m *mount) answer { return m.delete("config/a") }},
	"read":             {do: func(m *mount) answer { return m.read("config/a") }},
	"list":             {do: func(m *mount) answer { return m.list("config/") }},
	"creds":            {do: func(m *mount) answer { return m.read("creds/a") }},
	"creds, cold":      {cold: true, do: func(m *mount) answer { return m.read("creds/a") }},
	"creds, tokenless": {tokenless: true, do: func(m *mount) answer { return m.read("creds/a") }},
	"rotate":           {do: func(m *mount) answer { return m.rotate("a") }},
	"rotate, cold":     {cold: true, do: func(m *mount) answer { return m.rotate("a") }},
	"status":           {do: func(m *mount) answer { return m.read("status/a") }},
	"status list":      {do: func(m *mount) answer { return m.list("status/") }},
	"providers":        {do: func(m *mount) answer { return m.read("providers/oauth2") }},
	"help":             {do: func(m *mount) answer { return m.request(logical.HelpOperation, "config/a", nil) }},
	"tick":             {do: func(m *mount) answer { return m.tick() }},
}

func TestStorageFaults(t *testing.T) {
	for name, test := range faultCases {
		t.Run(name, func(t *testing.T) {
			for failing := 1; ; failing++ {
				m := newMount(t)
				m.simulate(`{"any_account": true}`)
				if !test.new {
					m.write("config/a", m.sinch(nil)).want(t, http.StatusNoContent)
					m.token("a")
					m.clock.advance(time.Minute)
				}
				if test.tokenless {
					if err := m.storage.InmemStorage.Delete(t.Context(), "token/a"); err != nil {
						t.Fatal(err)
					}
				}
				if test.cold || test.tokenless {
					m = m.restart()
				}
				before := m.storage.snapshot()
				failed := m.storage.failCall(failing)
				a := test.do(m)
				m.storage.failWith(nil)
				if *failed == "" {
					a.succeeded(t, "without a fault")
					break
				}
				checkFault(t, m, *failed, a, before["config/a"])

				m.clock.advance(time.Minute)
				test.do(m).succeeded(t, "after "+*failed+" failed")
				checkAgreement(t, m, "after "+*failed+" failed once")
			}
		})
	}
}

// failCall makes one storage call fail, and describes it in *failed. Calls are counted from 1.
// Calls of background revocations do not count.
func (s *storage) failCall(number int) (failed *string) {
	calls, failed := 0, new(string)
	s.failWith(func(op, key string) error {
		if strings.HasPrefix(key, framework.WALPrefix) {
			return nil
		}
		if calls++; calls != number {
			return nil
		}
		*failed = op + " " + key
		return errStorage
	})
	return failed
}

// checkFault checks the answer and the state after one fault. The parameter old is the config
// before the operation.
func checkFault(t *testing.T, m *mount, failed string, a answer, old string) {
	t.Helper()
	if strings.HasPrefix(failed, "put token/") {
		a.succeeded(t, failed+" failed")
		// Only config writes and rotates return this warning.
		const unsaved = "the new token is in use but could not be stored; the engine tries to store it again: "
		if warned := strings.Contains(strings.Join(a.warnings, "\n"), unsaved); warned != (a.token() == "") {
			t.Errorf("%s failed: got the warnings %q, want %q unless the answer has a token", failed, a.warnings, unsaved)
		}
	} else {
		op, key, _ := strings.Cut(failed, " ")
		want := map[string]string{"get": "reading " + key + " from storage: ", "put": "storing " + key + ": ",
			"delete": "deleting " + key + " from storage: ", "list": "listing " + key + " in storage: "}[op]
		if a.status != http.StatusInternalServerError || !strings.Contains(a.text, want) || !strings.Contains(a.text, errStorage.Error()) {
			t.Errorf("%s failed: got %d %q, want 500 with %q and %q", failed, a.status, a.text, want, errStorage)
		}
		equal(t, "config after "+failed+" failed", m.storage.snapshot()["config/a"], old)
	}
	checkAgreement(t, m, "after "+failed+" failed")
}

// checkAgreement starts another mount with m's storage. Both mounts must show the same config/a and
// serve a valid token.
func checkAgreement(t *testing.T, m *mount, when string) {
	t.Helper()
	here, there := m.read("config/a"), m.restart().read("config/a")
	if here.status != there.status || fmt.Sprint(here.data) != fmt.Sprint(there.data) {
		t.Errorf("%s: config/a: got %v, want %v as in storage", when, here.data, there.data)
	}
	stored := m.storage.snapshot()
	if stored["config/a"] == "" {
		if stored["token/a"] != "" {
			t.Errorf("%s: got a stored token without a config", when)
		}
		m.read("creds/a").want(t, http.StatusBadRequest, `there is no config "a"`)
		return
	}
	for _, n := range []*mount{m, m.restart()} {
		if in := m.sim.Introspect(n.token("a")); !in.Active || in.Account != here.data["username"] {
			t.Errorf("%s: got a token of %+v, want an active one of %v", when, in, here.data["username"])
		}
	}
}

// If storage stores a config but returns an error, the engine continues with the stored config.
func TestLostAnswerOfStorage(t *testing.T) {
	m := newMount(t)
	m.simulate(`{"any_account": true}`)
	m.write("config/a", m.sinch(nil)).want(t, http.StatusNoContent)
	m.token("a")
	var lost bool
	m.storage.failWith(func(op, key string) error {
		if op == "put" && key == "config/a" && !lost {
			lost = true
			m.storage.put(key, strings.Replace(m.storage.snapshot()[key], `"revision":"`, `"revision":"x`, 1))
			return errStorage
		}
		return nil
	})
	m.write("config/a", fields{"username": "eve", "password": "eve-secret"}).want(t, http.StatusInternalServerError)
	m.storage.failWith(nil)
	checkAgreement(t, m, "after the lost answer")
}
