// SPDX-License-Identifier: MPL-2.0

package messaging

import (
	"net/http"
	"reflect"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/hashicorp/vault/sdk/logical"
)

func TestCredsWithLease(t *testing.T) {
	m := newSinchMount(t, nil)
	a := m.read("creds/a")
	want := fields{"access_token": m.token("a"), "expire_time": "2026-11-22T09:00:00Z", "provider": "sinch-india", "token_type": "Bearer"}
	if !reflect.DeepEqual(a.data, want) || len(a.warnings) > 0 || a.secret == nil {
		t.Errorf("got %v with the lease %v and the warnings %q, want %v with a lease", a.data, a.secret, a.warnings, want)
	}
	if !m.alive(a.token()) {
		t.Error("got a token that the provider does not accept")
	}
}

func TestCredsWithoutLease(t *testing.T) {
	m := newFakeMount(t, newFake(minting("fake-token", time.Hour)), fields{"lease": false})
	m.clock.advance(10 * time.Second)
	a := m.read("creds/a")
	want := fields{"access_token": "fake-token", "provider": "fake", "token_type": "Bearer", "expire_time": "2026-11-22T09:00:00Z",
		"ttl": int64(3560), "rotation_period": int64(3600), "last_vault_rotation": "2026-11-22T08:00:00Z"}
	if !reflect.DeepEqual(a.data, want) || a.secret != nil {
		t.Errorf("got %v with the lease %v, want %v without a lease", a.data, a.secret, want)
	}
	m.clock.advance(time.Hour - 20*time.Second)
	m.read("creds/a").want(t, http.StatusOK)
}

func TestCredsShared(t *testing.T) {
	m := newSinchMount(t, fields{"verify_connection": false})
	var readers sync.WaitGroup
	tokens := make([]string, 100)
	for i := range tokens {
		readers.Go(func() { tokens[i] = m.read("creds/a").token() })
	}
	readers.Wait()
	if got := len(slices.Compact(tokens)); got != 1 || tokens[0] == "" {
		t.Errorf("got %d tokens, want 1", got)
	}
	m.wantLogins(1)
}

func TestCredsMinTTL(t *testing.T) {
	m := newSinchMount(t, fields{"refresh_window": 0})
	first := m.token("a")
	read := func(minTTL string, same, warns bool) {
		t.Helper()
		a := m.request(logical.ReadOperation, "creds/a", fields{"min_ttl": minTTL})
		if a.status != http.StatusOK || (a.token() == first) != same || len(a.warnings) > 0 != warns {
			t.Errorf("min_ttl=%s: got %d %s, the first token: %t, the warnings %q; want 200, the first token: %t, a warning: %t",
				minTTL, a.status, a.text, a.token() == first, a.warnings, same, warns)
		}
		if warns {
			a.wantWarning(t, "at most half the token's lifetime counts as min_ttl")
		}
	}
	read("2h", true, true) // nothing is newer than a token that was minted just now
	m.clock.advance(29 * time.Minute)
	for minTTL, warns := range map[string]bool{"": false, "0": false, "30m": false, "30m30s": false, "59m": true, "100h": true} {
		read(minTTL, true, warns)
	}
	m.clock.advance(2 * time.Minute)
	read("28m", true, false)
	read("30m", false, false)
	if got := m.sim.State().Total; got.LoginsSucceeded+got.RefreshesSucceeded != 2 {
		t.Errorf("got %+v, want 2 logins and refreshes", got)
	}
	for _, bad := range []any{"-1s", "abc", "500ms", "1.5s", []string{"1", "2"}} {
		m.request(logical.ReadOperation, "creds/a", fields{"min_ttl": bad}).want(t, http.StatusBadRequest, "min_ttl: "+mustDuration)
	}
}

func TestCredsWarnOfTooLittleLife(t *testing.T) {
	m := newFakeMount(t, newFake(minting("fake-token", 12*time.Second)), nil)
	m.clock.advance(7 * time.Second)
	m.request(logical.ReadOperation, "creds/a", fields{"min_ttl": 6}).
		wantWarning(t, "this token ends in 5s, which is less than 6s, and there is no newer token: the token was minted within the last 10s")
}

