// SPDX-License-Identifier: MPL-2.0

package simulator_test

import (
	"regexp"
	"strings"
	"testing"
	"time"

	"vault-plugin-secrets-messaging/internal/simulator"
)

func TestPasswordGrant(t *testing.T) {
	for _, path := range []string{realm, "/auth" + realm} {
		r := newRig(t, simulator.Options{})
		got := r.post(path+"token", "grant_type", "password", "client_id", "ipmessaging-client",
			"username", "acme", "password", "correct-horse")
		r.want(got, 200, map[string]any{
			"expires_in": 3600.0, "refresh_expires_in": 1800.0, "token_type": "Bearer",
			"not-before-policy": 0.0, "scope": "email profile",
		})
		for _, name := range []string{"access_token", "refresh_token"} {
			if s := got.str(name); !strings.HasPrefix(s, "eyJ") || strings.Count(s, ".") != 2 {
				t.Errorf("%s %q does not look like a JWT", name, s)
			}
		}
		if id := got.str("session_state"); !regexp.MustCompile(`^[A-Za-z0-9_-]{24}$`).MatchString(id) {
			t.Errorf("session %q", id)
		}
		in := r.introspect(got.str("access_token"))
		if !in.Active || in.Account != "acme" || in.Provider != simulator.SinchIndia || in.ExpiresIn != 3600 ||
			in.Kind != "access" || in.Session != got.str("session_state") {
			t.Errorf("introspection: %+v", in)
		}
		if last := r.state().Providers[simulator.SinchIndia].LastRequest; last.Path != path+"token" {
			t.Errorf("last request: %+v", last)
		}
		r.noViolations()
	}
}

func TestRefreshKeepsTheSession(t *testing.T) {
	r := newRig(t, simulator.Options{})
	first := r.login("acme", "correct-horse")
	second := r.refresh(first.str("refresh_token"))
	r.want(second, 200, map[string]any{"session_state": first.str("session_state")})
	if second.str("refresh_token") == first.str("refresh_token") {
		t.Error("the refresh token was not rotated")
	}
	dead := map[string]any{"error": "invalid_grant", "error_description": "Token is not active"}
	if !r.introspect(first.str("access_token")).Active {
		t.Error("a refresh ended the access token")
	}
	if r.login("acme", "correct-horse").str("session_state") == first.str("session_state") {
		t.Error("a second login is in the session of the first")
	}
	r.advance(20 * time.Minute)
	third := r.refresh(first.str("refresh_token")) // the old one is good until its own expiry
	r.want(third, 200, map[string]any{"session_state": first.str("session_state")})
	r.advance(10 * time.Minute)
	r.want(r.refresh(first.str("refresh_token")), 400, dead)
	r.want(r.refresh(second.str("refresh_token")), 400, dead)
	r.want(r.refresh(third.str("refresh_token")), 200, nil)
	c := r.state().Providers[simulator.SinchIndia].Accounts["acme"]
	if c.LoginsSucceeded != 2 || c.RefreshesSucceeded != 3 || c.RefreshesFailed != 2 {
		t.Errorf("counts: %+v", c)
	}
}

func TestOfflineToken(t *testing.T) {
	r := newRig(t, simulator.Options{})
	r.patch(`{"refresh_ttl": 0}`)
	got := r.login("acme", "correct-horse")
	r.want(got, 200, map[string]any{"refresh_expires_in": 0.0})
	r.advance(1000 * time.Hour)
	if in := r.introspect(got.str("refresh_token")); !in.Active || !in.NeverExpires {
		t.Errorf("introspection: %+v", in)
	}
	r.patch(`{"session_max": 60}`) // which it outlives
	r.want(r.refresh(got.str("refresh_token")), 200, map[string]any{"expires_in": 3600.0})
	r.client.RevokeSessions(t.Context(), "", "")
	r.want(r.refresh(got.str("refresh_token")), 400, map[string]any{"error_description": "Offline user session not found"})
}

func TestRefreshWithoutRotation(t *testing.T) {
	r := newRig(t, simulator.Options{})
	r.patch(`{"rotate_refresh": false, "revoke_refresh_token": true}`) // there is none instead, so it stays
	token := r.login("acme", "correct-horse").str("refresh_token")
	for range 2 {
		got := r.refresh(token)
		r.want(got, 200, nil)
		if _, ok := got.json["refresh_token"]; ok {
			t.Error("a refresh token in the answer")
		}
	}
}

