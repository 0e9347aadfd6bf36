// SPDX-License-Identifier: MPL-2.0

package simulator_test

import (
	"cmp"
	"regexp"
	"strings"
	"testing"

	"vault-plugin-secrets-messaging/internal/simulator"
)

func TestPasswordGrant(t *testing.T) {
	for _, path := range []string{realm, "/auth" + realm} {
		r := newRig(t, simulator.Options{})
		got := r.post(path+"token", passwordGrant("acme", "correct-horse")...)
		r.want(got, 200, map[string]any{
			"expires_in": 3600.0, "refresh_expires_in": 1800.0, "token_type": "Bearer",
			"not-before-policy": 0.0, "scope": "email profile",
		})
		for _, name := range []string{"access_token", "refresh_token"} {
			if s := got.str(name); !strings.HasPrefix(s, "eyJ") || strings.Count(s, ".") != 2 {
				t.Errorf("got %s %q, want a JWT", name, s)
			}
		}
		if id := got.str("session_state"); !regexp.MustCompile(`^[A-Za-z0-9_-]{24}$`).MatchString(id) {
			t.Errorf("got session_state %q, want 24 characters of base64url", id)
		}
		r.equal("access token", r.introspect(got.str("access_token")), simulator.Introspection{
			Known: true, Active: true, Provider: simulator.SinchIndia, Account: "acme", Kind: "access",
			IssuedAt: r.now, ExpiresIn: 3600,
		})
		r.equal("path", r.state().Providers[simulator.SinchIndia].LastRequest.Path, path+"token")
		r.noViolations()
	}
}

func TestKeycloakRefusals(t *testing.T) {
	r := newRig(t, simulator.Options{})
	refused := map[string]any{"error": "invalid_grant", "error_description": "Invalid user credentials"}
	r.want(r.login("acme", "wrong"), 401, refused)
	r.want(r.login("nobody", "x"), 401, refused)
	r.want(r.login("acme", ""), 401, refused)
	r.wantCounts(r.state().Total, simulator.Counts{LoginsFailed: 3})
	r.noViolations()
	r.patch(`{"failure_status": 400}`) // as from Keycloak 26.6 on
	r.want(r.login("acme", "wrong"), 400, refused)
}

func TestKeycloakViolations(t *testing.T) {
	good := form(passwordGrant("acme", "correct-horse")...)
	for name, tt := range map[string]struct {
		method, path, contentType, body string
		header                          []string
		status                          int
		error, description              string
		violation                       string
	}{
		"method": {method: "GET", status: 405, violation: "method GET"},
		"no form": {contentType: "application/json", body: `{"grant_type":"password"}`, status: 400,
			error: "invalid_request", description: "Missing form parameter: grant_type", violation: "content type"},
		"no form, revocation": {path: realm + "revoke", contentType: "application/json", body: `{}`, status: 415,
			violation: "content type"},
		"no grant": {body: "client_id=ipmessaging-client", status: 400, error: "invalid_request",
			description: "Missing form parameter: grant_type", violation: "grant_type"},
		"no client id": {body: "grant_type=password&username=acme&password=correct-horse", status: 401,
			error: "invalid_client", violation: "client_id"},
		"other client": {body: "grant_type=refresh_token&client_id=x&refresh_token=x", status: 401,
			error: "invalid_client", description: "Invalid client or Invalid client credentials", violation: "client_id"},
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
			error: "invalid_request", description: "Missing parameter: username", violation: "needs username"},
		"no password": {body: "grant_type=password&client_id=ipmessaging-client&username=acme", status: 401,
			error: "invalid_grant", description: "Invalid user credentials", violation: "needs username"},
		"no refresh token": {body: "grant_type=refresh_token&client_id=ipmessaging-client", status: 400,
			error: "invalid_request", description: "No refresh token", violation: "needs refresh_token"},
		"other grant": {body: "grant_type=client_credentials&client_id=ipmessaging-client", status: 400,
			error: "unsupported_grant_type", violation: "not documented"},
		"no-cache":       {body: good, header: []string{"Cache-Control", ""}, status: 200, violation: "cache-control"},
		"content-coding": {body: good, header: []string{"Content-Encoding", "gzip"}, status: 200, violation: "encoding"},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, simulator.Options{})
			header := append([]string{"Cache-Control", "no-cache"}, tt.header...)
			got := r.send(cmp.Or(tt.method, "POST"), cmp.Or(tt.path, realm+"token"), cmp.Or(tt.contentType, formType),
				tt.body, header...)
			want := map[string]any{}
			if tt.error != "" {
				want["error"] = tt.error
			}
			if tt.description != "" {
				want["error_description"] = tt.description
			}
			r.want(got, tt.status, want)
			st := r.state()
			r.equal("counted violations", st.Total.Violations, 1)
			if len(st.Violations) != 1 || !strings.Contains(st.Violations[0].Text, tt.violation) {
				t.Errorf("%s: got violations %+v, want one with %q", got.request, st.Violations, tt.violation)
			}
		})
	}
}

