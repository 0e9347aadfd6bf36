// SPDX-License-Identifier: MPL-2.0

package messaging

import (
	"maps"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"
)

func TestStatus(t *testing.T) {
	m := newMount(t)
	m.read("status/a").want(t, http.StatusNotFound)
	m.list("status/").want(t, http.StatusNotFound)
	m.write("config/a", m.sinch(fields{"verify_connection": false})).want(t, http.StatusNoContent)
	want := fields{"provider": "sinch-india", "environment": "production", "state": "empty", "reads": int64(0), "mints": int64(0), "failures_in_row": 0,
		"minted_time": "", "expire_time": "", "refresh_due_time": "", "next_attempt": "", "credentials_written": "2026-11-22T08:00:00Z"}
	check := func(what string) {
		t.Helper()
		equal(t, "status "+what, m.read("status/a").data, want)
		equal(t, "list "+what, m.list("status/").data["key_info"], fields{"a": want})
	}
	check("at first")
	m.wantLogins(0)

	for range 3 {
		m.token("a")
	}
	maps.Copy(want, fields{"state": "fresh", "reads": int64(3), "mints": int64(1),
		"minted_time": "2026-11-22T08:00:00Z", "expire_time": "2026-11-22T09:00:00Z", "refresh_due_time": "2026-11-22T08:48:00Z"})
	check("after three reads")

	m.simulate(`{"faults":[{"kind":"status","status":429,"retry_after":"40"}]}`)
	m.clock.advance(50 * time.Minute)
	m.token("a")
	eventually(t, "the refresh fails", func() bool { return m.status("state") == "backing_off" })
	lastError, _ := m.status("last_error").(string)
	if !strings.HasPrefix(lastError, `config "a": `) || !strings.Contains(lastError, "429 Too Many Requests, asking to wait 40s") {
		t.Errorf("last_error: got %q, want the config and the provider's answer", lastError)
	}
	maps.Copy(want, fields{"state": "backing_off", "reads": int64(4), "failures_in_row": 1, "next_attempt": "2026-11-22T08:50:40Z",
		"last_error": lastError, "last_error_kind": "rate_limited", "last_error_time": "2026-11-22T08:50:00Z"})
	check("in the backoff")

	m.simulate(`{"faults":null}`)
	m.clock.advance(time.Minute)
	m.token("a")
	eventually(t, "the refresh succeeds", func() bool { return m.status("mints") == int64(2) })
	m.read("status/a").wantData(t, fields{"state": "fresh", "failures_in_row": 0, "last_error_kind": "rate_limited", "next_attempt": ""})
}

func TestStatusList(t *testing.T) {
	m := newSinchMount(t, nil)
	m.write("config/b", m.enablex("sms", nil)).want(t, http.StatusNoContent)
	m.storage.put("config/c", `{"version":`)
	m.storage.put("config/d", `{"version":9}`)
	a := m.list("status/").want(t, http.StatusOK)
	equal(t, "keys", slices.Sorted(slices.Values(a.data["keys"].([]string))), []string{"a", "b", "c", "d"})
	info := a.data["key_info"].(map[string]any)
	for name, want := range map[string]map[string]any{
		"a": {"provider": "sinch-india", "environment": "production", "state": "fresh"},
		"b": {"provider": "enablex-sms", "environment": "", "state": "fresh"},
		"c": {"last_error": "the stored config/c cannot be used: it is damaged"},
		"d": {"last_error": "the stored config/d cannot be used: a newer plugin wrote the record (version 9, this plugin knows 2); upgrade the plugin"},
	} {
		for field, value := range want {
			equal(t, name+": "+field, info[name].(map[string]any)[field], value)
		}
	}
}

func TestStatusRefreshing(t *testing.T) {
	f := newFake(minting("fake-token", time.Hour))
	m := newFakeMount(t, f, nil)
	m.token("a")
	_, release := block(f)
	defer release()
	m.clock.advance(50 * time.Minute)
	m.token("a")
	m.token("a")
	m.read("status/a").wantData(t, fields{"state": "refreshing", "refresh_due_time": "2026-11-22T08:48:00Z"})
}

func TestStatusNeverRefreshed(t *testing.T) {
	m := newFakeMount(t, newFake(minting("fake-token", time.Hour)), fields{"refresh_window": 0})
	m.read("status/a").wantData(t, fields{"refresh_due_time": "", "expire_time": "2026-11-22T09:00:00Z"})
}
