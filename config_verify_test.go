// SPDX-License-Identifier: MPL-2.0

package messaging

import (
	"context"
	"maps"
	"net/http"
	"testing"
	"time"

	"vault-plugin-secrets-messaging/internal/token"
)

func TestVerifyWarmsTheCache(t *testing.T) {
	m := newMount(t)
	m.write("config/a", m.sinch(nil)).want(t, http.StatusNoContent)
	m.token("a")
	if m.logins() != 1 {
		t.Errorf("%d logins", m.logins())
	}
	if m.storage.snapshot()["token/a"] == "" {
		t.Error("the token was not stored")
	}
}

func TestVerifyRefuses(t *testing.T) {
	for name, test := range map[string]struct {
		config func(*mount) fields
		knobs  string
		status int
		text   string
	}{
		"password":     {func(m *mount) fields { return m.sinch(fields{"password": "hunter2-wrong"}) }, `{}`, 400, `nothing was stored: config "a": credentials refused: `},
		"own words":    {func(m *mount) fields { return m.sinch(fields{"password": "hunter2-wrong"}) }, `{}`, 400, `invalid_grant "Invalid user credentials"`},
		"with a 200":   {func(m *mount) fields { return m.enablex("rcs", fields{"app_key": "hunter2-wrong"}) }, `{}`, 400, `1003 "Authentication failed: invalid credentials or the account has been deactivated"`},
		"echoed":       {func(m *mount) fields { return m.sinch(fields{"password": "hunter2-wrong"}) }, `{"echo_secrets":["raw","url","base64","json"]}`, 400, "(text withheld because it contains a secret)"},
		"rate limited": {func(m *mount) fields { return m.sinch(nil) }, `{"faults":[{"kind":"status","status":429,"retry_after":"30"}]}`, 502, "asking to wait 30s"},
		"unavailable":  {func(m *mount) fields { return m.sinch(nil) }, `{"faults":[{"kind":"status","status":503}]}`, 502, "503 Service Unavailable"},
		"nonsense":     {func(m *mount) fields { return m.sinch(nil) }, `{"faults":[{"kind":"not-json"}]}`, 502, "the body must be a JSON object"},
		"no server":    {func(m *mount) fields { return m.sinch(fields{"token_url": "http://127.0.0.1:1/"}) }, `{}`, 502, "connection refused"},
	} {
		t.Run(name, func(t *testing.T) {
			m := newMount(t)
			m.set(test.knobs)
			m.write("config/a", test.config(m)).want(t, test.status, "nothing was stored", test.text)
			if keys := m.storage.keys(); len(keys) > 0 {
				t.Errorf("stored: %v", keys)
			}
			m.read("config/a").want(t, http.StatusNotFound)
		})
	}
}

// A refused write changes neither what is stored nor what is served.
func TestVerifyRefusesUpdate(t *testing.T) {
	m := newMount(t)
	m.write("config/a", m.sinch(nil)).want(t, http.StatusNoContent)
	token, before := m.token("a"), m.storage.snapshot()
	for _, data := range []fields{
		{"password": "hunter2-wrong"},
		{"username": "nobody"},
		{"password": "hunter2-wrong", "verify_connection": true},
		{"token_url": m.url + "/realms/nowhere", "password": "correct-horse"},
	} {
		a := m.write("config/a", data)
		if a.status != http.StatusBadRequest && a.status != http.StatusBadGateway {
			t.Errorf("%v: %d %s", data, a.status, a.text)
		}
		if got := m.patch("config/a", data).status; got != a.status {
			t.Errorf("%v: %d, but %d as a patch", data, a.status, got)
		}
		if !maps.Equal(before, m.storage.snapshot()) {
			t.Errorf("%v changed what is stored", data)
		}
		if m.token("a") != token {
			t.Errorf("%v changed what is served", data)
		}
	}
}