func TestBasicHeaderCausesNoLockout(t *testing.T) {
	r := newRig(t, simulator.Options{})
	r.patch(`{"lockout_after": 1}`)
	good := form("grant_type", "password", "username", "acme", "password", "correct-horse") // without client_id
	for id, status := range map[string]int{"ipmessaging-client": 200, "x": 401} {
		r.want(r.send("POST", realm+"token", formType, good, "Cache-Control", "no-cache",
			"Authorization", basic(id, "x")), status, nil)
	}
	r.want(r.login("acme", "correct-horse"), 200, nil)
	r.equal("counts", r.state().Providers[simulator.SinchIndia].Accounts["acme"], simulator.Counts{
		Requests: 3, LoginsSucceeded: 2, LoginsFailed: 1, Violations: 2, MaxConcurrent: 1,
	})
}

func TestKeycloakRevocation(t *testing.T) {
	r := newRig(t, simulator.Options{})
	revoke := func(token string) {
		t.Helper()
		got := r.post(realm+"revoke", "client_id", "ipmessaging-client", "token", token)
		r.want(got, 200, nil)
		r.equal("body of a revocation", got.text, "")
	}
	got := r.login("acme", "correct-horse")
	for range 2 { // the second time is no error while the session lasts
		revoke(got.str("access_token"))
	}
	in := r.introspect(got.str("access_token"))
	r.equal("access token is active, revoked", []bool{in.Active, in.Revoked}, []bool{false, true})
	r.wantActive("refresh token after the access token's revocation", got.str("refresh_token"), true)
	got = r.refresh(got.str("refresh_token"))
	revoke(got.str("refresh_token"))
	r.wantActive("access token of an ended session", got.str("access_token"), false)
	for _, token := range []string{"never-issued", got.str("refresh_token"), ""} {
		r.want(r.post(realm+"revoke", "client_id", "ipmessaging-client", "token", token), 200,
			map[string]any{"error": "invalid_token", "error_description": "Invalid token"})
	}
	r.noViolations()
	r.want(r.refresh(got.str("refresh_token")), 400, map[string]any{"error_description": "Session not active"})
	r.want(r.post(realm+"revoke", "client_id", "ipmessaging-client"), 400,
		map[string]any{"error": "invalid_request", "error_description": "Token not provided"})
	r.want(r.post(realm+"revoke", "token", "x"), 401, map[string]any{"error": "invalid_client"})
	r.wantCounts(r.state().Total, simulator.Counts{LoginsSucceeded: 1, RefreshesSucceeded: 1, RefreshesFailed: 1,
		RevocationsSucceeded: 3, RevocationsFailed: 5})
	r.patch(`{"faults": [{"kind": "invalid-client", "on": "revoke"}]}`)
	r.want(r.post(realm+"revoke", "client_id", "ipmessaging-client", "token", "x"), 401, map[string]any{"error": "invalid_client"})
}
