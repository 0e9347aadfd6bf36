// SPDX-License-Identifier: MPL-2.0

package providers

import (
	"context"
	"fmt"
	"net/http"
	"reflect"
	"strings"
	"testing"
	"time"

	"vault-plugin-secrets-messaging/internal/token"
)

func TestContractFailures(t *testing.T) {
	const page = "<html><body>secret door</body></html>"
	tests := []struct {
		name   string
		reply  reply
		kind   token.Kind
		retry  time.Duration
		saying string // in the text of the error
	}{
		{"401", reply{status: 401, body: page}, token.Refused, 0, "401 Unauthorized"},
		{"401 without a body", reply{status: 401}, token.Refused, 0, "401 Unauthorized"},
		{"403 with a page", reply{status: 403, body: page}, token.Unavailable, 0, "403 Forbidden: the body must be a JSON object, not an HTML page; a proxy or firewall"},
		{"403 without a body", reply{status: 403}, token.Unavailable, 0, "the body is empty; a proxy or firewall has probably blocked the request"},
		{"403 with plain text", reply{status: 403, body: "RBAC: access denied"}, token.Unavailable, 0, "a proxy or firewall"},
		{"403 with much", reply{status: 403, body: strings.Repeat("x", 70<<10)}, token.Unavailable, 0, "larger than 64 KiB; a proxy or firewall"},
		{"403 for seconds", reply{status: 403, body: page, retry: "7"}, token.Unavailable, 7 * time.Second, "wait 7s"},
		{"403 with JSON", reply{status: 403, body: "{}"}, token.Refused, 0, "403 Forbidden"},
		{"403 with a JSON string", reply{status: 403, body: `"No."`}, token.Refused, 0, `"No."`},
		{"407 with a page", reply{status: 407, body: page}, token.Unavailable, 0, "a proxy or firewall"},
		{"408", reply{status: 408, body: page, retry: "7"}, token.Unavailable, 7 * time.Second, "408"},
		{"425", reply{status: 425, retry: "7"}, token.Unavailable, 7 * time.Second, "425"},
		{"429", reply{status: 429, body: page}, token.RateLimited, 0, "429"},
		{"429 for seconds", reply{status: 429, body: "{}", retry: "7"}, token.RateLimited, 7 * time.Second, "wait 7s"},
		{"429 until a date", reply{status: 429, retry: noon.Add(time.Minute).Format(http.TimeFormat)}, token.RateLimited, time.Minute, "wait 1m0s"},
		{"429 for a day", reply{status: 429, retry: "86400"}, token.RateLimited, 15 * time.Minute, "wait 15m0s"},
		{"500", reply{status: 500, body: "{}", retry: "120"}, token.Unavailable, 2 * time.Minute, "500"},
		{"502 with a page", reply{status: 502, body: page, retry: "120"}, token.Unavailable, 2 * time.Minute, "502 Bad Gateway"},
		{"503", reply{status: 503, retry: "5"}, token.Unavailable, 5 * time.Second, "503"},
		{"503 with an error", reply{status: 503, body: `{"error":{"message":"later"}}`, retry: "5"}, token.Unavailable, 5 * time.Second, `"later"`},
		{"504", reply{status: 504, retry: "86400"}, token.Unavailable, 15 * time.Minute, "504"},
		{"503 with much", reply{status: 503, body: strings.Repeat("x", 70<<10)}, token.Unavailable, 0, "503"},
		{"302", reply{status: 302, body: page}, token.Malformed, 0, "redirects are not followed"},
		{"307 with a token", reply{status: 307, body: `{"token":"t","access_token":"t"}`}, token.Malformed, 0, "redirects are not followed"},
		{"400 with a page", reply{status: 400, body: page}, token.Malformed, 0, "not an HTML page"},
		{"404 with a page", reply{status: 404, body: page}, token.Malformed, 0, "token_url is probably wrong"},
		{"404 with JSON", reply{status: 404, body: "{}"}, token.Refused, 0, "token_url is probably wrong"},
		{"404 with a reason", reply{status: 404, body: `{"message":"no such tenant"}`}, token.Refused, 0, `token_url is probably wrong: "no such tenant"`},
		{"405", reply{status: 405}, token.Malformed, 0, "token_url is probably wrong"},
		{"410 with JSON", reply{status: 410, body: "{}"}, token.Refused, 0, "token_url is probably wrong"},
		{"418", reply{status: 418}, token.Malformed, 0, "a token endpoint does not use this status"},
		{"422 with JSON", reply{status: 422, body: `{"detail":"bad key"}`}, token.Refused, 0, `"bad key"`},
		{"400 that says nothing", reply{status: 400, body: "{}"}, token.Refused, 0, "the answer contains no token"},
		{"a list", reply{status: 400, body: `[{"errorCode":"INVALID","message":"bad key"}]`}, token.Refused, 0, `INVALID "bad key"`},
		{"a form", reply{body: "access_token=secret+door&expires_in=3600"}, token.Malformed, 0, "not form-encoded parameters"},
		{"a form with an error", reply{status: 400, body: "error=invalid_client&error_description=bad+key"}, token.Refused, 0, `invalid_client "bad key"`},
		{"XML", reply{body: `<?xml version="1.0"?><token>secret door</token>`}, token.Malformed, 0, "not XML"},
		{"plain text", reply{body: "secret door"}, token.Malformed, 0, "not plain text"},
		{"JSON that is cut short", reply{body: `{"token":"secret door`}, token.Malformed, 0, "damaged or cut short"},
		{"a JSON list", reply{body: `["secret door"]`}, token.Malformed, 0, "not a JSON list"},
		{"a page", reply{body: page}, token.Malformed, 0, "not an HTML page"},
		{"nothing", reply{}, token.Malformed, 0, "the body is empty"},
		{"204", reply{status: 204}, token.Malformed, 0, "the body is empty"},
		{"over 64 KiB", reply{body: `{"x":"` + strings.Repeat("x", 64<<10) + `"}`}, token.Malformed, 0, "larger than 64 KiB"},
	}
	forEach(t, func(t *testing.T, c contract) {
		for _, test := range tests {
			t.Run(test.name, func(t *testing.T) {
				_, err := c.mint(t, test.reply)
				e := wantFailure(t, err, test.kind, test.saying, "query-of-the-url", "secret door")
				if e.RetryAfter != test.retry || !strings.Contains(e.Error(), "/path/token answered") {
					t.Errorf("got RetryAfter %v in %q, want %v and the endpoint", e.RetryAfter, e, test.retry)
				}
			})
		}
	})
}

