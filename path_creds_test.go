// SPDX-License-Identifier: MPL-2.0

package messaging

import (
	"context"
	"net/http"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hashicorp/vault/sdk/logical"
)

func TestCredsLease(t *testing.T) {
	m := newMount(t)
	m.write("config/a", m.sinch(nil)).want(t, http.StatusNoContent)
	a := m.read("creds/a")
	a.want(t, http.StatusOK)
	want := fields{"access_token": m.token("a"), "expire_time": a.data["expire_time"], "provider": "sinch-india", "token_type": "Bearer"}
	if !reflect.DeepEqual(a.data, want) {
		t.Errorf("%v, want %v", a.data, want)
	}
	expires, err := time.Parse(time.RFC3339, a.data["expire_time"].(string))
	if err != nil || m.clock.wall().Add(time.Hour).Sub(expires) > time.Minute || expires.After(m.clock.wall().Add(time.Hour)) {
		t.Errorf("expire_time is %v, %v", a.data["expire_time"], err)
	}
	if in := m.sim.Introspect(a.data["access_token"].(string)); !in.Active {
		t.Errorf("%+v", in)
	}
	if len(a.warnings) > 0 {
		t.Errorf("warnings: %v", a.warnings)
	}
}

// TTL = MaxTTL = whole seconds left, less one, at least 1; expire_time stays.
func TestCredsLeaseNeverOutlivesToken(t *testing.T) {
	m := newMount(t, newFake(lives("fake-token", time.Hour)))
	m.write("config/a", also(fields{"refresh_window": 0, "min_ttl": 2, "verify_connection": true}, fakeConfig)).want(t, http.StatusNoContent)
	expires := m.read("creds/a").data["expire_time"]
	for _, step := range []struct{ after, ttl time.Duration }{
		{0, 3599 * time.Second},
		{time.Millisecond, 3598 * time.Second},
		{999 * time.Millisecond, 3598 * time.Second},
		{time.Minute, 3538 * time.Second},
		{time.Hour - 61*time.Second - 3500*time.Millisecond, 2 * time.Second},
		{time.Second, time.Second},
		{500 * time.Millisecond, time.Second},
	} {
		m.clock.advance(step.after)
		a := m.read("creds/a")
		a.want(t, http.StatusOK)
		if s := a.secret; s == nil || s.TTL != step.ttl || s.MaxTTL != step.ttl || s.Renewable {
			t.Errorf("%+v, want a TTL of %s", s, step.ttl)
		}
		if a.data["expire_time"] != expires {
			t.Errorf("expire_time was %v and is %v", expires, a.data["expire_time"])
		}
	}
}

func TestLeaseTTL(t *testing.T) {
	for left, want := range map[time.Duration]time.Duration{
		0: 1, -5 * time.Second: 1, time.Millisecond: 1, 1999 * time.Millisecond: 1, 2 * time.Second: 1, 2999 * time.Millisecond: 1,
		3 * time.Second: 2, time.Hour: 3599, 24*time.Hour + 1: 86399,
	} {
		if got := lease(secretTokenType, left, nil).TTL; got != want*time.Second {
			t.Errorf("%s: %s, want %ds", left, got, want)
		}
	}
}

func TestCredsWithoutLease(t *testing.T) {
	m := newMount(t, newFake(lives("fake-token", time.Hour)))
	m.write("config/a", also(fields{"lease": false}, fakeConfig)).want(t, http.StatusNoContent)
	m.clock.advance(10 * time.Second)
	a := m.read("creds/a")
	want := fields{"access_token": "fake-token", "provider": "fake", "token_type": "Bearer", "expire_time": "2026-11-22T09:00:00Z",
		"ttl": int64(3560), "rotation_period": int64(3600), "last_vault_rotation": "2026-11-22T08:00:00Z"}
	if !reflect.DeepEqual(a.data, want) {
		t.Errorf("%v, want %v", a.data, want)
	}
	if a.secret != nil {
		t.Errorf("a lease: %+v", a.secret)
	}
	m.clock.advance(time.Hour - 20*time.Second)
	m.read("creds/a").want(t, http.StatusOK)
}

func TestCredsShared(t *testing.T) {
	m := newMount(t)
	m.write("config/a", m.sinch(fields{"verify_connection": false})).want(t, http.StatusNoContent)
	var readers sync.WaitGroup
	tokens := make([]string, 100)
	for i := range tokens {
		readers.Go(func() { tokens[i], _ = m.read("creds/a").data["access_token"].(string) })
	}
	readers.Wait()
	if len(slices.Compact(tokens)) != 1 || tokens[0] == "" || m.logins() != 1 {
		t.Errorf("%d tokens, %d logins", len(slices.Compact(tokens)), m.logins())
	}
}

