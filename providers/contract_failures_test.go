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
		{"302", reply{status: 302, body: page}, token.Malformed, 0, "not followed"},
		{"307 with a token", reply{status: 307, body: `{"token":"t","access_token":"t"}`}, token.Malformed, 0, "not followed"},
		{"400 with a page", reply{status: 400, body: page}, token.Malformed, 0, "HTML"},
		{"404 with a page", reply{status: 404, body: page}, token.Malformed, 0, "token_url is probably wrong"},
		{"404 with JSON", reply{status: 404, body: "{}"}, token.Malformed, 0, "token_url is probably wrong"},
		{"405", reply{status: 405}, token.Malformed, 0, "token_url is probably wrong"},
		{"418", reply{status: 418, body: "{}"}, token.Malformed, 0, "not a status of a token endpoint"},
		{"a page", reply{body: page}, token.Malformed, 0, "HTML"},
		{"nothing", reply{}, token.Malformed, 0, "empty"},
		{"204", reply{status: 204}, token.Malformed, 0, "empty"},
		{"over 64 KiB", reply{body: `{"x":"` + strings.Repeat("x", 64<<10) + `"}`}, token.Malformed, 0, "over 64 KiB"},
	}
	forEach(t, func(t *testing.T, c contract) {
		for _, test := range tests {
			t.Run(test.name, func(t *testing.T) {
				_, err := c.mint(t, test.reply)
				e := failure(t, err, "query-of-the-url", "secret door")
				if e.Kind != test.kind || e.RetryAfter != test.retry {
					t.Errorf("%q, retry after %v; want %q, %v", e.Kind, e.RetryAfter, test.kind, test.retry)
				}
				if text := e.Error(); !strings.Contains(text, test.saying) || !strings.Contains(text, "/path/token answered") {
					t.Errorf("it reads %q, want the endpoint and %q in it", text, test.saying)
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
				if e := failure(t, err, "unshown"); e.Kind != token.Malformed {
					t.Errorf("%v, want it malformed", e)
				}
			})
		}
	})
}

// Of fields that occur twice the last counts, for every use of it.
func TestContractDuplicateFields(t *testing.T) {
	forEach(t, func(t *testing.T, c contract) {
		one, two := c.wire.body("first", "60"), c.wire.body("second", "3600")
		got, err := c.mint(t, reply{body: strings.TrimSuffix(one, "}") + "," + strings.TrimPrefix(two, "{")})
		if err != nil || got.Access != "second" || got.Lifetime != time.Hour {
			t.Errorf("got %q for %v (%v), want the second for an hour", got.Access.Reveal(), got.Lifetime, err)
		}
	})
}

func TestContractRefusalPassesOnWords(t *testing.T) {
	forEach(t, func(t *testing.T, c contract) {
		for _, status := range []int{200, 400, 401, 403, 500} {
			_, err := c.mint(t, reply{status: status, body: c.wire.refused("Invalid\tuser\u202e credentials\n")})
			e := failure(t, err)
			if e.Kind != token.Refused || e.Status != status || e.Code == "" {
				t.Errorf("with %d: kind %q, status %d, code %q; want a refusal", status, e.Kind, e.Status, e.Code)
			}
			if !strings.HasSuffix(e.Words, "Invalid user credentials") || !strings.Contains(e.Error(), e.Words) {
				t.Errorf("with %d: the provider's words are lost: %v", status, e)
			}
		}
	})
}

func TestContractSecretsAreBlanked(t *testing.T) {
	forEach(t, func(t *testing.T, c contract) {
		for how, form := range writings(hidden) {
			_, err := c.mint(t, reply{status: 401, body: c.wire.refused("no: <" + form + "> is wrong")})
			if e := failure(t, err); !strings.Contains(e.Words, "no: <[redacted]") || !strings.Contains(e.Words, "> is wrong") {
				t.Errorf("%s: words are %q", how, e.Words)
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
		for name, h := range map[string]http.Handler{"stalls": stall, "stalls in the body": stallInBody} {
			s := c.settings(serve(t, h).url)
			s.Timeout = 20 * time.Millisecond
			_, err := c.ask(t, s)
			if e := failure(t, err, "query-of-the-url"); e.Kind != token.Unavailable || !strings.Contains(e.Error(), "within 20ms") {
				t.Errorf("%s: %v", name, e)
			}
		}
		_, err := c.mint(t, cut)
		if e := failure(t, err, "query-of-the-url"); e.Kind != token.Unavailable || !strings.Contains(e.Error(), "closed") {
			t.Errorf("cut: %v", e)
		}
		_, err = c.ask(t, c.settings("http://127.0.0.1:1"))
		if e := failure(t, err, "query-of-the-url"); e.Kind != token.Unavailable || !strings.Contains(e.Error(), "refused") {
			t.Errorf("nobody there: %v", e)
		}
		_, err = c.ask(t, Settings{Values: c.values})
		if e := failure(t, err); e.Kind == token.Refused || e.Kind == token.RateLimited {
			t.Errorf("no address: %v", e)
		}
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		_, err = c.lookup(t).Mint(ctx, testClient(t), c.settings("http://127.0.0.1:1"))
		if e := failure(t, err); e.Kind != token.Unavailable || e.Unwrap() != context.Canceled {
			t.Errorf("cancelled: %v", e)
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
		if err != nil || got.Access != "new" || got.Refresh != "the-old-one" {
			t.Errorf("got %q with refresh token %q (%v), want the new one with the old one", got.Access.Reveal(), got.Refresh.Reveal(), err)
		}
		goodToken(t, got)
		got, err = r.Refresh(t.Context(), testClient(t), c.settings(e.url), "the-old-one")
		if f := failure(t, err, "the-old-one"); f.Kind != token.Refused || f.Words != "[redacted] is dead" || got != (token.Token{}) {
			t.Errorf("refused: %v", f)
		}
		if n := len(e.requests()); n != 2 {
			t.Errorf("%d requests for two refreshes", n)
		}
	})
}
