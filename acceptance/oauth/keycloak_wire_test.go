// SPDX-License-Identifier: MPL-2.0

package oauth

import (
	"encoding/json"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"vault-plugin-secrets-messaging/acceptance/harness"
)

// The tests in this file check Keycloak's responses without the plugin. The plugin and the
// simulator rely on these responses.

func testTokenResponses(t *testing.T, w *servers) {
	k, a := w.keycloak, w.account(t)
	password := func(name, password string, more ...string) []string {
		return append([]string{"grant_type", "password", "username", name, "password", password}, more...)
	}
	for name, tt := range map[string]struct {
		form              []string
		status            int
		code, description string
	}{
		"unknown user":      {password("nobody", "x", "client_id", client), 400, "invalid_grant", "Invalid user credentials"},
		"no password":       {[]string{"grant_type", "password", "username", "nobody", "client_id", client}, 400, "invalid_grant", "Invalid user credentials"},
		"unknown client":    {password(a.name, a.password, "client_id", "x"), 401, "invalid_client", "Invalid client or Invalid client credentials"},
		"no client":         {password(a.name, a.password), 401, "invalid_client", "Invalid client or Invalid client credentials"},
		"no client secret":  {password(a.name, a.password, "client_id", introspector), 401, "unauthorized_client", "Invalid client or Invalid client credentials"},
		"unknown grant":     {[]string{"grant_type", "x", "client_id", client}, 400, "unsupported_grant_type", "Unsupported grant_type"},
		"no grant":          {[]string{"client_id", client}, 400, "invalid_request", "Missing form parameter: grant_type"},
		"duplicate":         {password(a.name, a.password, "client_id", client, "username", a.name), 400, "invalid_request", "duplicated parameter"},
		"no refresh token":  {[]string{"grant_type", "refresh_token", "client_id", client}, 400, "invalid_request", "No refresh token"},
		"bad refresh token": {[]string{"grant_type", "refresh_token", "client_id", client, "refresh_token", "x"}, 400, "invalid_grant", "Invalid refresh token"},
		"extra secret":      {password(a.name, a.password, "client_id", client, "client_secret", "x"), 200, "", ""},
	} {
		t.Run(name, func(t *testing.T) {
			k.post(t, k.endpoint("token"), tt.form...).want(t, tt.status, tt.code, tt.description)
		})
	}
	t.Run("HTTP Basic", func(t *testing.T) { // Keycloak ignores the secret of a public client
		as := func(user string) string { return strings.Replace(k.endpoint("token"), "://", "://"+user+"@", 1) }
		k.post(t, as("x:x"), password(a.name, a.password)...).want(t, 401, "invalid_client", "Invalid client or Invalid client credentials")
		if got := a.bruteForce(t); got.NumFailures != 0 {
			t.Errorf("got %+v from the brute-force detection, want no failures", got)
		}
		for _, user := range []string{client + ":", client + ":x"} {
			b := w.account(t)
			k.post(t, as(user), password(b.name, b.password)...).ok(t)
		}
	})
	ok := k.login(t, a).ok(t)
	var fields map[string]any
	if err := json.Unmarshal([]byte(ok.Body), &fields); err != nil {
		t.Fatal(err)
	}
	want := []string{"access_token", "expires_in", "not-before-policy", "refresh_expires_in", "refresh_token", "scope", "session_state", "token_type"}
	if got := slices.Sorted(maps.Keys(fields)); !slices.Equal(got, want) {
		t.Errorf("got fields %q in a successful response, want %q", got, want)
	}
	if fields["token_type"] != "Bearer" || fields["session_state"] != read(t, ok.AccessToken).Session {
		t.Errorf("got token_type %v and session_state %v, want Bearer and the session of the token", fields["token_type"], fields["session_state"])
	}
	k.try(t, a, "wrong").want(t, 400, "invalid_grant", "Invalid user credentials") // the status was 401 before Keycloak 26.6
	if date := ok.Header.Get("Date"); date != "" {
		t.Errorf("got header Date: %s, want no Date", date)
	}
}

func testAccountErrors(t *testing.T, w *servers) {
	k, a := w.keycloak, w.account(t)
	in := k.login(t, a).ok(t)

	a.change(t, object{"enabled": false})
	k.login(t, a).want(t, 400, "invalid_grant", "Account disabled")
	k.try(t, a, "wrong").want(t, 400, "invalid_grant", "Invalid user credentials")
	k.refresh(t, in.RefreshToken).want(t, 400, "invalid_grant", "User disabled")
	k.wantActive(t, in.AccessToken, false)
	a.change(t, object{"enabled": true})
	k.wantActive(t, in.AccessToken, true)

	a.change(t, object{"requiredActions": []string{"UPDATE_PASSWORD"}})
	k.login(t, a).want(t, 400, "invalid_grant", "Account is not fully set up")
	k.refresh(t, in.RefreshToken).ok(t)
	a.change(t, object{"requiredActions": []string{}})

	k.endSession(t, read(t, in.AccessToken).Session)
	k.refresh(t, in.RefreshToken).want(t, 400, "invalid_grant", "Session not active")
	k.wantActive(t, in.AccessToken, false)
}

