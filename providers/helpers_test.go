// SPDX-License-Identifier: MPL-2.0

package providers

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
	"unicode/utf8"

	"vault-plugin-secrets-messaging/internal/clock"
	"vault-plugin-secrets-messaging/internal/secret"
	"vault-plugin-secrets-messaging/internal/token"
)

// hidden is the credential of every account in the tests: with characters that
// each way of writing it down treats in its own way.
const hidden = `pä ss/w+r"d\<&>?~'%`

// noon is the time on the providers' clocks in the tests: far from ours.
var noon = time.Date(2031, 5, 4, 12, 0, 0, 0, time.UTC)

// values makes the Values of a Settings out of names and texts in turn.
func values(pairs ...string) map[string]secret.String {
	m := map[string]secret.String{}
	for i := 0; i < len(pairs); i += 2 {
		m[pairs[i]] = secret.String(pairs[i+1])
	}
	return m
}

// reply is what a fake token endpoint answers.
type reply struct {
	status int    // 0 means 200
	body   string // as it is
	retry  string // Retry-After
	date   string // Date; "" means noon, "none" sends none
}

func (r reply) ServeHTTP(w http.ResponseWriter, _ *http.Request) {
	h := w.Header()
	switch r.date {
	case "":
		h.Set("Date", noon.Format(http.TimeFormat))
	case "none":
		h["Date"] = nil
	default:
		h.Set("Date", r.date)
	}
	if r.retry != "" {
		h.Set("Retry-After", r.retry)
	}
	if r.status != 0 {
		w.WriteHeader(r.status)
	}
	io.WriteString(w, r.body)
}

// sent is a request that a fake endpoint was sent.
type sent struct {
	method string
	header http.Header
	body   string
	form   url.Values // the body as a form; nil if it is none
}

// endpoint is a fake token endpoint, which keeps the requests it gets.
type endpoint struct {
	url string

	mu   sync.Mutex
	sent []sent
}

// serve starts an endpoint that gives each request the next handler, and the
// last one again and again.
func serve(t *testing.T, handlers ...http.Handler) *endpoint {
	t.Helper()
	e := &endpoint{}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		s := sent{method: r.Method, header: r.Header, body: string(body)}
		if strings.HasPrefix(r.Header.Get("Content-Type"), "application/x-www-form-urlencoded") {
			s.form, _ = url.ParseQuery(s.body)
		}
		e.mu.Lock()
		e.sent = append(e.sent, s)
		next := handlers[min(len(e.sent), len(handlers))-1]
		e.mu.Unlock()
		next.ServeHTTP(w, r)
	}))
	t.Cleanup(server.Close)
	e.url = server.URL
	return e
}

// requests returns what was sent so far.
func (e *endpoint) requests() []sent {
	e.mu.Lock()
	defer e.mu.Unlock()
	return slices.Clone(e.sent)
}

