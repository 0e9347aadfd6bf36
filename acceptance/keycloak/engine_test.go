// SPDX-License-Identifier: MPL-2.0

package keycloak

import (
	"slices"
	"strings"
	"sync"
	"testing"

	"vault-plugin-secrets-messaging/acceptance/harness"
)

func testPasswordGrant(t *testing.T, w *world) {
	a := w.account(t)
	a.write(t, nil).OK(t)
	r := w.vault.Read(t, a.creds()).OK(t)
	token := r.Text("access_token")
	if r.LeaseDuration < 200 || r.LeaseDuration > 299 || r.Text("token_type") != "Bearer" {
		t.Errorf("lease of %d s of a token of 300 s: %v", r.LeaseDuration, r.Data["token_type"])
	}
	w.keycloak.wantActive(t, token, true)
	if got := read(t, token); got.Username != a.name {
		t.Errorf("the token is of %s", got.Username)
	}
	for range 5 {
		if a.token(t) != token {
			t.Fatal("another token")
		}
	}
	a.wantEvents(t, map[string]int{"LOGIN": 1})
}

// A refresh costs no login and opens no session.
func testRefreshGrant(t *testing.T, w *world) {
	a := w.account(t)
	w.keycloak.turn(t, object{"accessTokenLifespan": 20, "ssoSessionIdleTimeout": 60})
	a.write(t, often).OK(t)
	token := a.token(t)
	session := read(t, token).Session
	for range 3 {
		token = a.next(t, token)
		w.keycloak.wantActive(t, token, true)
		if got := read(t, token).Session; got != session {
			t.Errorf("session %s, want %s", got, session)
		}
	}
	if got := a.sessions(t); !slices.Equal(got, []string{session}) {
		t.Errorf("sessions %q, want only %q", got, session)
	}
	if got := a.events(t); got["LOGIN"] != 1 || got["REFRESH_TOKEN"] < 3 || len(got) != 2 {
		t.Errorf("events: %v", got)
	}
}

// Where the refresh token dies before the access token only the password is left,
// and the dead refresh token is not sent.
func testRefreshTokenDiesFirst(t *testing.T, w *world) {
	a := w.account(t)
	w.keycloak.turn(t, object{"accessTokenLifespan": 20, "ssoSessionIdleTimeout": 3})
	a.write(t, often).OK(t)
	first := a.token(t)
	second := a.next(t, first)
	w.keycloak.wantActive(t, second, true)
	if read(t, first).Session == read(t, second).Session {
		t.Error("the second token is of the first one's session")
	}
	a.wantEvents(t, map[string]int{"LOGIN": 2})
}

// An offline token says refresh_expires_in 0, and is used for as long as it works.
func testOfflineToken(t *testing.T, w *world) {
	k, a := w.keycloak, w.account(t)
	k.defaultScope(t, "offline_access")
	k.turn(t, object{"accessTokenLifespan": 20, "ssoSessionIdleTimeout": 3})

	in := k.login(t, a).want(t, 200, "", "")
	if in.RefreshToken == "" || in.RefreshExpiresIn == nil || *in.RefreshExpiresIn != 0 {
		t.Fatalf("not an offline token: %s", in.Body)
	}
	k.logout(t, in.RefreshToken).want(t, 204, "", "")
	k.refresh(t, in.RefreshToken).want(t, 400, "invalid_grant", "Offline user session not found")

	a.soon(t, func() harness.Response { return a.write(t, often) })
	token := a.token(t)
	for range 2 {
		token = a.next(t, token)
		k.wantActive(t, token, true)
	}
	if got := a.events(t); got["LOGIN"] != 2 || got["REFRESH_TOKEN"] < 2 || got["REFRESH_TOKEN_ERROR invalid_token"] != 1 {
		t.Errorf("events: %v", got)
	}
}

// A refresh token that died with its session says nothing about the password,
// which is used at once: no reader notices.
func testSessionEnded(t *testing.T, w *world) {
	a := w.account(t)
	w.keycloak.turn(t, object{"accessTokenLifespan": 20, "ssoSessionIdleTimeout": 60})
	a.write(t, often).OK(t)
	first := a.token(t)
	session := read(t, first).Session
	w.keycloak.endSession(t, session)
	w.keycloak.wantActive(t, first, false)

	token := a.next(t, first)
	for read(t, token).Session == session { // a refresh was under way
		token = a.next(t, token)
	}
	w.keycloak.wantActive(t, token, true)
	if got := a.events(t); got["LOGIN"] != 2 || got["REFRESH_TOKEN_ERROR invalid_token"] != 1 {
		t.Errorf("events: %v", got)
	}
	if got := w.vault.Read(t, "messaging/status/"+a.name).OK(t); got.Text("failures_in_row") != "0" {
		t.Errorf("status: %s", got.Raw)
	}
}

