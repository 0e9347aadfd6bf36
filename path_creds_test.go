// SPDX-License-Identifier: MPL-2.0

package messaging

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hashicorp/vault/sdk/logical"

	"vault-plugin-secrets-messaging/internal/secret"
	"vault-plugin-secrets-messaging/internal/token"
)

func TestCredsWithLease(t *testing.T) {
	m := newSinchMount(t, nil)
	a := m.read("creds/a")
	want := fields{"access_token": m.token("a"), "token_id": token.ID(secret.String(m.token("a"))), "expire_time": "2026-11-22T09:00:00Z", "provider": "sinch-india", "token_type": "Bearer"}
	equal(t, "data", a.data, want)
	equal(t, "lease", a.secret.TTL, time.Hour-time.Second)
	equal(t, "warnings", len(a.warnings), 0)
	m.wantAlive("the token", a.token(), true)
}

func TestCredsWithoutLease(t *testing.T) {
	m := newFakeMount(t, newFake(minting("fake-token", time.Hour)), fields{"lease": false})
	m.clock.advance(10 * time.Second)
	a := m.read("creds/a")
	want := fields{"access_token": "fake-token", "provider": "fake", "token_type": "Bearer", "token_id": "e1466187c844c921", "expire_time": "2026-11-22T09:00:00Z",
		"ttl": int64(3560), "rotation_period": int64(3600), "last_vault_rotation": "2026-11-22T08:00:00Z"}
	equal(t, "data", a.data, want)
	equal(t, "lease", a.secret == nil, true)
	m.clock.advance(time.Hour - 20*time.Second)
	m.read("creds/a").want(t, http.StatusOK)
}

// ttl is rounded up, because a reader that returns too early would get the same token again.
func TestCredsTTLIsRoundedUp(t *testing.T) {
	m := newFakeMount(t, newFake(minting("fake-token", time.Hour)), fields{"lease": false})
	for _, test := range []struct {
		after time.Duration
		want  int64
	}{{0, 3570}, {time.Millisecond, 3570}, {998 * time.Millisecond, 3570}, {time.Millisecond, 3569}} {
		m.clock.advance(test.after)
		equal(t, fmt.Sprintf("ttl after another %s", test.after), m.read("creds/a").data["ttl"], test.want)
	}
}

// Although ttl is rounded up, it never exceeds the life of the token.
func TestCredsTTLOfShortTokens(t *testing.T) {
	for _, life := range []time.Duration{time.Second, 1500 * time.Millisecond, 2 * time.Second, 3 * time.Second} {
		for _, gone := range []time.Duration{0, 100 * time.Millisecond, 400 * time.Millisecond} {
			m := newFakeMount(t, newFake(minting("fake-token", life)), fields{"lease": false, "refresh_window": 0})
			m.read("creds/a")
			m.clock.advance(gone)
			a := m.read("creds/a").want(t, http.StatusOK)
			if ttl := time.Duration(a.data["ttl"].(int64)) * time.Second; ttl > life-gone {
				t.Errorf("a token of %s after %s: got the ttl %s, want at most %s", life, gone, ttl, life-gone)
			}
		}
	}
}

func TestCredsLeaseTTL(t *testing.T) {
	for _, test := range []struct {
		lease bool
		after time.Duration
		want  time.Duration
	}{
		{true, 0, 5 * time.Minute}, {true, 59 * time.Minute, 59 * time.Second},
		{false, 0, 5 * time.Minute}, {false, 59 * time.Minute, 30 * time.Second},
	} {
		m := newFakeMount(t, newFake(minting("fake-token", time.Hour)), fields{"lease": test.lease, "lease_ttl": "5m", "refresh_window": 0})
		m.clock.advance(test.after)
		a := m.read("creds/a")
		a.wantData(t, fields{"expire_time": "2026-11-22T09:00:00Z"})
		if test.lease {
			equal(t, fmt.Sprintf("lease after %s", test.after), a.secret.TTL, test.want)
		} else {
			a.wantData(t, fields{"ttl": int64(test.want / time.Second)})
		}
	}
}

