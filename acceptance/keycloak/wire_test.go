// SPDX-License-Identifier: MPL-2.0

package keycloak

import (
	"encoding/json"
	"errors"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"vault-plugin-secrets-messaging/acceptance/harness"
)

// These ask Keycloak itself, without the plugin: what it answers is what the
// plugin reads and the simulator plays.

func testAnswers(t *testing.T, w *world) {
	k, a := w.keycloak, w.account(t)
	password := func(name, password string, more ...string) []string {
		return append([]string{"grant_type", "password", "username", name, "password", password}, more...)
	}
	for name, tt := range map[string]struct {
		form        []string
		status      int
		code, words string
	}{
		"unknown user":      {password("nobody", "x", "client_id", client), 400, "invalid_grant", "Invalid user credentials"},
		"no password":       {[]string{"grant_type", "password", "username", "nobody", "client_id", client}, 400, "invalid_grant", "Invalid user credentials"},
		"unknown client":    {password(a.name, a.password, "client_id", "x"), 401, "invalid_client", "Invalid client or Invalid client credentials"},
		"no client":         {password(a.name, a.password), 401, "invalid_client", "Invalid client or Invalid client credentials"},
		"no client secret":  {password(a.name, a.password, "client_id", introspector), 401, "unauthorized_client", "Invalid client or Invalid client credentials"},
		"unknown grant":     {[]string{"grant_type", "x", "client_id", client}, 400, "unsupported_grant_type", "Unsupported grant_type"},
		"no grant":          {[]string{"client_id", client}, 400, "invalid_request", "Missing form parameter: grant_type"},
		"twice":             {password(a.name, a.password, "client_id", client, "username", a.name), 400, "invalid_request", "duplicated parameter"},
		"no refresh token":  {[]string{"grant_type", "refresh_token", "client_id", client}, 400, "invalid_request", "No refresh token"},
		"bad refresh token": {[]string{"grant_type", "refresh_token", "client_id", client, "refresh_token", "x"}, 400, "invalid_grant", "Invalid refresh token"},
		"needless secret":   {password(a.name, a.password, "client_id", client, "client_secret", "x"), 200, "", ""},
	} {
		t.Run(name, func(t *testing.T) {
			k.post(t, k.endpoint("token"), tt.form...).want(t, tt.status, tt.code, tt.words)
		})
	}
	t.Run("HTTP Basic", func(t *testing.T) { // is taken from a public client, whatever its secret
		as := func(user string) string { return strings.Replace(k.endpoint("token"), "://", "://"+user+"@", 1) }
		k.post(t, as("x:x"), password(a.name, a.password)...).want(t, 401, "invalid_client", "Invalid client or Invalid client credentials")
		if got := a.bruteForce(t); got.NumFailures != 0 {
			t.Errorf("it counts towards the lockout: %+v", got)
		}
		for _, user := range []string{client + ":", client + ":x"} {
			b := w.account(t)
			k.post(t, as(user), password(b.name, b.password)...).want(t, 200, "", "")
		}
	})
	ok := k.login(t, a).want(t, 200, "", "")
	var fields map[string]any
	if err := json.Unmarshal([]byte(ok.Body), &fields); err != nil {
		t.Fatal(err)
	}
	want := []string{"access_token", "expires_in", "not-before-policy", "refresh_expires_in", "refresh_token", "scope", "session_state", "token_type"}
	if got := slices.Sorted(maps.Keys(fields)); !slices.Equal(got, want) {
		t.Errorf("the fields of a success are %q, want %q", got, want)
	}
	if fields["token_type"] != "Bearer" || fields["session_state"] != read(t, ok.AccessToken).Session {
		t.Errorf("a success says %v, %v", fields["token_type"], fields["session_state"])
	}
	k.try(t, a, "wrong").want(t, 400, "invalid_grant", "Invalid user credentials") // 401 before Keycloak 26.6
	if date := ok.Header.Get("Date"); date != "" {
		t.Errorf("it tells the time, which it did not use to: Date: %s", date)
	}
}

func testAnswersAboutTheAccount(t *testing.T, w *world) {
	k, a := w.keycloak, w.account(t)
	in := k.login(t, a).want(t, 200, "", "")

	a.change(t, object{"enabled": false})
	k.login(t, a).want(t, 400, "invalid_grant", "Account disabled")
	k.try(t, a, "wrong").want(t, 400, "invalid_grant", "Invalid user credentials")
	k.refresh(t, in.RefreshToken).want(t, 400, "invalid_grant", "User disabled")
	k.wantActive(t, in.AccessToken, false)
	a.change(t, object{"enabled": true})
	k.wantActive(t, in.AccessToken, true)

	a.change(t, object{"requiredActions": []string{"UPDATE_PASSWORD"}})
	k.login(t, a).want(t, 400, "invalid_grant", "Account is not fully set up")
	k.refresh(t, in.RefreshToken).want(t, 200, "", "")
	a.change(t, object{"requiredActions": []string{}})

	k.endSession(t, read(t, in.AccessToken).Session)
	k.refresh(t, in.RefreshToken).want(t, 400, "invalid_grant", "Session not active")
	k.wantActive(t, in.AccessToken, false)
}

