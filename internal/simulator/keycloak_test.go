package simulator_test

import (
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

func TestRefreshRotatesAndKeepsTheSession(t *testing.T) {
	r := newRig(t, simulator.Options{})
	first := r.login("acme", "correct-horse")
	second := r.refresh(first.str("refresh_token"))
	r.want(second, 200, map[string]any{"session_state": first.str("session_state")})
	if second.str("refresh_token") == first.str("refresh_token") {
		t.Error("the refresh token was not rotated")
	}
	dead := map[string]any{"error": "invalid_grant", "error_description": "Token is not active"}
	r.want(r.refresh(first.str("refresh_token")), 400, dead)
	if !r.introspect(first.str("access_token")).Active {
		t.Error("a refresh ended the access token")
	}
	if r.login("acme", "correct-horse").str("session_state") == first.str("session_state") {
		t.Error("a second login is in the session of the first")
	}
	r.advance(30 * time.Minute)
	r.want(r.refresh(second.str("refresh_token")), 400, dead)
	c := r.state().Providers[simulator.SinchIndia].Accounts["acme"]
	if c.LoginsSucceeded != 2 || c.RefreshesSucceeded != 1 || c.RefreshesFailed != 2 {
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
	r.want(r.refresh(got.str("refresh_token")), 200, nil)
}

func TestRefreshWithoutRotation(t *testing.T) {
	r := newRig(t, simulator.Options{})
	r.patch(`{"rotate_refresh": false}`)
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
		{"off", "x", "Account disabled", 400},
		{"new", "x", "Account is not fully set up", 400},
		{"new", "wrong", "Invalid user credentials", 401},
	} {
		r.want(r.login(tt.user, tt.password), tt.status,
			map[string]any{"error": "invalid_grant", "error_description": tt.words})
	}
	if c := r.state().Total; c.LoginsFailed != 5 || c.LoginsSucceeded != 0 {
		t.Errorf("counts: %+v", c)
	}
	r.noViolations()
}

func TestRefreshOfADisabledAccount(t *testing.T) {
	r := newRig(t, simulator.Options{})
	got := r.login("acme", "correct-horse")
	r.patch(`{"accounts": {"acme": {"disabled": true}}}`)
	r.want(r.refresh(got.str("refresh_token")), 400, map[string]any{"error_description": "Account disabled"})
	r.patch(`{"accounts": {"acme": {"disabled": false}}}`)
	r.want(r.login("acme", "correct-horse"), 200, nil)
}

// What is not as documented is recorded, and answered the way the realm would.
func TestKeycloakViolations(t *testing.T) {
	good := form("grant_type", "password", "client_id", "ipmessaging-client", "username", "acme",
		"password", "correct-horse")
	for name, tt := range map[string]struct {
		method, path, contentType, body string
		header                          []string
		status                          int
		error                           string
		violation                       string
	}{
		"method":       {method: "GET", status: 405, violation: "method GET"},
		"content type": {contentType: "application/json", body: `{}`, status: 415, violation: "content type"},
		"no client id": {body: "grant_type=password&username=acme&password=correct-horse", status: 401,
			error: "invalid_client", violation: "client_id"},
		"basic": {body: good, header: []string{"Authorization", "Basic aXBtZXNzYWdpbmctY2xpZW50Og=="}, status: 401,
			error: "invalid_client", violation: "Authorization header"},
		"twice": {body: good + "&username=acme", status: 400, error: "invalid_request", violation: "2 times"},
		"undocumented parameter": {body: good + "&client_secret=x", status: 200,
			violation: `"client_secret" is not documented`},
		"query": {path: realm + "token?username=acme", body: good, status: 200, violation: "in the URL"},
		"no password": {body: "grant_type=password&client_id=ipmessaging-client", status: 401,
			violation: "needs username"},
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
			st := r.state()
			if len(st.Violations) != 1 || !strings.Contains(st.Violations[0].Text, tt.violation) ||
				st.Total.Violations != 1 {
				t.Errorf("violations: %+v, counted %d", st.Violations, st.Total.Violations)
			}
		})
	}
}

// A client that probes the Basic style first sends two logins for one, and both count towards the lockout.
func TestBasicHeaderCostsALogin(t *testing.T) {
	r := newRig(t, simulator.Options{})
	r.patch(`{"lockout_after": 2, "lockout_for": "1m"}`)
	for range 2 {
		r.send("POST", realm+"token", formType, form("grant_type", "password", "username", "acme",
			"password", "correct-horse"), "Cache-Control", "no-cache", "Authorization", "Basic aXBtZXNzYWdpbmctY2xpZW50Og==")
	}
	r.want(r.login("acme", "correct-horse"), 401, map[string]any{"error": "invalid_grant"})
	if c := r.state().Providers[simulator.SinchIndia].Accounts["acme"]; c.LoginsFailed != 3 || c.Violations != 2 {
		t.Errorf("counts: %+v", c)
	}
}

func TestLockout(t *testing.T) {
	r := newRig(t, simulator.Options{})
	r.patch(`{"lockout_after": 3, "lockout_for": 60}`)
	fail := func(n int) {
		for range n {
			r.want(r.login("acme", "wrong"), 401, nil)
		}
	}
	fail(2)
	r.want(r.login("acme", "correct-horse"), 200, nil) // which forgets the two
	fail(3)
	r.want(r.login("acme", "correct-horse"), 401, map[string]any{"error_description": "Invalid user credentials"})
	r.advance(59 * time.Second)
	fail(1) // does not prolong it
	r.advance(time.Second)
	r.want(r.login("acme", "correct-horse"), 200, nil)
	fail(3)
	r.advance(time.Minute)
	fail(2)
	r.want(r.login("acme", "correct-horse"), 200, nil)
	fail(3)
	if err := r.client.Reset(t.Context()); err != nil {
		t.Fatal(err)
	}
	r.want(r.login("acme", "correct-horse"), 200, nil)
}

func TestKeycloakRevocation(t *testing.T) {
	r := newRig(t, simulator.Options{})
	revoke := func(token string) {
		r.want(r.post(realm+"revoke", "client_id", "ipmessaging-client", "token", token), 200, nil)
	}
	got := r.login("acme", "correct-horse")
	revoke(got.str("access_token"))
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
	revoke("never-issued") // RFC 7009 §2.2
	r.noViolations()
	r.want(r.post(realm+"revoke", "client_id", "ipmessaging-client"), 400, map[string]any{"error": "invalid_request"})
	r.want(r.post(realm+"revoke", "token", "x"), 401, map[string]any{"error": "invalid_client"})
	if c := r.state().Total; c.RevocationsSucceeded != 3 || c.RevocationsFailed != 2 {
		t.Errorf("counts: %+v", c)
	}
}

func TestLogoutEndsTheSession(t *testing.T) {
	r := newRig(t, simulator.Options{})
	got := r.login("acme", "correct-horse")
	logout := func() result {
		return r.post(realm+"logout", "client_id", "ipmessaging-client", "refresh_token", got.str("refresh_token"))
	}
	r.want(logout(), 204, nil)
	if r.introspect(got.str("access_token")).Active || r.introspect(got.str("refresh_token")).Active {
		t.Error("a token outlived its session")
	}
	r.want(logout(), 400, map[string]any{"error": "invalid_grant"})
	r.patch(`{"faults": [{"kind": "invalid-client", "on": "logout"}]}`)
	r.want(logout(), 401, map[string]any{"error": "invalid_client"})
}
