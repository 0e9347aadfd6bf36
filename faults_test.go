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

// faultCases are the operations whose every use of the storage is made to fail in
// turn. Each begins with config/a there and its token read, unless it is cold (as
// after a restart), tokenless (cold, and no token is stored) or new.
var faultCases = map[string]struct {
	cold, tokenless, new bool
	do                   func(*mount) answer
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
				m.set(`{"any_account": true}`)
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
					m = m.again()
				}
				before, calls, failed := m.storage.snapshot(), 0, ""
				m.storage.failing(func(op, key string) error {
					if strings.HasPrefix(key, framework.WALPrefix) {
						return nil // of revocations, which are none of the operation's
					}
					if calls++; calls == failing {
						failed = op + " " + key
						return fmt.Errorf("%s of %s: %w", op, key, errStorage)
					}
					return nil
				})
				a := test.do(m)
				m.storage.failing(nil)
				if failed == "" {
					if a.status >= 300 {
						t.Errorf("without a fault: %d %s", a.status, a.text)
					}
					break
				}
				checkFault(t, m, failed, a, before["config/a"])

				// With a storage that works the operation does what it should.
				m.clock.advance(time.Minute)
				if a := test.do(m); a.status >= 300 {
					t.Errorf("%s failed: then %d %s", failed, a.status, a.text)
				}
				checkAgreement(t, m, failed+" failed, and then did not")
			}
		})
	}
}

// checkFault checks what is to be seen of one fault; old is the config before.
func checkFault(t *testing.T, m *mount, failed string, a answer, old string) {
	t.Helper()
	if strings.HasPrefix(failed, "put token/") {
		// The token is served all the same, and the failure logged.
		if a.status >= 300 || !strings.Contains(m.log.String(), "the token is served, but will not survive a restart: mount=messaging/ config=a") {
			t.Errorf("%s failed: %d %s", failed, a.status, a.text)
		}
	} else {
		if a.status != http.StatusInternalServerError || !strings.Contains(a.text, errStorage.Error()) {
			t.Errorf("%s failed: %d %s", failed, a.status, a.text)
		}
		op, key, _ := strings.Cut(failed, " ")
		said := map[string]string{"get": "reading " + key + " from storage: ", "put": "storing " + key + ": ",
			"delete": "deleting " + key + " from storage: ", "list": "listing " + key + " in storage: "}[op]
		if !strings.Contains(a.text, said) {
			t.Errorf("%s failed: %q does not say %q", failed, a.text, said)
		}
		if now := m.storage.snapshot()["config/a"]; now != old {
			t.Errorf("%s failed: the config was %s and is %s", failed, old, now)
		}
	}
	checkAgreement(t, m, failed+" failed")
}

// checkAgreement checks that what this backend says of config/a is what one says
// that has only the storage, and that whatever token there is, is alive.
func checkAgreement(t *testing.T, m *mount, when string) {
	t.Helper()
	here, there := m.read("config/a"), m.again().read("config/a")
	if here.status != there.status || fmt.Sprint(here.data) != fmt.Sprint(there.data) {
		t.Errorf("%s: config/a is %v, from storage %v", when, here.data, there.data)
	}
	stored := m.storage.snapshot()
	if stored["config/a"] == "" {
		if stored["token/a"] != "" {
			t.Errorf("%s: a token without a config", when)
		}
		m.read("creds/a").want(t, http.StatusBadRequest, `there is no config "a"`)
		return
	}
	for _, n := range []*mount{m, m.again()} {
		if in := m.sim.Introspect(n.token("a")); !in.Active || in.Account != here.data["username"] {
			t.Errorf("%s: %+v of %v", when, in, here.data["username"])
		}
	}
}

// A write whose commit failed may have been carried out all the same (an answer
// that was lost): then that is what counts from now on.
func TestLostAnswer(t *testing.T) {
	m := newMount(t)
	m.set(`{"any_account": true}`)
	m.write("config/a", m.sinch(nil)).want(t, http.StatusNoContent)
	m.token("a")
	var lost bool
	m.storage.failing(func(op, key string) error {
		if op == "put" && key == "config/a" && !lost {
			lost = true
			m.storage.put(key, strings.Replace(m.storage.snapshot()[key], `"revision":"`, `"revision":"x`, 1))
			return errStorage
		}
		return nil
	})
	m.write("config/a", fields{"username": "eve", "password": "eve-secret"}).want(t, http.StatusInternalServerError)
	m.storage.failing(nil)
	checkAgreement(t, m, "the answer was lost")
}
