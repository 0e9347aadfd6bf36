// SPDX-License-Identifier: MPL-2.0

package providers

import (
	"net/http"
	"net/url"
	"reflect"
	"strings"
	"testing"
	"time"

	"vault-plugin-secrets-messaging/internal/secret"
	"vault-plugin-secrets-messaging/internal/token"
)

// revokers are accounts at providers that can revoke tokens.
var revokers = []struct {
	provider string
	values   map[string]secret.String
	client   url.Values // the parameters of the client in the form
	auth     string     // the Authorization header
}{
	{"sinch-india", values("username", "acme", "password", hidden), url.Values{"client_id": {"ipmessaging-client"}}, ""},
	{"oauth2", values("client_id", "acme", "client_secret", "s:&c", "grant_type", "client_credentials", "auth_style", "header"), nil,
		"Basic YWNtZTpzJTNBJTI2Yw=="},
	{"oauth2", values("client_id", "acme", "client_secret", "s:&c", "auth_style", "body"),
		url.Values{"client_id": {"acme"}, "client_secret": {"s:&c"}}, ""},
	{"oauth2", values("client_id", "acme", "grant_type", "password", "username", "joe", "password", hidden),
		url.Values{"client_id": {"acme"}}, ""},
	{"oauth2", values("client_id", "acme", "client_secret", "s:&c", "scopes", "read", "token_params", "audience=x"), nil,
		"Basic YWNtZTpzJTNBJTI2Yw=="},
}

// revoke revokes tokens at s.RevocationURL.
func revoke(t *testing.T, provider string, s Settings, access, refresh secret.String) error {
	t.Helper()
	p, _ := Lookup(provider)
	s.Values = p.Spec().WithDefaults(s.Values)
	return p.Revoke(t.Context(), testClient(t), s, access, refresh)
}

// Revocations authenticate as logins do (RFC 7009 §2.1). Their forms contain no scope or
// token_params.
func TestRevokeRequests(t *testing.T) {
	for _, r := range revokers {
		e := serve(t, reply{})
		s := Settings{TokenURL: "http://127.0.0.1:1/token", RevocationURL: e.url, Values: r.values}
		if err := revoke(t, r.provider, s, "the-access-token", "the-refresh-token"); err != nil {
			t.Fatal(err)
		}
		if err := revoke(t, r.provider, s, "only-access", ""); err != nil {
			t.Fatal(err)
		}
		var want []url.Values
		for _, pair := range [][2]string{
			{"the-refresh-token", "refresh_token"}, {"the-access-token", "access_token"}, {"only-access", "access_token"},
		} {
			form := url.Values{"token": {pair[0]}, "token_type_hint": {pair[1]}}
			for name, value := range r.client {
				form[name] = value
			}
			want = append(want, form)
		}
		var got []url.Values
		for _, request := range e.requests() {
			got = append(got, request.form)
			if auth := request.header.Get("Authorization"); auth != r.auth || request.method != http.MethodPost {
				t.Errorf("%s: got %s with Authorization %q, want POST with %q", r.provider, request.method, auth, r.auth)
			}
		}
		if !reflect.DeepEqual(got, want) {
			t.Errorf("%s:\ngot forms %v\nwant      %v", r.provider, got, want)
		}
	}
}

// Every 2xx status is a success, even for an unknown token (RFC 7009 §2.2).
func TestRevokeSucceeds(t *testing.T) {
	for _, answer := range []reply{
		{}, {status: http.StatusNoContent}, {body: "OK"}, {body: "<html>"}, {body: strings.Repeat("x", 70<<10)},
		{body: `{"error":"invalid_token","error_description":"Invalid token"}`},
		{status: http.StatusBadRequest, body: `{"error":"invalid_token"}`}, // of a server that does not follow RFC 7009 §2.2
	} {
		e := serve(t, answer)
		s := Settings{RevocationURL: e.url, Values: revokers[0].values}
		if err := revoke(t, "sinch-india", s, "the-access-token", "the-refresh-token"); err != nil {
			t.Errorf("%d %.40s: got error %v, want none", answer.status, answer.body, err)
		}
		if n := len(e.requests()); n != 2 {
			t.Errorf("%d %.40s: got %d requests, want 2", answer.status, answer.body, n)
		}
	}
}