func TestCredsRefused(t *testing.T) {
	m := newSinchMount(t, fields{"verify_connection": false, "password": "hunter2-wrong"})
	for range 5 {
		m.read("creds/a").want(t, http.StatusBadRequest, `config "a": credentials refused`, `invalid_grant "Invalid user credentials"`,
			"; the next attempt is at the first read after 2026-11-22T08:01:00Z (in 1m0s)")
	}
	m.clock.advance(45 * time.Second)
	m.read("creds/a").want(t, http.StatusBadRequest, "(in 15s)")
	m.wantLogins(1)
	m.clock.advance(15 * time.Second)
	m.read("creds/a").want(t, http.StatusBadRequest, "(in 2m0s)")
}

func TestCredsUnavailable(t *testing.T) {
	for fault, text := range map[string]string{
		`{"kind":"status","status":429,"retry_after":"20"}`: "asking to wait 20s; the next attempt is at the first read after 2026-11-22T08:00:20Z (in 20s)",
		`{"kind":"status","status":500}`:                    "500 Internal Server Error",
		`{"kind":"close-before"}`:                           "the connection was closed before the answer was complete",
		`{"kind":"truncated"}`:                              "the body must be a JSON object",
	} {
		m := newSinchMount(t, fields{"verify_connection": false})
		m.simulate(`{"faults":[` + fault + `]}`)
		m.read("creds/a").want(t, http.StatusBadGateway, `config "a": `, text, "next attempt")
		m.simulate(`{"faults":null}`)
		m.clock.advance(20 * time.Second)
		m.token("a")
	}
}

func TestCredsUnknown(t *testing.T) {
	m := newMount(t)
	m.read("creds/a").want(t, http.StatusBadRequest, `there is no config "a": write config/a first`)
	if got := m.storage.takeCalls(); slices.Contains(got, "get token/a") {
		t.Errorf("got %q from storage, want no token of an unknown config", got)
	}
}

func TestCredsWarnWhileRefreshesFail(t *testing.T) {
	m := newSinchMount(t, nil)
	token := m.token("a")
	m.simulate(`{"faults":[{"kind":"status","status":503}]}`)
	m.clock.advance(50 * time.Minute)
	m.token("a") // starts a refresh
	eventually(t, "the refresh fails", func() bool { return m.status("failures_in_row") == 1 })
	for _, data := range []fields{nil, {"min_ttl": "20m"}} {
		a := m.request(logical.ReadOperation, "creds/a", data)
		if a.token() != token {
			t.Errorf("read with %v: got %d %s, want the cached token", data, a.status, a.text)
		}
		a.wantWarning(t, "could not be refreshed and is served until it ends (in 10m0s)", "503 Service Unavailable; the next attempt is after 2026-11-22T08:50:")
	}
	m.clock.advance(10*time.Minute - 3*time.Second)
	if m.token("a") != token {
		t.Error("3 s before the end: got another token, want the cached token")
	}
	m.clock.advance(3 * time.Second)
	m.read("creds/a").want(t, http.StatusBadGateway, "503 Service Unavailable")
	m.simulate(`{"faults":null}`)
	m.clock.advance(time.Minute)
	if a := m.read("creds/a"); a.token() == token || len(a.warnings) > 0 {
		t.Errorf("after the outage: got %d %s with the warnings %q, want a new token", a.status, a.text, a.warnings)
	}
}

func TestCredsList(t *testing.T) {
	m := newMount(t)
	m.list("creds/").want(t, http.StatusNotFound)
	for _, name := range []string{"b", "a"} {
		m.write("config/"+name, m.sinch(fields{"verify_connection": false})).want(t, http.StatusNoContent)
	}
	if keys, want := m.list("creds/").data["keys"], []string{"a", "b"}; !reflect.DeepEqual(keys, want) {
		t.Errorf("got %v, want %v", keys, want)
	}
	if n := m.logins(); n != 0 {
		t.Errorf("got %d logins, want none", n)
	}
}

// The operator's word counts where the provider states a lifetime that cannot be.
func TestCredsOperatorTTL(t *testing.T) {
	for _, field := range []string{"max_ttl", "default_ttl"} {
		m := newMount(t)
		m.simulate(`{"faults":[{"kind":"expiry-negative"}]}`)
		m.write("config/a", m.sinch(fields{field: "5m"})).want(t, http.StatusNoContent)
		a := m.read("creds/a")
		a.want(t, http.StatusOK)
		if got := a.secret.TTL; got > 5*time.Minute || got < 4*time.Minute {
			t.Errorf("%s=5m: got a lease of %s, want 5m", field, got)
		}
	}
}