func testRealmErrors(t *testing.T, w *servers) {
	k, a := w.keycloak, w.account(t)
	in := k.login(t, a).ok(t)
	t.Run("disabled", func(t *testing.T) {
		k.configure(t, object{"enabled": false})
		k.login(t, a).want(t, 403, "access_denied", "Realm not enabled")
	})
	t.Run("tokens revoked", func(t *testing.T) {
		k.configure(t, object{"notBefore": time.Now().Add(time.Minute).Unix()})
		t.Cleanup(func() { k.admin(t, "PUT", "/"+realm, object{"notBefore": 0}, nil) })
		k.refresh(t, in.RefreshToken).want(t, 400, "invalid_grant", "Stale token")
		k.wantActive(t, in.AccessToken, false)
	})
	k.post(t, k.url+"/realms/x/protocol/openid-connect/token", "grant_type", "password").want(t, 404, "Realm does not exist", "")
}

// A refresh token lives for the session's idle timeout. No token outlives its session. As Sinch
// documents, an access token may live longer or shorter than its refresh token.
func testLifetimes(t *testing.T, w *servers) {
	k, a := w.keycloak, w.account(t)
	for name, tt := range map[string]struct {
		access, idle, max int // the realm's settings
		expires, refresh  int // expires_in and refresh_expires_in
	}{
		"the refresh token lives longer": {300, 1800, 36000, 300, 1800},
		"the access token lives longer":  {3600, 1800, 36000, 3600, 1800},
		"the session ends first":         {3600, 1800, 600, 600, 600},
	} {
		t.Run(name, func(t *testing.T) {
			k.configure(t, object{"accessTokenLifespan": tt.access, "ssoSessionIdleTimeout": tt.idle, "ssoSessionMaxLifespan": tt.max})
			in := k.login(t, a).ok(t)
			// A login takes time, and Keycloak counts in whole seconds. So lifetimes may be some
			// seconds shorter than the settings.
			wantAbout := func(field string, got, want int) {
				if got < want-30 || got > want {
					t.Errorf("got %s %d, want %d to %d", field, got, want-30, want)
				}
			}
			wantAbout("expires_in", in.ExpiresIn, tt.expires)
			wantAbout("refresh_expires_in", *in.RefreshExpiresIn, tt.refresh)
			c := read(t, in.AccessToken)
			wantAbout("seconds from iat to exp", c.Expires-c.Issued, tt.expires)
		})
	}
	t.Run("the access token outlives the idle session", func(t *testing.T) {
		k.configure(t, object{"accessTokenLifespan": 3600, "ssoSessionIdleTimeout": 2})
		in := k.login(t, a).ok(t)
		harness.Until(t, "the refresh token has expired", func() bool { return k.refresh(t, in.RefreshToken).Status != 200 })
		k.refresh(t, in.RefreshToken).want(t, 400, "invalid_grant", "Token is not active")
		// The refreshes above have kept the session active.
		harness.Until(t, "the session has ended", func() bool { return !k.introspect(t, in.AccessToken).Active })
	})
}

// Near the end of a session, a refresh returns tokens that end with the session.
func testRefreshNearSessionMax(t *testing.T, w *servers) {
	k, a := w.keycloak, w.account(t)
	k.configure(t, object{"accessTokenLifespan": 10, "ssoSessionIdleTimeout": 60, "ssoSessionMaxLifespan": 12})
	in := k.login(t, a).ok(t)
	session := read(t, in.AccessToken)
	var last response
	harness.Until(t, "a refresh returns a shorter token", func() bool {
		last = k.refresh(t, in.RefreshToken).ok(t)
		return last.ExpiresIn <= 8
	})
	if got := read(t, last.AccessToken); got.Expires > session.Issued+12 || got.Session != session.Session {
		t.Errorf("got token %+v, want one that ends within 12 s after the start of session %+v", got, session)
	}
	harness.Until(t, "the session has ended", func() bool {
		last = k.refresh(t, last.RefreshToken)
		return last.Status != 200
	})
	if last.Error != "invalid_grant" || last.Description != "Token is not active" && last.Description != "Session not active" {
		t.Errorf("refresh after the end of the session: got status %d %s, want invalid_grant", last.Status, last.Body)
	}
}