// An error counts as a refusal unless the answer says that a later request may succeed.
func TestContractErrorsOfAnyFormat(t *testing.T) {
	const refused, unavailable, limited, malformed = token.Refused, token.Unavailable, token.RateLimited, token.Malformed
	tests := []struct {
		status      int
		body        string
		kind        token.Kind
		code, words string
	}{
		{400, `{"error":{"message":"bad key"}}`, refused, "", "bad key"},
		{400, `{"errorCode":"E0001","errorSummary":"bad key"}`, refused, "E0001", "bad key"},
		{200, `{"error":{"message":"bad key"}}`, refused, "", "bad key"},
		{200, `{"errorCode":"E0001","errorSummary":"bad key"}`, refused, "E0001", "bad key"},
		{200, `{"errcode":40013,"errmsg":"bad key"}`, refused, "40013", "bad key"},
		{200, `{"error":"out_of_cheese"}`, refused, "out_of_cheese", ""},
		{200, `{"error":true,"message":"bad key"}`, refused, "", "bad key"},
		{200, `{"errors":["bad key"]}`, refused, "", "bad key"},
		{200, `{"errors":[{"code":"E1","detail":"bad key"}]}`, refused, "E1", "bad key"},
		{200, `{"Error":"E1","Message":"bad key"}`, refused, "E1", "bad key"},
		{200, `{"success":false,"message":"bad key"}`, refused, "", "bad key"},
		{200, `{"status":"error","message":"bad key"}`, refused, "", "bad key"},
		{200, `{"status":401,"message":"bad key"}`, refused, "401", "bad key"},
		{401, `{"fault":{"faultstring":"bad key","detail":{"errorcode":"oauth.v2.InvalidClient"}}}`, refused, "oauth.v2.InvalidClient", "bad key"},
		{401, `{"timestamp":1,"status":401,"error":"Unauthorized","message":"bad key"}`, refused, "Unauthorized", "bad key"},
		{422, `{"message":"bad key"}`, refused, "", "bad key"},
		{500, `{"error":"invalid_grant"}`, refused, "invalid_grant", ""}, // a wrong password, whatever the status
		{400, `{"error":"invalid_client","error_description":"bad key"}`, refused, "invalid_client", "bad key"},
		{401, `{"error":"invalid_client"}`, refused, "invalid_client", ""},
		{404, `{"error":"unauthorized_client"}`, refused, "unauthorized_client", ""},
		{400, `{"error":"account_locked"}`, refused, "account_locked", ""},
		{403, `{"error":"mfa_required"}`, refused, "mfa_required", ""},
		{404, `{"error":"Realm does not exist"}`, refused, "Realm does not exist", ""},
		{400, `{"error":"400"}`, refused, "400", ""},
		{400, `{"error":"","error_description":"bad key"}`, refused, "", "bad key"},
		{200, `{"error":null,"error_description":"bad key"}`, refused, "", "bad key"},

		{200, `{"error":"temporarily_unavailable"}`, unavailable, "temporarily_unavailable", ""},
		{401, `{"error":"temporarily_unavailable"}`, unavailable, "temporarily_unavailable", ""},
		{400, `{"error":"server_error"}`, unavailable, "server_error", ""},
		{403, `{"error":"server_error"}`, unavailable, "server_error", ""},
		{500, `{"error":"unknown_error"}`, unavailable, "unknown_error", ""},
		{400, `{"error":{"code":503,"message":"later"}}`, unavailable, "503", "later"},
		{200, `{"code":500,"message":"later"}`, unavailable, "500", "later"},
		{408, `{"error":"later"}`, unavailable, "later", ""},
		{425, `{"error":"later"}`, unavailable, "later", ""},
		{502, `{"error":{"message":"later"}}`, unavailable, "", "later"},
		{400, `{"error":"slow_down"}`, limited, "slow_down", ""},
		{400, `{"error":{"code":429,"message":"later"}}`, limited, "429", "later"},
		{429, `{"error":"invalid_client"}`, limited, "invalid_client", ""},
		{429, `{"error":"server_error"}`, limited, "server_error", ""},

		{200, `{"error":null,"errors":[],"errcode":0,"code":200}`, malformed, "200", ""},
	}
	forEach(t, func(t *testing.T, c contract) {
		for _, test := range tests {
			_, err := c.mint(t, reply{status: test.status, body: test.body, retry: "7"})
			e := failure(t, err)
			if e.Kind != test.kind || e.Code != test.code || e.Words != test.words {
				t.Errorf("%d %s:\ngot  %s, code %q, words %q\nwant %s, code %q, words %q", test.status, test.body,
					e.Kind, e.Code, e.Words, test.kind, test.code, test.words)
			}
			if wait := map[bool]time.Duration{true: 7 * time.Second}[test.kind == unavailable || test.kind == limited]; e.RetryAfter != wait {
				t.Errorf("%d %s: got RetryAfter %v, want %v", test.status, test.body, e.RetryAfter, wait)
			}
		}
	})
}