// testClient returns a client whose connections end with the test.
func testClient(t *testing.T) *Client {
	t.Helper()
	pool := NewClients(ClientOptions{Version: "v1.2.3"})
	t.Cleanup(pool.CloseIdle)
	c, err := pool.For("")
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// failure returns err as an *Error that keeps its promises.
func failure(t *testing.T, err error, secrets ...string) *token.Error {
	t.Helper()
	var e *token.Error
	if !errors.As(err, &e) {
		t.Fatalf("error is %T (%v), want *Error", err, err)
	}
	if !slices.Contains([]token.Kind{token.Refused, token.RateLimited, token.Unavailable, token.Malformed}, e.Kind) {
		t.Errorf("kind is %q", e.Kind)
	}
	if e.RetryAfter < 0 || e.RetryAfter > 15*time.Minute {
		t.Errorf("RetryAfter is %v", e.RetryAfter)
	}
	if utf8.RuneCountInString(e.Words) > 300 || e.Words != printable(e.Words) {
		t.Errorf("words are not fit to be shown: %q", e.Words)
	}
	if text := e.Error(); !utf8.ValidString(text) || strings.ContainsAny(text, "\n\r\t\x00\x1b") {
		t.Errorf("text is not fit to be shown: %q", text)
	}
	for _, secret := range append(secrets, hidden) {
		for how, form := range writings(secret) {
			for _, shown := range []string{e.Error(), e.Words, e.Code, fmt.Sprintf("%+v", err)} {
				if strings.Contains(shown, form) {
					t.Errorf("the error shows a secret (%s): %s", how, shown)
				}
			}
		}
	}
	return e
}

// goodToken checks what the doc comment of Token promises.
func goodToken(t *testing.T, got token.Token) {
	t.Helper()
	access := got.Access.Reveal()
	if access == "" || len(access) > 32<<10 || strings.ContainsFunc(access, func(r rune) bool { return r < 0x21 || r > 0x7e }) {
		t.Errorf("access token does not belong in a header: %q", access)
	}
	if got.Type != "Bearer" {
		t.Errorf("type is %q", got.Type)
	}
	if got.Lifetime <= 0 || got.Lifetime > token.MaxLifetime {
		t.Errorf("lifetime is %v", got.Lifetime)
	}
	if age := clock.System()().Wall.Sub(got.Sent.Wall); age < 0 || age > time.Minute {
		t.Errorf("sent %v ago", age)
	}
	if got.RefreshLifetime < 0 || (got.Refresh == "" && got.RefreshLifetime != 0) {
		t.Errorf("refresh token %q lives %v", got.Refresh.Reveal(), got.RefreshLifetime)
	}
}

// writings returns the ways in which somebody may write a text down.
func writings(text string) map[string]string {
	quoted, _ := json.Marshal(text)
	var unicode, bytes strings.Builder
	for _, r := range text {
		fmt.Fprintf(&unicode, `\u%04x`, r)
	}
	for _, b := range []byte(text) {
		fmt.Fprintf(&bytes, "%%%02x", b)
	}
	basic := base64.StdEncoding.EncodeToString([]byte("acme:" + text))
	return map[string]string{
		"as it is":             text,
		"query":                url.QueryEscape(text),
		"query, lower case":    lowerEscapes(url.QueryEscape(text)),
		"path":                 url.PathEscape(text),
		"path, lower case":     lowerEscapes(url.PathEscape(text)),
		"each byte escaped":    bytes.String(),
		"JSON":                 strings.Trim(string(quoted), `"`),
		"JSON, Unicode":        unicode.String(),
		"JSON, Unicode, upper": strings.ReplaceAll(strings.ToUpper(unicode.String()), `\U`, `\u`),
		"HTML":                 strings.NewReplacer(`"`, "&#34;", "&", "&amp;", "<", "&lt;", ">", "&gt;").Replace(text),
		"base64":               base64.StdEncoding.EncodeToString([]byte(text)),
		"base64, not padded":   base64.RawStdEncoding.EncodeToString([]byte(text)),
		"base64, URL":          base64.URLEncoding.EncodeToString([]byte(text)),
		"base64, escaped":      base64.StdEncoding.EncodeToString([]byte(url.QueryEscape(text))),
		"query, twice":         url.QueryEscape(url.QueryEscape(text)),
		"HTTP Basic":           basic,
		"HTTP Basic, in a URL": url.QueryEscape(basic),
		"HTTP Basic, escaped":  base64.StdEncoding.EncodeToString([]byte("acme:" + url.QueryEscape(text))),
	}
}

func lowerEscapes(text string) string {
	b := []byte(text)
	for i := range b {
		if b[i] == '%' {
			copy(b[i:], strings.ToLower(string(b[i:i+3])))
		}
	}
	return string(b)
}

func quote(text string) string {
	b, err := json.Marshal(text)
	if err != nil {
		panic(err)
	}
	return string(b)
}

// jwt returns an unsigned JWT with the given claims.
func jwt(claims string) string {
	encode := base64.RawURLEncoding.EncodeToString
	return encode([]byte(`{"alg":"RS256"}`)) + "." + encode([]byte(claims)) + ".c2ln"
}
