// SPDX-License-Identifier: MPL-2.0

package providers

import (
	"context"
	"fmt"
	"net/http"
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
		{"403", reply{status: 403, body: page}, token.Refused, 0, "403 Forbidden"},
		{"403, cut short", reply{status: 403, body: strings.Repeat("x", 70<<10)}, token.Refused, 0, "403 Forbidden"},
		{"408", reply{status: 408, body: page}, token.Unavailable, 0, "408"},
		{"425", reply{status: 425}, token.Unavailable, 0, "425"},
		{"429", reply{status: 429, body: page}, token.RateLimited, 0, "429"},
		{"429 for seconds", reply{status: 429, body: "{}", retry: "7"}, token.RateLimited, 7 * time.Second, "wait 7s"},
		{"429 until a date", reply{status: 429, retry: noon.Add(time.Minute).Format(http.TimeFormat)}, token.RateLimited, time.Minute, "wait 1m0s"},
		{"429 for a day", reply{status: 429, retry: "86400"}, token.RateLimited, 15 * time.Minute, "wait 15m0s"},
		{"500", reply{status: 500, body: "{}"}, token.Unavailable, 0, "500"},
		{"502 with a page", reply{status: 502, body: page}, token.Unavailable, 0, "502 Bad Gateway"},
		{"503", reply{status: 503, retry: "5"}, token.Unavailable, 5 * time.Second, "503"},
		{"503 with much", reply{status: 503, body: strings.Repeat("x", 70<<10)}, token.Unavailable, 0, "503"},
		{"302", reply{status: 302, body: page}, token.Malformed, 0, "redirects are not followed"},
		{"307 with a token", reply{status: 307, body: `{"token":"t","access_token":"t"}`}, token.Malformed, 0, "redirects are not followed"},
		{"400 with a page", reply{status: 400, body: page}, token.Malformed, 0, "not an HTML page"},
		{"404 with a page", reply{status: 404, body: page}, token.Malformed, 0, "token_url is probably wrong"},
		{"404 with JSON", reply{status: 404, body: "{}"}, token.Malformed, 0, "token_url is probably wrong"},
		{"405", reply{status: 405}, token.Malformed, 0, "token_url is probably wrong"},
		{"418", reply{status: 418, body: "{}"}, token.Malformed, 0, "a token endpoint does not use this status"},
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

func TestContractNonsense(t *testing.T) {
	forEach(t, func(t *testing.T, c contract) {
		w := c.wire
		tests := map[string]string{
			"a list":                 "[]",
			"a string":               `"token"`,
			"a number":               "200",
			"null":                   "null",
			"cut short":              w.body("tok", "3600")[:20],
			"followed by more":       w.body("tok", "3600") + "x",
			"an empty object":        "{}",
			"an empty token":         w.body("", "3600"),
			"no token":               fmt.Sprintf(w.success, "null", w.lifetime("3600")),
			"a number for a token":   fmt.Sprintf(w.success, "12345678", w.lifetime("3600")),
			"an object for a token":  fmt.Sprintf(w.success, `{"x":"y"}`, w.lifetime("3600")),
			"a token with a space":   w.body("unshown token", "3600"),
			"a token with a newline": w.body("unshown\r\nX-Evil: yes", "3600"),
			"a token with a zero":    w.body("unshown\x00", "3600"),
			"a token with DEL":       w.body("unshown\x7f", "3600"),
			"a token beyond ASCII":   w.body("unshownü", "3600"),
			"a token not in UTF-8":   strings.Replace(w.body("unshown@", "3600"), "@", "\xff", 1),
			"a token of 33 KiB":      w.body(strings.Repeat("unshown", 33<<10/7), "3600"),
		}
		for name, body := range tests {
			t.Run(name, func(t *testing.T) {
				_, err := c.mint(t, reply{body: body})
				wantFailure(t, err, token.Malformed, "", "unshown")
			})
		}
	})
}

// If a field occurs twice, the last value counts.
func TestContractDuplicateFields(t *testing.T) {
	forEach(t, func(t *testing.T, c contract) {
		one, two := c.wire.body("first", "60"), c.wire.body("second", "3600")
		got, err := c.mint(t, reply{body: strings.TrimSuffix(one, "}") + "," + strings.TrimPrefix(two, "{")})
		wantToken(t, got, err, "second", time.Hour)
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
		_, err = c.lookup(t).Mint(ctx, testClient(t), c.settings("http://127.0.0.1:1"))
		if e := wantFailure(t, err, token.Unavailable, "gave up"); e.Unwrap() != context.Canceled {
			t.Errorf("%v: got cause %v, want %v", e, e.Unwrap(), context.Canceled)
		}
	})
}

func TestContractRefresh(t *testing.T) {
	forEach(t, func(t *testing.T, c contract) {
		r, ok := c.lookup(t).(Refresher)
		if !ok {
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
		if wantFailure(t, err, token.Refused, withheld, "the-old-one"); got != (token.Token{}) {
			t.Errorf("got token %+v with error %v, want no token", got, err)
		}
		if n := len(e.requests()); n != 2 {
			t.Errorf("got %d requests, want 2", n)
		}
	})
}