func testAnswersAboutTheRealm(t *testing.T, w *world) {
	k, a := w.keycloak, w.account(t)
	in := k.login(t, a).want(t, 200, "", "")
	t.Run("disabled", func(t *testing.T) {
		k.turn(t, object{"enabled": false})
		k.login(t, a).want(t, 403, "access_denied", "Realm not enabled")
	})
	t.Run("all its tokens revoked", func(t *testing.T) {
		k.turn(t, object{"notBefore": time.Now().Add(time.Minute).Unix()})
		t.Cleanup(func() { k.admin(t, "PUT", "/"+realm, object{"notBefore": 0}, nil) })
		k.refresh(t, in.RefreshToken).want(t, 400, "invalid_grant", "Stale token")
		k.wantActive(t, in.AccessToken, false)
	})
	k.post(t, k.url+"/realms/x/protocol/openid-connect/token", "grant_type", "password").want(t, 404, "Realm does not exist", "")
}

// The two shapes that Sinch documents, and what is at their bottom: the refresh
// token's life is that of the idle session, and no token outlives the session.
func testLifetimes(t *testing.T, w *world) {
	k, a := w.keycloak, w.account(t)
	for name, tt := range map[string]struct {
		access, idle, most int // the realm's settings
		expires, refresh   int // what the answer says
	}{
		"the refresh token lives longer": {300, 1800, 36000, 300, 1800},
		"the access token lives longer":  {3600, 1800, 36000, 3600, 1800},
		"the session ends first":         {3600, 1800, 600, 600, 600},
	} {
		t.Run(name, func(t *testing.T) {
			k.turn(t, object{"accessTokenLifespan": tt.access, "ssoSessionIdleTimeout": tt.idle, "ssoSessionMaxLifespan": tt.most})
			in := k.login(t, a).want(t, 200, "", "")
			// They are whole seconds left when the answer is made, so one may be gone.
			about := func(field string, got, want int) {
				if got < want-2 || got > want {
					t.Errorf("%s is %d, want %d", field, got, want)
				}
			}
			about("expires_in", in.ExpiresIn, tt.expires)
			about("refresh_expires_in", *in.RefreshExpiresIn, tt.refresh)
			if c := read(t, in.AccessToken); c.Expires-c.Issued != tt.expires {
				t.Errorf("exp is %d s after iat", c.Expires-c.Issued)
			}
		})
	}
	t.Run("the access token outlives the idle session", func(t *testing.T) {
		k.turn(t, object{"accessTokenLifespan": 3600, "ssoSessionIdleTimeout": 2})
		in := k.login(t, a).want(t, 200, "", "")
		until(t, "the refresh token is over", func() bool { return k.refresh(t, in.RefreshToken).Status != 200 })
		k.refresh(t, in.RefreshToken).want(t, 400, "invalid_grant", "Token is not active")
		// which those refreshes have kept alive till now
		until(t, "the session is over", func() bool { return !k.introspect(t, in.AccessToken).Active })
	})
}

// Each refresh of a session that nears its end yields tokens that end with it.
func testSessionNearItsMax(t *testing.T, w *world) {
	k, a := w.keycloak, w.account(t)
	k.turn(t, object{"accessTokenLifespan": 6, "ssoSessionIdleTimeout": 60, "ssoSessionMaxLifespan": 8})
	in := k.login(t, a).want(t, 200, "", "")
	session := read(t, in.AccessToken)
	var last answer
	until(t, "a refreshed token is shorter", func() bool {
		last = k.refresh(t, in.RefreshToken).want(t, 200, "", "")
		return last.ExpiresIn <= 4
	})
	if got := read(t, last.AccessToken); got.Expires > session.Issued+8 || got.Session != session.Session {
		t.Errorf("a token of session %+v is %+v", session, got)
	}
	until(t, "the session is over", func() bool {
		last = k.refresh(t, last.RefreshToken)
		return last.Status != 200
	})
	if last.Error != "invalid_grant" || last.Description != "Token is not active" && last.Description != "Session not active" {
		t.Errorf("the answer is %d %s", last.Status, last.Body)
	}
}

// A realm may take each refresh token only once. Whoever uses one twice ends the
// session, and the tokens that came of it.
func testOneUseRefreshTokens(t *testing.T, w *world) {
	k, a := w.keycloak, w.account(t)
	first := k.login(t, a).want(t, 200, "", "")
	k.refresh(t, first.RefreshToken).want(t, 200, "", "")
	k.refresh(t, first.RefreshToken).want(t, 200, "", "") // by default they may be used again

	k.turn(t, object{"revokeRefreshToken": true})
	first = k.login(t, a).want(t, 200, "", "")
	second := k.refresh(t, first.RefreshToken).want(t, 200, "", "")
	k.refresh(t, first.RefreshToken).want(t, 400, "invalid_grant", "Maximum allowed refresh token reuse exceeded")
	k.refresh(t, second.RefreshToken).want(t, 400, "invalid_grant", "Session doesn't have required client")
	k.wantActive(t, second.AccessToken, false)
}