// A session that reaches its maximum is followed by another, with a token for
// every reader meanwhile.
func testSessionsFollowEachOther(t *testing.T, w *world) {
	a := w.account(t)
	w.keycloak.turn(t, object{"accessTokenLifespan": 10, "ssoSessionIdleTimeout": 60, "ssoSessionMaxLifespan": 16})
	a.write(t, harness.Fields{"refresh_window": "4s"}).OK(t)
	token := a.token(t)
	session := read(t, token).Session
	for read(t, token).Session == session {
		w.keycloak.wantActive(t, token, true)
		token = a.next(t, token)
	}
	w.keycloak.wantActive(t, token, true)
	got := a.events(t)
	t.Logf("a session of 16 s, tokens of 10 s: %v", got)
	if got["LOGIN"] != 2 || got["REFRESH_TOKEN"] == 0 || got["REFRESH_TOKEN"] > 5 {
		t.Errorf("events: %v", got)
	}
}

func testRotateLogsIn(t *testing.T, w *world) {
	a := w.account(t)
	a.write(t, nil).OK(t)
	first := a.token(t)
	a.soon(t, func() harness.Response { return w.vault.Write(t, "messaging/rotate/"+a.name, nil) })
	second := a.token(t)
	w.keycloak.wantActive(t, second, true)
	if read(t, first).Session == read(t, second).Session {
		t.Error("the new token is of the old one's session")
	}
	a.wantEvents(t, map[string]int{"LOGIN": 2})
}

// With a revocation_url, rotate ends the old token, and with it its session; so does
// the deletion of the config.
func testRotateRevokes(t *testing.T, w *world) {
	a := w.account(t)
	a.write(t, harness.Fields{"revocation_url": w.keycloak.endpoint("revoke")}).OK(t)
	first := a.token(t)
	w.keycloak.wantActive(t, first, true)
	a.soon(t, func() harness.Response { return w.vault.Write(t, "messaging/rotate/"+a.name, nil) })
	second := a.token(t)
	w.keycloak.wantActive(t, first, false)
	w.keycloak.wantActive(t, second, true)
	w.vault.Delete(t, a.config()).OK(t)
	w.keycloak.wantActive(t, second, false)
}

// Keycloak refuses logins of one user that meet. The engine does not let them: every
// reader of an account that shares no token gets one, as do those of two configs.
func testReadsAtOnce(t *testing.T, w *world) {
	a := w.account(t)
	a.write(t, harness.Fields{"share": false, "revocation_url": w.keycloak.endpoint("revoke")}).OK(t)
	const n = 16
	var all sync.WaitGroup
	var answers [n]harness.Response
	for i := range answers {
		all.Go(func() { answers[i], _ = w.vault.Do("GET", a.creds(), nil) })
	}
	all.Wait()
	tokens := map[string]bool{}
	for _, r := range answers {
		r.OK(t)
		tokens[r.Text("access_token")] = true
		w.keycloak.wantActive(t, r.Text("access_token"), true)
		w.vault.Write(t, "sys/leases/revoke", harness.Fields{"lease_id": r.LeaseID, "sync": true}).OK(t)
		w.keycloak.wantActive(t, r.Text("access_token"), false)
	}
	if len(tokens) != n {
		t.Errorf("%d tokens for %d readers", len(tokens), n)
	}
	if got := a.bruteForce(t); got.NumFailures != 0 {
		t.Errorf("failures: %+v", got)
	}
}

func testWrongPassword(t *testing.T, w *world) {
	a := w.account(t)
	words := []string{a.name, "invalid_grant", "Invalid user credentials"}
	a.write(t, harness.Fields{"password": "wrong"}).Refused(t, 400, words...)
	w.vault.Read(t, a.config()).Refused(t, 404)
	a.wantEvents(t, map[string]int{"LOGIN_ERROR invalid_user_credentials": 1})

	a.soon(t, func() harness.Response { return a.write(t, nil) })
	token := a.token(t)
	a.write(t, harness.Fields{"password": "wrong"}).Refused(t, 400, words...)
	if a.token(t) != token {
		t.Error("a refused write cost the account its token")
	}
}