// A realm may accept each refresh token only once. A second use ends the session and its tokens.
func testOneUseRefreshTokens(t *testing.T, w *servers) {
	k, a := w.keycloak, w.account(t)
	first := k.login(t, a).ok(t)
	k.refresh(t, first.RefreshToken).ok(t)
	k.refresh(t, first.RefreshToken).ok(t) // allowed by default

	k.configure(t, object{"revokeRefreshToken": true})
	first = k.login(t, a).ok(t)
	second := k.refresh(t, first.RefreshToken).ok(t)
	k.refresh(t, first.RefreshToken).want(t, 400, "invalid_grant", "Maximum allowed refresh token reuse exceeded")
	k.refresh(t, second.RefreshToken).want(t, 400, "invalid_grant", "Session doesn't have required client")
	k.wantActive(t, second.AccessToken, false)
}

func testLockout(t *testing.T, w *servers) {
	k, a := w.keycloak, w.account(t)
	in := k.login(t, a).ok(t)
	a.lock(t)
	k.try(t, a, a.password).want(t, 400, "invalid_grant", "Invalid user credentials")
	k.refresh(t, in.RefreshToken).ok(t) // a temporary lock does not stop refreshes
	k.wantActive(t, in.AccessToken, true)

	// By default, Keycloak also locks a user after two failures within a second. The test allows a
	// minute between the failures, because machines may be slow.
	hasty := w.account(t)
	k.configure(t, object{"quickLoginCheckMilliSeconds": 60000})
	t.Cleanup(func() { k.admin(t, "PUT", "/"+realm, object{"quickLoginCheckMilliSeconds": 1000}, nil) })
	k.try(t, hasty, "wrong").want(t, 400, "invalid_grant", "Invalid user credentials")
	if hasty.bruteForce(t).Disabled {
		t.Error("after one failed login: got a locked user, want no lock")
	}
	hasty.lock(t)
	if got := hasty.bruteForce(t); got.NumFailures != 2 {
		t.Errorf("got a lock after %+v, want after 2 failures", got)
	}
}

// With brute-force detection, Keycloak accepts one login of a user at a time. A concurrent login
// gets the error for a wrong password, but does not count as a failed login. Concurrent refreshes
// succeed.
func testConcurrentLogins(t *testing.T, w *servers) {
	k, a := w.keycloak, w.account(t)
	const n = 8
	concurrently := func(form ...string) (accepted int) {
		var wg sync.WaitGroup
		var responses [n]response
		for i := range responses {
			wg.Go(func() {
				var err error
				if responses[i], err = send(&k.client, k.endpoint("token"), append(form, "client_id", client)...); err != nil {
					t.Error(err)
				}
			})
		}
		wg.Wait()
		for _, got := range responses {
			if got.Status == 200 {
				accepted++
			} else {
				got.want(t, 400, "invalid_grant", "Invalid user credentials")
			}
		}
		return accepted
	}
	if accepted := concurrently("grant_type", "password", "username", a.name, "password", a.password); accepted == 0 || accepted == n {
		t.Errorf("of %d concurrent logins: got %d accepted, want at least one accepted and one refused", n, accepted)
	}
	if got := a.bruteForce(t); got.Disabled || got.NumFailures != 0 {
		t.Errorf("after concurrent logins: got %+v from the brute-force detection, want no failures", got)
	}
	in := k.login(t, a).ok(t)
	if accepted := concurrently("grant_type", "refresh_token", "refresh_token", in.RefreshToken); accepted != n {
		t.Errorf("of %d concurrent refreshes: got %d accepted, want all", n, accepted)
	}
}

func testLogout(t *testing.T, w *servers) {
	k, a := w.keycloak, w.account(t)
	first := k.login(t, a).ok(t)
	second := k.refresh(t, first.RefreshToken).ok(t)
	other := k.login(t, a).ok(t)
	k.wantActive(t, first.AccessToken, true)

	k.logout(t, second.RefreshToken).want(t, 204, "", "")
	k.wantActive(t, first.AccessToken, false)
	k.wantActive(t, second.AccessToken, false)
	k.wantActive(t, other.AccessToken, true) // a token of another session
	k.refresh(t, second.RefreshToken).want(t, 400, "invalid_grant", "Session not active")
	k.logout(t, second.RefreshToken).want(t, 204, "", "") // a second logout
	k.logout(t, "x").want(t, 400, "invalid_grant", "Invalid refresh token")
}

func testRevocation(t *testing.T, w *servers) {
	k, a := w.keycloak, w.account(t)
	in := k.login(t, a).ok(t)
	k.revoke(t, in.AccessToken).ok(t)
	k.wantActive(t, in.AccessToken, false)
	next := k.refresh(t, in.RefreshToken).ok(t) // the session continues

	k.revoke(t, next.RefreshToken).ok(t)
	k.wantActive(t, next.AccessToken, false)
	k.refresh(t, next.RefreshToken).want(t, 400, "invalid_grant", "Session not active")

	k.revoke(t, "x").want(t, 200, "invalid_token", "Invalid token") // an error with status 200
	k.post(t, k.endpoint("revoke"), "client_id", client).want(t, 400, "invalid_request", "Token not provided")
}