func TestCredsMinTTL(t *testing.T) {
	m := newSinchMount(t, fields{"refresh_window": 0})
	first := m.token("a")
	read := func(minTTL string, same, warns bool) {
		t.Helper()
		a := m.request(logical.ReadOperation, "creds/a", fields{"min_ttl": minTTL}).want(t, http.StatusOK)
		equal(t, "min_ttl="+minTTL+": the first token", a.token() == first, same)
		equal(t, "min_ttl="+minTTL+": a warning", len(a.warnings) > 0, warns)
		if warns {
			a.wantWarning(t, "the engine limits min_ttl to half the token's lifetime, 30m0s")
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
	got := m.sim.State().Total
	equal(t, "logins and refreshes", got.LoginsSucceeded+got.RefreshesSucceeded, 2)
	for _, bad := range []any{"-1s", "abc", "500ms", "1.5s", []string{"1", "2"}} {
		m.request(logical.ReadOperation, "creds/a", fields{"min_ttl": bad}).want(t, http.StatusBadRequest, "min_ttl: "+mustDuration)
	}
}

func TestCredsWarnOfTooLittleLife(t *testing.T) {
	m := newFakeMount(t, newFake(minting("fake-token", 12*time.Second)), nil)
	m.clock.advance(7 * time.Second)
	m.request(logical.ReadOperation, "creds/a", fields{"min_ttl": 6}).
		wantWarning(t, "this token ends in 5s, which is less than the min_ttl of 6s; perhaps the token is too new to replace (less than 10s old)")
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

func TestCredsUnknown(t *testing.T) {
	m := newMount(t)
	m.read("creds/a").want(t, http.StatusBadRequest, `there is no config "a": write config/a first`)
	m.storage.put("token/a", "left behind by a delete on another cluster")
	m.read("creds/a").want(t, http.StatusBadRequest, `there is no config "a"`)
	equal(t, "stored token of an unknown config", m.storage.snapshot()["token/a"], "")
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
		equal(t, fmt.Sprintf("token of a read with %v", data), a.token(), token)
		a.wantWarning(t, "could not be refreshed and is served until it ends (in 10m0s)", "503 Service Unavailable; the next attempt is after 2026-11-22T08:50:")
	}
	m.clock.advance(10*time.Minute - 3*time.Second)
	equal(t, "token 3 s before the end", m.token("a"), token)
	m.clock.advance(3 * time.Second)
	m.read("creds/a").want(t, http.StatusBadGateway, "503 Service Unavailable")
	m.simulate(`{"faults":null}`)
	m.clock.advance(time.Minute)
	a := m.read("creds/a").want(t, http.StatusOK)
	differ(t, "token after the outage", a.token(), token)
	equal(t, "warnings after the outage", len(a.warnings), 0)
}

// report reports the token of an earlier answer as rejected.
func (m *mount) report(a answer) answer {
	return m.request(logical.ReadOperation, "creds/a", fields{"rejected": a.data["token_id"]})
}

// numbered is a mint that returns another token each time.
func numbered(lifetime time.Duration) mintFunc {
	var n atomic.Int64
	return func(ctx context.Context) (token.Token, error) {
		return minting(secret.String(fmt.Sprintf("fake-token-%d", n.Add(1))), lifetime)(ctx)
	}
}

func TestCredsRejected(t *testing.T) {
	f := newFake(numbered(time.Hour))
	m := newFakeMount(t, f, nil)
	first := m.read("creds/a")
	wantToken := func(a answer, want string) answer {
		t.Helper()
		equal(t, "token", a.want(t, http.StatusOK).token(), want)
		return a
	}
	const again = "this token was reported as rejected and is served anyway: "
	wantToken(m.report(first), first.token()).wantWarning(t, again+"the token was minted within the last 10s; the next report is honored after 2026-11-22T08:00:10Z")
	m.clock.advance(10 * time.Second)
	second := wantToken(m.report(first), "fake-token-2")
	equal(t, "warnings of a report that is honored", len(second.warnings), 0)
	m.wantLogged("minted a token because a reader reported that the provider rejected the previous token")
	equal(t, "rejected_time", m.status("rejected_time"), "2026-11-22T08:00:10Z")
	wantToken(m.report(first), "fake-token-2") // another app that comes late
	m.clock.advance(30 * time.Second)
	wantToken(m.report(second), "fake-token-2").wantWarning(t, again+"another report was honored lately; the next report is honored after 2026-11-22T08:01:10Z")
	m.clock.advance(30 * time.Second)
	f.set(down)
	warns := func(a answer, text string) {
		t.Helper()
		if !strings.Contains(a.warnings[0], again+text) || !strings.Contains(a.warnings[1], "could not be refreshed") {
			t.Errorf("got the warnings %q, want %q and that the refresh failed", a.warnings, again+text)
		}
	}
	warns(wantToken(m.report(second), "fake-token-2"), "the login failed")
	warns(wantToken(m.report(second), "fake-token-2"), "the last login failed; the next report is honored after 2026-11-22T08:01:1")
	wantToken(m.read("creds/a"), "fake-token-2").wantWarning(t, "could not be refreshed") // outside the refresh window too
	m.clock.advance(2 * time.Minute)
	f.set(minting("fake-token-2", time.Hour))
	wantToken(m.report(second), "fake-token-2").wantWarning(t, again+"the provider returned the same token again")
	m.scrape().want(t, of("a", "fake", map[string]float64{
		`rejected_tokens_total result="recent"`:       1,
		`rejected_tokens_total result="honored"`:      3,
		`rejected_tokens_total result="replaced"`:     1,
		`rejected_tokens_total result="too_frequent"`: 1,
		`rejected_tokens_total result="backing_off"`:  1,
	}))
}

func TestCredsRejectedBadInput(t *testing.T) {
	m := newFakeMount(t, newFake(numbered(time.Hour)), nil)
	first := m.read("creds/a")
	m.clock.advance(time.Minute)
	for _, bad := range []any{"x", "e1466187c844c92", "e1466187c844c9211", "E1466187C844C921", "g1466187c844c921", first.token(), 7, []string{"a"}, map[string]any{}} {
		a := m.request(logical.ReadOperation, "creds/a", fields{"rejected": bad})
		a.want(t, http.StatusBadRequest, "rejected")
		if strings.Contains(a.text, first.token()) {
			t.Errorf("rejected=%v: got %q, want no token in it", bad, a.text)
		}
	}
	for _, none := range []any{"", "e1466187c844c921"} {
		a := m.request(logical.ReadOperation, "creds/a", fields{"rejected": none}).want(t, http.StatusOK)
		equal(t, fmt.Sprintf("rejected=%v: answer", none), a.data, first.data)
		equal(t, fmt.Sprintf("rejected=%v: warnings", none), len(a.warnings), 0)
	}
	m.request(logical.ReadOperation, "creds/unknown", fields{"rejected": "e1466187c844c921"}).want(t, http.StatusBadRequest, "there is no config")
}

// A reader waits 3 s at most. The mint continues, and the next reader gets its token.
func TestCredsOfASlowProvider(t *testing.T) {
	t.Parallel()
	for _, share := range []bool{true, false} {
		f := newFake(minting("fake-token", time.Hour))
		m := newFakeMount(t, f, fields{"share": share, "verify_connection": false})
		_, release := block(f)
		began := time.Now()
		m.read("creds/a").want(t, http.StatusBadGateway, "has not issued a token within 3s", "read again")
		took(t, began, 20*time.Second) // far less than the 2 minutes that a mint may take
		release()
		var a answer
		eventually(t, "the token arrives", func() bool { a = m.read("creds/a"); return a.status == http.StatusOK })
		equal(t, fmt.Sprintf("share=%t: token", share), a.token(), "late-token")
	}
}

// If a token is reported as rejected but the new login is slow, the reader gets the rejected token
// again.
func TestCredsRejectedAtASlowProvider(t *testing.T) {
	t.Parallel()
	f := newFake(numbered(time.Hour))
	m := newFakeMount(t, f, nil)
	first := m.read("creds/a")
	m.clock.advance(time.Minute)
	_, release := block(f)
	defer release()
	m.report(first).want(t, http.StatusOK).wantWarning(t, "served anyway: the login takes long and continues; read again")
	release()
	eventually(t, "the new token", func() bool { return m.token("a") == "late-token" })
}

// An output is a provider's extra field in creds. An output cannot replace another field.
func TestOutputs(t *testing.T) {
	f := newFake(func(context.Context) (token.Token, error) {
		return token.Token{Access: "fake-token", Type: "Bearer", Lifetime: time.Hour, Outputs: map[string]string{
			"base_url": "https://eu.fake.example", "access_token": "x", "expire_time": "x", "provider": "x", "token_type": "x",
			"ttl": "x", "rotation_period": "x", "last_vault_rotation": "x"}}, nil
	})
	m := newFakeMount(t, f, fields{"lease": false})
	for _, n := range []*mount{m, m.restart()} {
		a := n.read("creds/a")
		for name, value := range a.data {
			differ(t, name, value, "x")
		}
		a.wantData(t, fields{"base_url": "https://eu.fake.example", "access_token": "fake-token"})
	}
}
