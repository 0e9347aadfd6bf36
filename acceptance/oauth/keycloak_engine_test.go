// SPDX-License-Identifier: MPL-2.0

package oauth

import (
	"slices"
	"strings"
	"sync"
	"testing"

	"vault-plugin-secrets-messaging/acceptance/harness"
)

func testPasswordGrant(t *testing.T, w *servers) {
	a := w.account(t)
	a.write(t, nil).OK(t)
	r := w.vault.Read(t, a.path("creds")).OK(t)
	token := r.Text("access_token")
	if r.LeaseDuration < 200 || r.LeaseDuration > 299 || r.Text("token_type") != "Bearer" {
		t.Errorf("got a lease of %d s and token_type %v, want 200 to 299 s and Bearer", r.LeaseDuration, r.Data["token_type"])
	}
	w.keycloak.wantActive(t, token, true)
	if got := read(t, token); got.Username != a.name {
		t.Errorf("got a token of user %q, want %q", got.Username, a.name)
	}
	for range 5 {
		if got := a.token(t); got != token {
			t.Fatalf("got token %q, want the first token %q", got, token)
		}
	}
	a.wantEvents(t, map[string]int{"LOGIN": 1})
}

// A refresh causes no login and opens no session.
func testRefreshGrant(t *testing.T, w *servers) {
	a := w.account(t)
	w.keycloak.configure(t, object{"accessTokenLifespan": 20, "ssoSessionIdleTimeout": 60})
	a.write(t, refreshEarly).OK(t)
	token := a.token(t)
	session := read(t, token).Session
	for range 3 {
		token = a.next(t, token)
		if got := read(t, token).Session; got != session {
			t.Errorf("got a token of session %q, want session %q", got, session)
		}
	}
	if got := a.sessions(t); !slices.Equal(got, []string{session}) {
		t.Errorf("got sessions %q, want only %q", got, session)
	}
	if got := a.events(t); got["LOGIN"] != 1 || got["REFRESH_TOKEN"] < 3 || len(got) != 2 {
		t.Errorf("got events %v, want 1 LOGIN and at least 3 REFRESH_TOKEN only", got)
	}
}

// If the refresh token ends before the access token, the engine logs in with the password.
func testRefreshTokenEndsFirst(t *testing.T, w *servers) {
	a := w.account(t)
	w.keycloak.configure(t, object{"accessTokenLifespan": 40, "ssoSessionIdleTimeout": 5})
	a.write(t, refreshEarly).OK(t)
	first := a.token(t)
	second := a.next(t, first)
	wantOtherSession(t, first, second)
	// There may be more than two logins, because the engine replaces each token after about 4 s.
	if got := a.events(t); got["LOGIN"] < 2 || len(got) != 1 {
		t.Errorf("got events %v, want at least 2 LOGIN only", got)
	}
}

// Keycloak answers refresh_expires_in=0 for an offline token, because an offline token does not
// expire. The engine uses the token until Keycloak refuses the token.
func testOfflineToken(t *testing.T, w *servers) {
	k, a := w.keycloak, w.account(t)
	k.defaultScope(t, "offline_access")
	k.configure(t, object{"accessTokenLifespan": 20, "ssoSessionIdleTimeout": 3})

	in := k.login(t, a).ok(t)
	if in.RefreshToken == "" || in.RefreshExpiresIn == nil || *in.RefreshExpiresIn != 0 {
		t.Fatalf("got %s, want a refresh_token with refresh_expires_in 0", in.Body)
	}
	k.logout(t, in.RefreshToken).want(t, 204, "", "")
	k.refresh(t, in.RefreshToken).want(t, 400, "invalid_grant", "Offline user session not found")

	a.retryLogin(t, func(t *testing.T) harness.Response { return a.write(t, refreshEarly) })
	token := a.token(t)
	for range 2 {
		token = a.next(t, token)
	}
	if got := a.events(t); got["LOGIN"] != 2 || got["REFRESH_TOKEN"] < 2 || got["REFRESH_TOKEN_ERROR invalid_token"] != 1 {
		t.Errorf("got events %v, want 2 LOGIN, at least 2 REFRESH_TOKEN, 1 REFRESH_TOKEN_ERROR", got)
	}
}

// After an administrator ends the session, the engine logs in again at once. No read fails.
func testSessionEnded(t *testing.T, w *servers) {
	a := w.account(t)
	w.keycloak.configure(t, object{"accessTokenLifespan": 20, "ssoSessionIdleTimeout": 60})
	a.write(t, refreshEarly).OK(t)
	first := a.token(t)
	session := read(t, first).Session
	w.keycloak.endSession(t, session)
	w.keycloak.wantActive(t, first, false)

	var token string
	harness.Until(t, "the engine has logged in again", func() bool {
		token = a.token(t)
		return read(t, token).Session != session
	})
	w.keycloak.wantActive(t, token, true)
	if got := a.events(t); got["LOGIN"] != 2 || got["REFRESH_TOKEN_ERROR invalid_token"] != 1 {
		t.Errorf("got events %v, want 2 LOGIN and 1 REFRESH_TOKEN_ERROR", got)
	}
	a.wantNoFailures(t)
}