func testLockout(t *testing.T, w *world) {
	k, a := w.keycloak, w.account(t)
	in := k.login(t, a).want(t, 200, "", "")
	a.lock(t)
	k.try(t, a, a.password).want(t, 400, "invalid_grant", "Invalid user credentials")
	k.refresh(t, in.RefreshToken).want(t, 200, "", "") // while the lockout is for a time
	k.wantActive(t, in.AccessToken, true)

	// Two failures within a second are enough, by Keycloak's defaults.
	hasty := w.account(t)
	k.turn(t, object{"quickLoginCheckMilliSeconds": 60000}) // a longer second, so that the test need not be quick
	t.Cleanup(func() { k.admin(t, "PUT", "/"+realm, object{"quickLoginCheckMilliSeconds": 1000}, nil) })
	k.try(t, hasty, "wrong").want(t, 400, "invalid_grant", "Invalid user credentials")
	if hasty.bruteForce(t).Disabled {
		t.Error("locked out by one failure")
	}
	hasty.lock(t)
	if got := hasty.bruteForce(t); got.NumFailures != 2 {
		t.Errorf("locked out after %+v", got)
	}
}

// With brute-force detection on, Keycloak takes one login of a user at a time. The
// others it refuses, like a wrong password but without counting them; logins that
// follow each other at once may meet with it too. Refreshes do not.
func testLoginsAtOnce(t *testing.T, w *world) {
	k, a := w.keycloak, w.account(t)
	const n = 8
	together := func(form ...string) (taken int) {
		var all sync.WaitGroup
		var answers [n]answer
		for i := range answers {
			all.Go(func() {
				var err error
				if answers[i], err = k.send(k.endpoint("token"), append(form, "client_id", client)...); err != nil {
					t.Error(err)
				}
			})
		}
		all.Wait()
		for _, got := range answers {
			if got.Status == 200 {
				taken++
			} else {
				got.want(t, 400, "invalid_grant", "Invalid user credentials")
			}
		}
		return taken
	}
	if taken := together("grant_type", "password", "username", a.name, "password", a.password); taken == 0 || taken == n {
		t.Errorf("of %d logins at once %d are taken", n, taken)
	}
	if got := a.bruteForce(t); got.Disabled || got.NumFailures != 0 {
		t.Errorf("they count towards the lockout: %+v", got)
	}
	in := k.login(t, a).want(t, 200, "", "")
	if taken := together("grant_type", "refresh_token", "refresh_token", in.RefreshToken); taken != n {
		t.Errorf("of %d refreshes at once %d are taken", n, taken)
	}
}

func testLogout(t *testing.T, w *world) {
	k, a := w.keycloak, w.account(t)
	first := k.login(t, a).want(t, 200, "", "")
	second := k.refresh(t, first.RefreshToken).want(t, 200, "", "")
	other := k.login(t, a).want(t, 200, "", "")
	k.wantActive(t, first.AccessToken, true)

	k.logout(t, second.RefreshToken).want(t, 204, "", "")
	k.wantActive(t, first.AccessToken, false)
	k.wantActive(t, second.AccessToken, false)
	k.wantActive(t, other.AccessToken, true) // of another session
	k.refresh(t, second.RefreshToken).want(t, 400, "invalid_grant", "Session not active")
	k.logout(t, second.RefreshToken).want(t, 204, "", "") // again
	k.logout(t, "x").want(t, 400, "invalid_grant", "Invalid refresh token")
}

func testRevocation(t *testing.T, w *world) {
	k, a := w.keycloak, w.account(t)
	in := k.login(t, a).want(t, 200, "", "")
	k.revoke(t, in.AccessToken).want(t, 200, "", "")
	k.wantActive(t, in.AccessToken, false)
	next := k.refresh(t, in.RefreshToken).want(t, 200, "", "") // the session goes on

	k.revoke(t, next.RefreshToken).want(t, 200, "", "")
	k.wantActive(t, next.AccessToken, false)
	k.refresh(t, next.RefreshToken).want(t, 400, "invalid_grant", "Session not active")

	k.revoke(t, "x").want(t, 200, "invalid_token", "Invalid token") // an error, with the status of a success
	k.post(t, k.endpoint("revoke"), "client_id", client).want(t, 400, "invalid_request", "Token not provided")
}

// until polls.
func until(t *testing.T, what string, ok func() bool) {
	t.Helper()
	harness.Within(t, patience, what, func() error {
		if ok() {
			return nil
		}
		return errors.New("not yet")
	})
}