func TestContractRedirects(t *testing.T) {
	const leads = "redirects are not followed, and this redirect leads to "
	forEach(t, func(t *testing.T, c contract) {
		for location, saying := range map[string]string{
			"https://login.example.com/unshown?next=1": leads + "login.example.com; change token_url only if the provider has moved",
			"https://user:unshown@new.example.com:81/": leads + "new.example.com:81; ",
			"/unshown":                   leads + "127.0.0.1:",
			"":                           leads + "an address that cannot be shown; ",
			"https://unshown_host.test/": leads + "an address that cannot be shown; ",
		} {
			_, err := c.mint(t, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				w.Header().Set("Location", location)
				w.WriteHeader(http.StatusFound)
			}))
			wantFailure(t, err, token.Malformed, saying, "unshown")
		}
	})
}

func TestContractNonsense(t *testing.T) {
	forEach(t, func(t *testing.T, c contract) {
		success := c.wire.body("unshown-token", "3600")
		for _, body := range []string{"[]", `"unshown"`, "200", "null", success[:20], success + "x", "{}"} {
			_, err := c.mint(t, reply{body: body})
			wantFailure(t, err, token.Malformed, "", "unshown")
		}
	})
}

func TestContractRefusalPassesOnWords(t *testing.T) {
	forEach(t, func(t *testing.T, c contract) {
		for _, status := range []int{200, 400, 401, 403, 500} {
			_, err := c.mint(t, reply{status: status, body: c.wire.refused("Invalid\tuser\u202e credentials\n")})
			e := wantFailure(t, err, token.Refused, `Invalid user credentials"`)
			if e.Status != status || e.Code == "" {
				t.Errorf("got status %d and code %q, want %d and a code", e.Status, e.Code, status)
			}
		}
	})
}

