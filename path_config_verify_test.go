// SPDX-License-Identifier: MPL-2.0

package messaging

import (
	"fmt"
	"net/http"
	"testing"
	"time"
)

func TestVerifyRefuses(t *testing.T) {
	for name, test := range map[string]struct {
		config func(*mount, fields) fields
		more   fields
		status int
		text   string
	}{
		"a wrong password":             {(*mount).sinch, fields{"password": "hunter2-wrong"}, 400, `config "a": credentials refused: `},
		"a wrong key, reported by 200": {(*mount).rcs, fields{"app_key": "hunter2-wrong"}, 400, `1003 "Authentication failed: invalid credentials or the account has been deactivated"`},
		"no server":                    {(*mount).sinch, fields{"token_url": "http://127.0.0.1:1/"}, 502, "connection refused"},
	} {
		t.Run(name, func(t *testing.T) {
			m := newMount(t)
			m.write("config/a", test.config(m, test.more)).want(t, test.status, "nothing was stored: ", test.text)
			m.wantStored()
			m.read("config/a").want(t, http.StatusNotFound)
		})
	}
}

func TestVerifyRefusesUpdate(t *testing.T) {
	m := newSinchMount(t, nil)
	token, before := m.token("a"), m.storage.snapshot()
	for _, data := range []fields{
		{"password": "hunter2-wrong"},
		{"username": "nobody"},
		{"password": "hunter2-wrong", "verify_connection": true},
		{"token_url": m.url + "/realms/nowhere", "password": "correct-horse"},
	} {
		a := m.write("config/a", data)
		if a.status != http.StatusBadRequest && a.status != http.StatusBadGateway {
			t.Errorf("update with %v: got %d %s, want 400 or 502", data, a.status, a.text)
		}
		equal(t, fmt.Sprintf("status of a patch with %v", data), m.patch("config/a", data).status, a.status)
		equal(t, fmt.Sprintf("storage after %v", data), m.storage.snapshot(), before)
		equal(t, fmt.Sprintf("token after %v", data), m.token("a"), token)
	}
}

func TestVerifyWhen(t *testing.T) {
	for name, test := range map[string]struct {
		data fields
		mint bool // during the write
		keep bool // the token after the write
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
			m := newSinchMount(t, nil)
			m.simulate(`{"any_account": true}`)
			token, logins := m.token("a"), m.logins()
			m.write("config/a", test.data).want(t, http.StatusNoContent)
			equal(t, "a mint during the write", m.logins() > logins, test.mint)
			equal(t, "the same token", m.token("a") == token, test.keep)
			m.wantLogins(logins + map[bool]int{false: 1, true: 0}[test.keep])
			equal(t, "token after a restart", m.restart().token("a"), m.token("a"))
		})
	}
}

// A config write ends a backoff, but not a provider's Retry-After.
func TestWriteAndBackoff(t *testing.T) {
	m := newSinchMount(t, fields{"verify_connection": false, "password": "hunter2-wrong"})
	m.read("creds/a").want(t, http.StatusBadRequest, "next attempt")
	m.write("config/a", fields{"password": "correct-horse"}).want(t, http.StatusNoContent)
	m.token("a")

	m.write("config/b", m.sinch(fields{"verify_connection": false})).want(t, http.StatusNoContent)
	m.simulate(`{"faults":[{"kind":"status","status":429,"retry_after":"60","count":1}]}`)
	m.read("creds/b").want(t, http.StatusBadGateway, "429")
	requests := m.requests()
	m.write("config/b", fields{"password": "other-horse"}).want(t, http.StatusBadGateway, "nothing was stored: the provider asked for no more requests until 2026-11-22T08:01:00Z")
	m.write("config/b", fields{"password": "correct-horse", "verify_connection": false}).want(t, http.StatusNoContent)
	m.read("creds/b").want(t, http.StatusBadGateway, "429")
	m.rotate("b").want(t, http.StatusBadGateway, "429", "2026-11-22T08:01:00Z")
	equal(t, "requests before the time that the provider named", m.requests()-requests, 0)
	m.clock.advance(61 * time.Second)
	m.token("b")
}

// A Retry-After applies only to the host and client that received it.
func TestRetryAfterOfAnotherClient(t *testing.T) {
	m := newSinchMount(t, fields{"verify_connection": false})
	m.simulate(`{"any_account": true, "faults":[{"kind":"status","status":429,"retry_after":"900","count":1}]}`)
	m.read("creds/a").want(t, http.StatusBadGateway, "429")
	m.write("config/a", fields{"username": "eve", "password": "eve-secret"}).want(t, http.StatusNoContent)
	m.token("a")
}

// A write waits 10 s for the provider. Then nothing is stored.
func TestVerificationTakesLong(t *testing.T) {
	t.Parallel()
	f := newFake(minting("fake-token", time.Hour))
	m := newFakeMount(t, f, nil)
	m.token("a")
	_, release := block(f)
	defer release()
	before := m.storage.snapshot()["config/a"]
	began := time.Now()
	m.write("config/a", fields{"password": "other-hunter2"}).want(t, http.StatusBadGateway, "nothing was stored", "within 10s")
	if took := time.Since(began); took < 9*time.Second || took > 30*time.Second { // a mint may take 2 minutes
		t.Errorf("got an answer after %s, want it after 10s", took)
	}
	equal(t, "stored config", m.storage.snapshot()["config/a"], before)
}

func TestReadersDoNotWaitForVerification(t *testing.T) {
	f := newFake(minting("fake-token-1", time.Hour))
	m := newFakeMount(t, f, nil)
	started, release := block(f)
	defer release()
	done := async(func() answer { return m.write("config/a", fields{"password": "other-hunter2"}) })
	<-started
	equal(t, "token during the write", m.token("a"), "fake-token-1")
	m.read("config/a").want(t, http.StatusOK)
	release()
	(<-done).want(t, http.StatusNoContent)
	equal(t, "token after the write", m.token("a"), "late-token")
}

// A verified write shows that the credentials work, so the write ends a backoff.
func TestVerifyForgetsFailures(t *testing.T) {
	for _, share := range []bool{true, false} {
		m := newSinchMount(t, fields{"share": share, "verify_connection": false})
		m.simulate(`{"faults": [{"kind": "refuse"}]}`)
		m.read("creds/a").want(t, http.StatusBadRequest, "next attempt")
		m.simulate(`{"faults": null}`)
		m.read("creds/a").want(t, http.StatusBadRequest, "next attempt")
		m.write("config/a", fields{"verify_connection": true}).want(t, http.StatusNoContent)
		m.token("a")
	}
}