// However many readers a wrong password has, Keycloak sees it once in a minute,
// and then less often.
func testNoLockoutByUs(t *testing.T, w *world) {
	a := w.account(t)
	a.write(t, harness.Fields{"password": "wrong", "verify_connection": false}).OK(t)
	for range 50 {
		w.vault.Read(t, a.creds()).Refused(t, 400, a.name, "Invalid user credentials", "next attempt")
	}
	until(t, "Keycloak has counted the failure", func() bool { return a.bruteForce(t).NumFailures != 0 })
	if got := a.bruteForce(t); got.Disabled || got.NumFailures != 1 {
		t.Errorf("Keycloak's brute-force detection says %+v", got)
	}
	a.wantEvents(t, map[string]int{"LOGIN_ERROR invalid_user_credentials": 1})

	a.soon(t, func() harness.Response { return a.write(t, nil) }) // the right one, at once
	a.token(t)
	until(t, "Keycloak has forgotten the failure", func() bool { return a.bruteForce(t).NumFailures == 0 })
}

// An account that somebody else got locked goes on by its refresh token. Without
// one it looks as if the password were wrong.
func testLockedByOthers(t *testing.T, w *world) {
	a := w.account(t)
	w.keycloak.turn(t, object{"accessTokenLifespan": 20, "ssoSessionIdleTimeout": 60})
	a.write(t, often).OK(t)
	token := a.token(t)
	a.lock(t)
	w.keycloak.wantActive(t, a.next(t, token), true)
	if got := a.events(t)["LOGIN"]; got != 1 {
		t.Errorf("%d logins", got)
	}
	a.write(t, harness.Fields{"verify_connection": true}).Refused(t, 400, "Invalid user credentials") // the right password
	a.token(t)
}

// A disabled account costs one refresh and one login; its token is served while it
// lives, with a warning, and then the reader is told.
func testAccountDisabled(t *testing.T, w *world) {
	a := w.account(t)
	w.keycloak.turn(t, object{"accessTokenLifespan": 8})
	a.write(t, often).OK(t)
	a.token(t)
	a.change(t, object{"enabled": false})

	var r harness.Response
	warned := false
	until(t, "the token is over", func() bool {
		r = w.vault.Read(t, a.creds())
		warned = warned || strings.Contains(strings.Join(r.Warnings, "\n"), "Account disabled")
		return r.Status != 200
	})
	r.Refused(t, 400, a.name, "invalid_grant", "Account disabled", "next attempt")
	if !warned {
		t.Error("no reader of the token in hand was warned")
	}
	if got := a.events(t); got["REFRESH_TOKEN_ERROR invalid_token"] != 1 || got["LOGIN_ERROR user_disabled"] != 1 {
		t.Errorf("events: %v", got)
	}

	a.change(t, object{"enabled": true})
	a.soon(t, func() harness.Response { return w.vault.Write(t, "messaging/rotate/"+a.name, nil) })
	w.keycloak.wantActive(t, a.token(t), true)
}

func testAccountNotSetUp(t *testing.T, w *world) {
	a := w.account(t)
	a.change(t, object{"requiredActions": []string{"UPDATE_PASSWORD"}})
	a.write(t, nil).Refused(t, 400, a.name, "invalid_grant", "Account is not fully set up")
	w.vault.Read(t, a.config()).Refused(t, 404)
	a.change(t, object{"requiredActions": []string{}})
	a.soon(t, func() harness.Response { return a.write(t, nil) })
}

// While Keycloak is away readers get the token in hand. It keeps its sessions: the
// refresh token works when it is back.
func testKeycloakStopsAndIsBack(t *testing.T, w *world) {
	a, late := w.account(t), w.account(t)
	a.write(t, nil).OK(t)
	token := a.token(t)
	session := read(t, token).Session

	w.keycloak.stop(t)
	if a.token(t) != token {
		t.Error("not the token in hand")
	}
	w.vault.Write(t, "messaging/rotate/"+a.name, nil).Refused(t, 502, "connection refused")
	if a.token(t) != token {
		t.Error("a rotate that failed cost the account its token")
	}
	late.write(t, nil).Refused(t, 502, "connection refused")
	w.keycloak.start(t)

	w.keycloak.wantActive(t, token, true)
	w.vault.Patch(t, a.config(), often).OK(t)
	next := a.next(t, token)
	w.keycloak.wantActive(t, next, true)
	if got := read(t, next).Session; got != session {
		t.Errorf("session %s, want %s", got, session)
	}
	late.write(t, nil).OK(t)
	late.token(t)
	if got := a.events(t); got["LOGIN"] != 1 || got["REFRESH_TOKEN"] != 1 {
		t.Errorf("events: %v", got)
	}
}