// When a session reaches its maximum lifetime, the engine logs in again.
func testSessionReachesItsMax(t *testing.T, w *servers) {
	a := w.account(t)
	w.keycloak.configure(t, object{"accessTokenLifespan": 10, "ssoSessionIdleTimeout": 60, "ssoSessionMaxLifespan": 16})
	a.write(t, harness.Fields{"refresh_window": "4s"}).OK(t)
	token := a.activeToken(t)
	for session := read(t, token).Session; read(t, token).Session == session; {
		token = a.next(t, token)
	}
	got := a.events(t)
	if got["LOGIN"] != 2 || got["REFRESH_TOKEN"] == 0 || got["REFRESH_TOKEN"] > 5 {
		t.Errorf("got events %v, want 2 LOGIN and 1 to 5 REFRESH_TOKEN", got)
	}
}

func testRotateLogsIn(t *testing.T, w *servers) {
	a := w.account(t)
	a.write(t, nil).OK(t)
	first := a.token(t)
	a.retryLogin(t, a.rotate)
	second := a.activeToken(t)
	wantOtherSession(t, first, second)
	a.wantEvents(t, map[string]int{"LOGIN": 2})
}

// A rotate revokes the old token. Deleting the config revokes the last token.
func testRotateRevokes(t *testing.T, w *servers) {
	a := w.account(t)
	a.write(t, harness.Fields{"revocation_url": w.keycloak.endpoint("revoke")}).OK(t)
	first := a.activeToken(t)
	a.retryLogin(t, a.rotate)
	second := a.activeToken(t)
	w.keycloak.wantActive(t, first, false)
	w.vault.Delete(t, a.path("config")).OK(t)
	w.keycloak.wantActive(t, second, false)
}

// Keycloak refuses concurrent logins of one user, so the engine sends one login at a time. Concurrent
// reads then succeed.
func testConcurrentReads(t *testing.T, w *servers) {
	const n = 6 // more than the engine's concurrent mints; each login takes at least 0.1 s
	var a *account
	var responses [n]harness.Response
	// On a busy machine, a round may fail for two reasons. Keycloak may need longer than the
	// engine's pause between logins to notice that a login ended. Or a read may give up after 3 s,
	// before its login has ended. If the engine sent concurrent logins, every round would fail.
	const rounds = 5
	for round := 1; ; round++ {
		a = w.account(t)
		a.write(t, harness.Fields{"share": false, "revocation_url": w.keycloak.endpoint("revoke")}).OK(t)
		var wg sync.WaitGroup
		for i := range responses {
			wg.Go(func() { responses[i], _ = w.vault.Do("GET", a.path("creds"), nil) })
		}
		wg.Wait()
		failed := slices.IndexFunc(responses[:], func(r harness.Response) bool { return r.Status != 200 })
		if failed < 0 {
			break
		}
		if round == rounds {
			t.Fatalf("in each of %d rounds of concurrent reads: got a failed read, want no failed read in one round: %s", rounds, responses[failed].Raw)
		}
	}
	tokens := map[string]bool{}
	for _, r := range responses {
		tokens[r.Text("access_token")] = true
		w.keycloak.wantActive(t, r.Text("access_token"), true)
		w.vault.Write(t, "sys/leases/revoke", harness.Fields{"lease_id": r.LeaseID, "sync": true}).OK(t)
		w.keycloak.wantActive(t, r.Text("access_token"), false)
	}
	if len(tokens) != n {
		t.Errorf("got %d tokens for %d concurrent reads, want %d", len(tokens), n, n)
	}
	if got := a.bruteForce(t); got.NumFailures != 0 {
		t.Errorf("got %+v from the brute-force detection, want no failures", got)
	}
}

func testWrongPassword(t *testing.T, w *servers) {
	a := w.account(t)
	words := []string{a.name, "invalid_grant", "Invalid user credentials"}
	a.write(t, harness.Fields{"password": "wrong"}).Refused(t, 400, words...)
	w.vault.Read(t, a.path("config")).Refused(t, 404)
	a.wantEvents(t, map[string]int{"LOGIN_ERROR invalid_user_credentials": 1})

	a.retryLogin(t, a.writeConfig)
	token := a.token(t)
	a.write(t, harness.Fields{"password": "wrong"}).Refused(t, 400, words...)
	if a.token(t) != token {
		t.Error("after a refused write: got another token, want the same token")
	}
}