func TestKeycloakRefusals(t *testing.T) {
	r := newRig(t, simulator.Options{})
	r.patch(`{"accounts": {"off": {"secret": "x", "disabled": true}, "new": {"secret": "x", "not_set_up": true}}}`)
	for _, tt := range []struct {
		user, password, words string
		status                int
	}{
		{"acme", "wrong", "Invalid user credentials", 401},
		{"nobody", "x", "Invalid user credentials", 401},
		{"acme", "", "Invalid user credentials", 401},
		{"off", "x", "Account disabled", 400},
		{"off", "wrong", "Invalid user credentials", 401},
		{"new", "x", "Account is not fully set up", 400},
		{"new", "wrong", "Invalid user credentials", 401},
	} {
		r.want(r.login(tt.user, tt.password), tt.status,
			map[string]any{"error": "invalid_grant", "error_description": tt.words})
	}
	if c := r.state().Total; c.LoginsFailed != 7 || c.LoginsSucceeded != 0 {
		t.Errorf("counts: %+v", c)
	}
	r.noViolations()
	r.patch(`{"failure_status": 400}`) // as Keycloak 26.6 and later
	r.want(r.login("acme", "wrong"), 400, map[string]any{"error_description": "Invalid user credentials"})
}

func TestRefreshOfADisabledAccount(t *testing.T) {
	r := newRig(t, simulator.Options{})
	got := r.login("acme", "correct-horse")
	r.patch(`{"accounts": {"acme": {"disabled": true}}}`)
	r.want(r.refresh(got.str("refresh_token")), 400, map[string]any{"error_description": "User disabled"})
	r.patch(`{"accounts": {"acme": {"disabled": false}}}`)
	r.want(r.refresh(got.str("refresh_token")), 200, nil) // it ended no session
}

// What is not as documented is recorded, and answered the way the realm would.
func TestKeycloakViolations(t *testing.T) {
	good := form("grant_type", "password", "client_id", "ipmessaging-client", "username", "acme",
		"password", "correct-horse")
	for name, tt := range map[string]struct {
		method, path, contentType, body string
		header                          []string
		status                          int
		error, words                    string
		violation                       string
	}{
		"method": {method: "GET", status: 405, violation: "method GET"},
		"no form": {contentType: "application/json", body: `{"grant_type":"password"}`, status: 400,
			error: "invalid_request", words: "Missing form parameter: grant_type", violation: "content type"},
		"no form, revocation": {path: realm + "revoke", contentType: "application/json", body: `{}`, status: 415,
			violation: "content type"},
		"no grant": {body: "client_id=ipmessaging-client", status: 400, error: "invalid_request",
			words: "Missing form parameter: grant_type", violation: "grant_type"},
		"no client id": {body: "grant_type=password&username=acme&password=correct-horse", status: 401,
			error: "invalid_client", violation: "client_id"},
		"other client": {body: "grant_type=refresh_token&client_id=x&refresh_token=x", status: 401,
			error: "invalid_client", words: "Invalid client or Invalid client credentials", violation: "client_id"},
		"basic": {body: good, header: []string{"Authorization", basic("ipmessaging-client", "")}, status: 200,
			violation: "Authorization header"},
		"basic with a secret": {body: strings.Replace(good, "client_id=ipmessaging-client&", "", 1),
			header: []string{"Authorization", basic("ipmessaging-client", "x")}, status: 200,
			violation: "Authorization header"},
		"basic of another client": {body: good, header: []string{"Authorization", basic("x", "x")}, status: 401,
			error: "invalid_client", violation: "Authorization header"},
		"bearer": {body: good, header: []string{"Authorization", "Bearer x"}, status: 200,
			violation: "Authorization header"},
		"twice": {body: good + "&username=acme", status: 400, error: "invalid_request", violation: "2 times"},
		"undocumented parameter": {body: good + "&client_secret=x", status: 200,
			violation: `"client_secret" is not documented`},
		"query": {path: realm + "token?username=acme", body: good, status: 200, violation: "in the URL"},
		"no username": {body: "grant_type=password&client_id=ipmessaging-client&password=x", status: 401,
			error: "invalid_request", words: "Missing parameter: username", violation: "needs username"},
		"no password": {body: "grant_type=password&client_id=ipmessaging-client&username=acme", status: 401,
			error: "invalid_grant", words: "Invalid user credentials", violation: "needs username"},
		"no refresh token": {body: "grant_type=refresh_token&client_id=ipmessaging-client", status: 400,
			error: "invalid_request", words: "No refresh token", violation: "needs refresh_token"},
		"other grant": {body: "grant_type=client_credentials&client_id=ipmessaging-client", status: 400,
			error: "unsupported_grant_type", violation: "not documented"},
		"no-cache":       {body: good, header: []string{"Cache-Control", ""}, status: 200, violation: "cache-control"},
		"content-coding": {body: good, header: []string{"Content-Encoding", "gzip"}, status: 200, violation: "encoding"},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, simulator.Options{})
			if tt.method == "" {
				tt.method = "POST"
			}
			if tt.path == "" {
				tt.path = realm + "token"
			}
			if tt.contentType == "" {
				tt.contentType = formType
			}
			header := append([]string{"Cache-Control", "no-cache"}, tt.header...)
			got := r.send(tt.method, tt.path, tt.contentType, tt.body, header...)
			r.want(got, tt.status, nil)
			if tt.error != "" && got.str("error") != tt.error {
				t.Errorf("error %q, want %q", got.str("error"), tt.error)
			}
			if tt.words != "" && got.str("error_description") != tt.words {
				t.Errorf("it says %q, want %q", got.str("error_description"), tt.words)
			}
			st := r.state()
			if len(st.Violations) != 1 || !strings.Contains(st.Violations[0].Text, tt.violation) ||
				st.Total.Violations != 1 {
				t.Errorf("violations: %+v, counted %d", st.Violations, st.Total.Violations)
			}
		})
	}
}