func TestContractSecretsAreWithheld(t *testing.T) {
	forEach(t, func(t *testing.T, c contract) {
		for how, form := range writings(hidden) {
			_, err := c.mint(t, reply{status: 401, body: c.wire.refused("no: <" + form + "> is wrong")})
			if e := failure(t, err); e.Words != withheld || e.Code == withheld {
				t.Errorf("%s: got code %q and words %q, want only the words withheld", how, e.Code, e.Words)
			}
		}
	})
}

func TestContractNoAnswer(t *testing.T) {
	stall := http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() })
	stallInBody := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprint(w, `{"token":`)
		w.(http.Flusher).Flush()
		<-r.Context().Done()
	})
	cut := http.HandlerFunc(func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) })
	forEach(t, func(t *testing.T, c contract) {
		for _, h := range []http.Handler{stall, stallInBody} {
			s := c.settings(serve(t, h).url)
			s.Timeout = 20 * time.Millisecond
			_, err := c.ask(t, s)
			wantFailure(t, err, token.Unavailable, "no complete answer within 20ms", "query-of-the-url")
		}
		_, err := c.mint(t, cut)
		wantFailure(t, err, token.Unavailable, "the connection was closed", "query-of-the-url")
		_, err = c.ask(t, c.settings("http://127.0.0.1:1"))
		wantFailure(t, err, token.Unavailable, "connection refused", "query-of-the-url")
		_, err = c.ask(t, Settings{Values: c.values})
		wantFailure(t, err, token.Malformed, "token_url must be an http or https URL")
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		_, err = mustLookup(t, c.provider).Mint(ctx, testClient(t), c.settings("http://127.0.0.1:1"))
		if e := wantFailure(t, err, token.Unavailable, "gave up"); e.Unwrap() != context.Canceled {
			t.Errorf("%v: got cause %v, want %v", e, e.Unwrap(), context.Canceled)
		}
	})
}

func TestContractRefresh(t *testing.T) {
	forEach(t, func(t *testing.T, c contract) {
		r := mustLookup(t, c.provider)
		if !r.Spec().CanRefresh {
			t.Skip("no refresh")
		}
		e := serve(t, reply{body: c.wire.body("new", "3600")}, reply{status: 401, body: c.wire.refused("the-old-one is dead")})
		got, err := r.Refresh(t.Context(), testClient(t), c.settings(e.url), "the-old-one")
		wantToken(t, got, err, "new", time.Hour)
		checkToken(t, got)
		if got.Refresh != "the-old-one" {
			t.Errorf("got refresh token %q, want the old one", got.Refresh.Reveal())
		}
		got, err = r.Refresh(t.Context(), testClient(t), c.settings(e.url), "the-old-one")
		if wantFailure(t, err, token.Refused, withheld, "the-old-one"); !reflect.DeepEqual(got, token.Token{}) {
			t.Errorf("got token %+v with error %v, want no token", got, err)
		}
		if n := len(e.requests()); n != 2 {
			t.Errorf("got %d requests, want 2", n)
		}
	})
}