// Fifty reads with a wrong password cause only one login.
func testWrongPasswordCausesNoLockout(t *testing.T, w *servers) {
	a := w.account(t)
	a.write(t, harness.Fields{"password": "wrong", "verify_connection": false}).OK(t)
	for range 50 {
		a.creds(t).Refused(t, 400, a.name, "Invalid user credentials", "next attempt")
	}
	harness.Until(t, "Keycloak has counted the failure", func() bool { return a.bruteForce(t).NumFailures != 0 })
	if got := a.bruteForce(t); got.Disabled || got.NumFailures != 1 {
		t.Errorf("got %+v from the brute-force detection, want 1 failure and no lock", got)
	}
	a.wantEvents(t, map[string]int{"LOGIN_ERROR invalid_user_credentials": 1})

	a.retryLogin(t, a.writeConfig) // the engine tries a new password at once
	a.token(t)
	harness.Until(t, "Keycloak has forgotten the failure", func() bool { return a.bruteForce(t).NumFailures == 0 })
}

// Somebody else's failed logins lock the user. The engine still refreshes the token, but logins
// fail as with a wrong password.
func testLockedUser(t *testing.T, w *servers) {
	a := w.account(t)
	w.keycloak.configure(t, object{"accessTokenLifespan": 20, "ssoSessionIdleTimeout": 60})
	a.write(t, refreshEarly).OK(t)
	token := a.token(t)
	a.lock(t)
	a.next(t, token)
	if got := a.events(t)["LOGIN"]; got != 1 {
		t.Errorf("got %d LOGIN events, want 1", got)
	}
	a.write(t, harness.Fields{"verify_connection": true}).Refused(t, 400, "Invalid user credentials")
	a.token(t)
}

// An administrator disables the user. Reads return the cached token with a warning. After the token
// expires, reads fail.
func testAccountDisabled(t *testing.T, w *servers) {
	a := w.account(t)
	w.keycloak.configure(t, object{"accessTokenLifespan": 15})
	a.write(t, refreshEarly).OK(t)
	a.token(t)
	a.change(t, object{"enabled": false})

	var r harness.Response
	warned := false
	harness.Until(t, "the token has expired", func() bool {
		r = a.creds(t)
		warned = warned || strings.Contains(strings.Join(r.Warnings, "\n"), "Account disabled")
		return r.Status != 200
	})
	r.Refused(t, 400, a.name, "invalid_grant", "Account disabled", "next attempt")
	if !warned {
		t.Error(`got no warning "Account disabled" on reads of the cached token, want one`)
	}
	if got := a.events(t); got["REFRESH_TOKEN_ERROR invalid_token"] != 1 || got["LOGIN_ERROR user_disabled"] != 1 {
		t.Errorf("got events %v, want 1 REFRESH_TOKEN_ERROR and 1 LOGIN_ERROR", got)
	}

	a.change(t, object{"enabled": true})
	a.retryLogin(t, a.rotate)
	a.activeToken(t)
}

func testAccountNotSetUp(t *testing.T, w *servers) {
	a := w.account(t)
	a.change(t, object{"requiredActions": []string{"UPDATE_PASSWORD"}})
	a.write(t, nil).Refused(t, 400, a.name, "invalid_grant", "Account is not fully set up")
	w.vault.Read(t, a.path("config")).Refused(t, 404)
	a.change(t, object{"requiredActions": []string{}})
	a.retryLogin(t, a.writeConfig)
}

// While Keycloak is down, reads return the cached token. The refresh token survives a restart of
// Keycloak.
func testKeycloakRestarts(t *testing.T, w *servers) {
	a, late := w.account(t), w.account(t)
	a.write(t, nil).OK(t)
	token := a.token(t)
	session := read(t, token).Session

	w.keycloak.stop(t)
	if a.token(t) != token {
		t.Error("while Keycloak is down: got another token, want the cached token")
	}
	a.rotate(t).Refused(t, 502, "connection refused")
	if a.token(t) != token {
		t.Error("after a failed rotate: got another token, want the cached token")
	}
	late.write(t, nil).Refused(t, 502, "connection refused")
	w.keycloak.start(t)

	w.keycloak.wantActive(t, token, true)
	w.vault.Patch(t, a.path("config"), refreshEarly).OK(t)
	if got := read(t, a.next(t, token)).Session; got != session {
		t.Errorf("got a token of session %q, want session %q", got, session)
	}
	late.write(t, nil).OK(t)
	late.token(t)
	if got := a.events(t); got["LOGIN"] != 1 || got["REFRESH_TOKEN"] == 0 {
		t.Errorf("got events %v, want 1 LOGIN and at least 1 REFRESH_TOKEN", got)
	}
}