// The realm takes its public client's name from a Basic header. A client it does not know is no failed login.
func TestBasicHeaderCostsNoLockout(t *testing.T) {
	r := newRig(t, simulator.Options{})
	r.patch(`{"lockout_after": 1}`)
	good := form("grant_type", "password", "username", "acme", "password", "correct-horse")
	for id, status := range map[string]int{"ipmessaging-client": 200, "x": 401} {
		r.want(r.send("POST", realm+"token", formType, good, "Cache-Control", "no-cache",
			"Authorization", basic(id, "x")), status, nil)
	}
	r.want(r.login("acme", "correct-horse"), 200, nil)
	c := r.state().Providers[simulator.SinchIndia].Accounts["acme"]
	if c.LoginsSucceeded != 2 || c.LoginsFailed != 1 || c.Violations != 2 {
		t.Errorf("counts: %+v", c)
	}
}

func TestKeycloakRevocation(t *testing.T) {
	r := newRig(t, simulator.Options{})
	revoke := func(token string) {
		got := r.post(realm+"revoke", "client_id", "ipmessaging-client", "token", token)
		if r.want(got, 200, nil); got.text != "" {
			t.Errorf("revocation: %s", got.text)
		}
	}
	got := r.login("acme", "correct-horse")
	for range 2 { // again is no error while the session lives
		revoke(got.str("access_token"))
	}
	if in := r.introspect(got.str("access_token")); in.Active || !in.Revoked {
		t.Errorf("access token: %+v", in)
	}
	if !r.introspect(got.str("refresh_token")).Active {
		t.Error("the refresh token went with the access token")
	}
	got = r.refresh(got.str("refresh_token"))
	revoke(got.str("refresh_token"))
	if r.introspect(got.str("access_token")).Active {
		t.Error("the access token outlived its session")
	}
	for _, token := range []string{"never-issued", got.str("refresh_token"), ""} { // the second is of an ended session
		r.want(r.post(realm+"revoke", "client_id", "ipmessaging-client", "token", token), 200,
			map[string]any{"error": "invalid_token", "error_description": "Invalid token"})
	}
	r.noViolations()
	r.want(r.refresh(got.str("refresh_token")), 400, map[string]any{"error_description": "Session not active"})
	r.want(r.post(realm+"revoke", "client_id", "ipmessaging-client"), 400,
		map[string]any{"error": "invalid_request", "error_description": "Token not provided"})
	r.want(r.post(realm+"revoke", "token", "x"), 401, map[string]any{"error": "invalid_client"})
	if c := r.state().Total; c.RevocationsSucceeded != 3 || c.RevocationsFailed != 5 {
		t.Errorf("counts: %+v", c)
	}
}

func TestLogoutEndsTheSession(t *testing.T) {
	r := newRig(t, simulator.Options{})
	got := r.login("acme", "correct-horse")
	other := r.login("acme", "correct-horse")
	logout := func(token string) result {
		return r.post(realm+"logout", "client_id", "ipmessaging-client", "refresh_token", token)
	}
	r.want(logout(got.str("refresh_token")), 204, nil)
	if r.introspect(got.str("access_token")).Active || r.introspect(got.str("refresh_token")).Active {
		t.Error("a token outlived its session")
	}
	if !r.introspect(other.str("access_token")).Active {
		t.Error("another session ended with it")
	}
	r.want(r.refresh(got.str("refresh_token")), 400, map[string]any{"error_description": "Session not active"})
	r.want(logout(got.str("refresh_token")), 204, nil) // again
	for _, token := range []string{"x", other.str("access_token")} {
		r.want(logout(token), 400,
			map[string]any{"error": "invalid_grant", "error_description": "Invalid refresh token"})
	}
	r.patch(`{"faults": [{"kind": "invalid-client", "on": "logout"}]}`)
	r.want(logout(got.str("refresh_token")), 401, map[string]any{"error": "invalid_client"})
}