func TestVerifyWhen(t *testing.T) {
	for name, test := range map[string]struct {
		data fields
		mint bool // at the write
		keep bool // the token
	}{
		"lifetimes":             {fields{"refresh_window": 0, "min_ttl": 5, "max_ttl": "50m", "default_ttl": 60, "lease": false, "request_timeout": 3}, false, true},
		"lifetimes, explicitly": {fields{"min_ttl": 5, "verify_connection": true}, true, false},
		"nothing":               {fields{}, false, true},
		"the same password":     {fields{"password": "correct-horse"}, false, true},
		"the same, explicitly":  {fields{"password": "correct-horse", "verify_connection": "true"}, true, false},
		"another user":          {fields{"username": "eve", "password": "eve-secret"}, true, false},
		"another, unverified":   {fields{"username": "eve", "password": "eve-secret", "verify_connection": false}, false, false},
		"null is the default":   {fields{"username": "eve", "password": "eve-secret", "verify_connection": nil}, true, false},
		"endpoint":              {fields{"environment": "uat", "password": "correct-horse"}, true, false},
	} {
		t.Run(name, func(t *testing.T) {
			m := newMount(t)
			m.set(`{"any_account": true}`)
			m.write("config/a", m.sinch(nil)).want(t, http.StatusNoContent)
			token, logins := m.token("a"), m.logins()
			m.write("config/a", test.data).want(t, http.StatusNoContent)
			if minted := m.logins() > logins; minted != test.mint {
				t.Errorf("minted at the write: %v", minted)
			}
			if kept := m.token("a") == token; kept != test.keep {
				t.Errorf("kept the token: %v", kept)
			}
			if got, want := m.logins(), logins+map[bool]int{false: 1, true: 0}[test.keep]; got != want {
				t.Errorf("%d logins, want %d", got, want)
			}
			if m.again().token("a") != m.token("a") {
				t.Error("another token after a restart")
			}
		})
	}
}

// A config write clears the backoff, but never a Retry-After.
func TestWriteAndBackoff(t *testing.T) {
	m := newMount(t)
	m.write("config/a", m.sinch(fields{"verify_connection": false, "password": "hunter2-wrong"})).want(t, http.StatusNoContent)
	m.read("creds/a").want(t, http.StatusBadRequest, "next attempt")
	m.write("config/a", fields{"password": "correct-horse"}).want(t, http.StatusNoContent)
	m.token("a")

	m.write("config/b", m.sinch(fields{"verify_connection": false})).want(t, http.StatusNoContent)
	m.set(`{"faults":[{"kind":"status","status":429,"retry_after":"60","count":1}]}`)
	m.read("creds/b").want(t, http.StatusBadGateway, "429")
	requests := m.sim.State().Total.Requests
	m.write("config/b", fields{"username": "eve"}).want(t, http.StatusBadGateway, "nothing was stored: the provider asked for no more requests until 2026-11-22T08:01:00Z")
	m.write("config/b", fields{"password": "correct-horse", "username": "acme", "verify_connection": false}).want(t, http.StatusNoContent)
	m.read("creds/b").want(t, http.StatusBadGateway, "429")
	m.request("update", "rotate/b", nil).want(t, http.StatusBadGateway, "429", "2026-11-22T08:01:00Z")
	if got := m.sim.State().Total.Requests; got != requests {
		t.Errorf("%d requests while the provider had asked for none", got-requests)
	}
	m.clock.advance(61 * time.Second)
	m.token("b")
}

// A write that hangs at the provider holds up no reader.
func TestVerifyHoldsUpNoReader(t *testing.T) {
	f := newFake(lives("fake-token-1", time.Hour))
	m := newMount(t, f)
	m.write("config/a", fakeConfig).want(t, http.StatusNoContent)
	asked, answer := make(chan struct{}), make(chan struct{})
	slow := func(context.Context) (token.Token, error) {
		close(asked)
		<-answer
		return token.Token{Access: "fake-token-2", Type: "Bearer", Lifetime: time.Hour}, nil
	}
	f.mint.Store(&slow)
	done := make(chan struct{})
	go func() {
		defer close(done)
		if a := m.write("config/a", fields{"password": "other-hunter2"}); a.status != http.StatusNoContent {
			t.Errorf("%d %s", a.status, a.text)
		}
	}()
	<-asked
	if got := m.token("a"); got != "fake-token-1" {
		t.Errorf("meanwhile %s", got)
	}
	m.read("config/a").want(t, http.StatusOK)
	close(answer)
	<-done
	if got := m.token("a"); got != "fake-token-2" {
		t.Errorf("afterwards %s", got)
	}
}

// A write that verifies tells that the credentials are taken: reads need not wait any
// longer for the end of a backoff, also where the token is not kept.
func TestVerifyForgetsFailures(t *testing.T) {
	for _, share := range []bool{true, false} {
		m := newMount(t)
		m.write("config/a", m.sinch(fields{"share": share, "verify_connection": false})).want(t, http.StatusNoContent)
		m.set(`{"faults": [{"kind": "refuse"}]}`)
		m.read("creds/a").want(t, http.StatusBadRequest, "next attempt")
		m.set(`{"faults": null}`)
		m.read("creds/a").want(t, http.StatusBadRequest, "next attempt")
		m.write("config/a", fields{"verify_connection": true}).want(t, http.StatusNoContent)
		m.token("a")
	}
}