func TestRevokeFails(t *testing.T) {
	const page = "<html><body>secret door</body></html>"
	for _, test := range []struct {
		name   string
		reply  reply
		kind   token.Kind
		saying string
	}{
		{"unsupported", reply{status: 400, body: `{"error":"unsupported_token_type"}`}, token.Refused, "answered 400 Bad Request: unsupported_token_type"},
		{"401 with invalid_token", reply{status: 401, body: `{"error":"invalid_token"}`}, token.Refused, "401 Unauthorized: invalid_token"},
		{"client", reply{status: 401, body: `{"error":"invalid_client"}`}, token.Refused, "credentials refused: "},
		{"400 that says nothing", reply{status: 400, body: "{}"}, token.Malformed, "the answer gives no reason"},
		{"400 with a page", reply{status: 400, body: page}, token.Malformed, "not an HTML page"},
		{"400 without a body", reply{status: 400}, token.Malformed, "the body is empty"},
		{"404", reply{status: 404, body: page}, token.Malformed, "nothing exists at this address; revocation_url is probably wrong"},
		{"405", reply{status: 405, body: "{}"}, token.Malformed, "does not accept POST; revocation_url is probably wrong"},
		{"418", reply{status: 418, body: "{}"}, token.Malformed, "a revocation endpoint does not use this status"},
		{"302", reply{status: 302}, token.Malformed, "change revocation_url only if the provider has moved"},
		{"429", reply{status: 429, retry: "7"}, token.RateLimited, "asking to wait 7s"},
		{"503", reply{status: 503, retry: "9", body: page}, token.Unavailable, "asking to wait 9s"}, // RFC 7009 §2.2.1
		{"500 with a code", reply{status: 500, body: `{"error":"server_error"}`}, token.Unavailable, "server_error"},
	} {
		t.Run(test.name, func(t *testing.T) {
			for _, r := range revokers {
				e := serve(t, test.reply)
				s := Settings{RevocationURL: e.url + "/revoke?key=query-of-the-url", Values: r.values}
				err := revoke(t, r.provider, s, "the-access-token", "the-refresh-token")
				text := wantFailure(t, err, test.kind, test.saying, "secret door", "query-of-the-url").Error()
				if !strings.HasPrefix(text, "revoking a token: ") || !strings.Contains(text, "/revoke answered ") {
					t.Errorf("%s: got %q, want the step and the endpoint", r.provider, text)
				}
				if strings.Contains(text, "token_url") || strings.Contains(text, noToken) {
					t.Errorf("%s: got %q, which is an error of a login", r.provider, text)
				}
				if n := len(e.requests()); n != 1 {
					t.Errorf("%s: got %d requests, want none after the failure of the first", r.provider, n)
				}
			}
		})
	}
}

func TestRevokeFailsAfterTheRefreshToken(t *testing.T) {
	e := serve(t, reply{}, reply{status: 503})
	s := Settings{RevocationURL: e.url, Values: revokers[0].values}
	wantFailure(t, revoke(t, "sinch-india", s, "the-access-token", "the-refresh-token"), token.Unavailable, "503")
}

func TestRevokeWithoutAnAnswer(t *testing.T) {
	stall := http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() })
	for problem, s := range map[string]Settings{
		"revocation_url must be an http or https URL": {RevocationURL: "gopher://revoke.example"},
		"connection refused":                          {RevocationURL: "http://127.0.0.1:1/revoke"},
		"no complete answer within 20ms":              {RevocationURL: serve(t, stall).url, Timeout: 20 * time.Millisecond},
	} {
		s.Values = revokers[0].values
		f := failure(t, revoke(t, "sinch-india", s, "the-access-token", ""))
		if text := f.Error(); !strings.HasPrefix(text, "revoking a token: ") || !strings.Contains(text, problem) {
			t.Errorf("%s: got %q, want the step and %q", s.RevocationURL, text, problem)
		}
	}
}

func TestRevokeWithholdsTokens(t *testing.T) {
	const access, refresh = "unshown-access", "unshown-refresh"
	for _, secret := range []string{access, refresh, hidden} {
		for how, form := range writings(secret) {
			e := serve(t, reply{status: 400, body: `{"error":` + quote(form) + `,"error_description":` + quote("<"+form+">") + `}`})
			s := Settings{RevocationURL: e.url, Values: revokers[0].values}
			f := failure(t, revoke(t, "sinch-india", s, access, refresh), access, refresh)
			if f.Code != withheld || f.Words != withheld {
				t.Errorf("%s: got code %q and words %q, want both withheld", how, f.Code, f.Words)
			}
		}
	}
}