func TestCredsMinTTL(t *testing.T) {
	m := newMount(t)
	m.write("config/a", m.sinch(fields{"refresh_window": 0})).want(t, http.StatusNoContent)
	first := m.token("a")
	read := func(minTTL string) answer {
		t.Helper()
		a := m.request(logical.ReadOperation, "creds/a", fields{"min_ttl": minTTL})
		a.want(t, http.StatusOK)
		return a
	}
	// Minted just now: there is no newer one.
	if a := read("2h"); a.data["access_token"] != first || len(a.warnings) != 1 || !strings.Contains(a.warnings[0], "counts as min_ttl") {
		t.Errorf("%v", a.warnings)
	}
	// It counts for half the lifetime, and the token has that.
	m.clock.advance(29 * time.Minute)
	for minTTL, warns := range map[string]bool{"": false, "0": false, "30m": false, "30m30s": false, "59m": true, "100h": true} {
		if a := read(minTTL); a.data["access_token"] != first || len(a.warnings) > 0 != warns {
			t.Errorf("min_ttl=%s: %v", minTTL, a.warnings)
		}
	}
	m.clock.advance(2 * time.Minute)
	if a := read("28m"); a.data["access_token"] != first || len(a.warnings) > 0 {
		t.Errorf("28m is there: %v", a.warnings)
	}
	if a := read("30m"); a.data["access_token"] == first || len(a.warnings) > 0 {
		t.Errorf("30m is not: %v", a.warnings)
	}
	if got := m.sim.State().Total; got.LoginsSucceeded+got.RefreshesSucceeded != 2 {
		t.Errorf("%+v", got)
	}
	for _, bad := range []string{"-1s", "abc", "500ms", "1.5s"} {
		m.request(logical.ReadOperation, "creds/a", fields{"min_ttl": bad}).want(t, http.StatusBadRequest, "min_ttl: must be a duration in whole seconds")
	}
	m.request(logical.ReadOperation, "creds/a", fields{"min_ttl": []string{"1", "2"}}).want(t, http.StatusBadRequest, "min_ttl: must be")
}

func TestCredsRefused(t *testing.T) {
	m := newMount(t)
	m.write("config/a", m.sinch(fields{"verify_connection": false, "password": "hunter2-wrong"})).want(t, http.StatusNoContent)
	for range 5 {
		m.read("creds/a").want(t, http.StatusBadRequest, `config "a": credentials refused`, `invalid_grant "Invalid user credentials"`,
			"; the next attempt is at the first read after 2026-11-22T08:01:00Z (in 1m0s)")
	}
	m.clock.advance(45 * time.Second)
	m.read("creds/a").want(t, http.StatusBadRequest, "(in 15s)")
	if m.logins() != 1 {
		t.Errorf("%d logins", m.logins())
	}
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
		m := newMount(t)
		m.write("config/a", m.sinch(fields{"verify_connection": false})).want(t, http.StatusNoContent)
		m.set(`{"faults":[` + fault + `]}`)
		m.read("creds/a").want(t, http.StatusBadGateway, `config "a": `, text, "next attempt")
		m.set(`{"faults":null}`)
		m.clock.advance(20 * time.Second)
		m.token("a")
	}
}

func TestCredsUnknown(t *testing.T) {
	m := newMount(t)
	m.read("creds/a").want(t, http.StatusBadRequest, `there is no config "a": write config/a first`)
	if calls := m.storage.taken(); slices.Contains(calls, "get token/a") {
		t.Errorf("%v", calls)
	}
}

// A token in hand goes on being served when the provider fails, and says so.
func TestCredsWarnWhileRefreshesFail(t *testing.T) {
	m := newMount(t)
	m.write("config/a", m.sinch(nil)).want(t, http.StatusNoContent)
	token := m.token("a")
	m.set(`{"faults":[{"kind":"status","status":503}]}`)
	m.clock.advance(50 * time.Minute)
	m.token("a") // begins a refresh
	eventually(t, "the refresh fails", func() bool { return m.read("status/a").data["failures_in_row"] == 1 })
	a := m.read("creds/a")
	if a.data["access_token"] != token || len(a.warnings) != 1 ||
		!strings.Contains(a.warnings[0], "could not be refreshed and is served until it ends (in 10m0s)") ||
		!strings.Contains(a.warnings[0], "503 Service Unavailable; the next attempt is after 2026-11-22T08:50:") {
		t.Errorf("%v", a.warnings)
	}
	// Also to a read that wants more life than there is.
	if a := m.request(logical.ReadOperation, "creds/a", fields{"min_ttl": "20m"}); a.data["access_token"] != token || len(a.warnings) != 1 {
		t.Errorf("%d %s %v", a.status, a.text, a.warnings)
	}
	m.clock.advance(10*time.Minute - 3*time.Second)
	if m.token("a") != token {
		t.Error("another token")
	}
	m.clock.advance(3 * time.Second)
	m.read("creds/a").want(t, http.StatusBadGateway, "503 Service Unavailable")
	m.set(`{"faults":null}`)
	m.clock.advance(time.Minute)
	if a := m.read("creds/a"); a.data["access_token"] == token || len(a.warnings) > 0 {
		t.Errorf("%d %s %v", a.status, a.text, a.warnings)
	}
}

// Revocation ends a lease and nothing else: it needs no provider, no config, no
// storage, and no cache.
func TestCredsRevoke(t *testing.T) {
	m := newMount(t)
	m.write("config/a", m.sinch(nil)).want(t, http.StatusNoContent)
	a := m.read("creds/a")
	if a.secret.InternalData["secret_type"] != secretTokenType {
		t.Errorf("%v", a.secret.InternalData)
	}
	revoke := func(on *mount) {
		t.Helper()
		req := logical.RevokeRequest("creds/a", a.secret, a.data)
		req.Storage = on.storage
		on.storage.taken()
		resp, err := on.HandleRequest(context.Background(), req)
		if err != nil || resp != nil {
			t.Errorf("%v, %v", resp, err)
		}
		if calls := on.storage.taken(); len(calls) > 0 {
			t.Errorf("it used the storage: %v", calls)
		}
	}
	revoke(m)
	if m.token("a") != a.data["access_token"] {
		t.Error("the revocation took the token from its other readers")
	}
	requests := m.sim.State().Total.Requests
	m.storage.failing(func(string, string) error { return errStorage })
	revoke(m)
	revoke(m.again())
	m.storage.failing(nil)
	m.delete("config/a").want(t, http.StatusNoContent)
	revoke(m)
	m.Cleanup(context.Background())
	revoke(m)
	if got := m.sim.State().Total.Requests; got != requests {
		t.Errorf("%d requests to the provider", got-requests)
	}
}
