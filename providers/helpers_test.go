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
	"regexp"
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

// hidden is the secret in most tests. Each encoding changes some of its characters.
const hidden = `pä ss/w+r"d\<&>?~'%`

// noon is the default time on all clocks in the tests.
var noon = time.Date(2031, 5, 4, 12, 0, 0, 0, time.UTC)

// must returns v, and panics if the setup of a test fails.
func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

// values makes a map of values from pairs of name and value.
func values(pairs ...string) map[string]secret.String {
	m := map[string]secret.String{}
	for i := 0; i < len(pairs); i += 2 {
		m[pairs[i]] = secret.String(pairs[i+1])
	}
	return m
}

// mustLookup returns a provider of the catalogue.
func mustLookup(t testing.TB, name string) Provider {
	t.Helper()
	p, ok := Lookup(name)
	if !ok {
		t.Fatalf("provider %q: not found", name)
	}
	return p
}

// reply is the answer of a fake endpoint.
type reply struct {
	status int // 0 means 200
	body   string
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

// sent is a request that a fake endpoint received.
type sent struct {
	method string
	header http.Header
	body   string
	form   url.Values // nil if the body is no form
}

// endpoint is a fake endpoint that records its requests.
type endpoint struct {
	url string

	mu   sync.Mutex
	sent []sent
}

// serve starts an endpoint. Each handler answers one request; the last handler also answers all
// later requests.
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

// requests returns the requests so far.
func (e *endpoint) requests() []sent {
	e.mu.Lock()
	defer e.mu.Unlock()
	return slices.Clone(e.sent)
}

// testClient returns a client whose clock shows noon.
func testClient(t *testing.T) *Client {
	t.Helper()
	pool := NewClients(ClientOptions{Version: "v1.2.3", Clock: func() clock.Instant { return clock.Instant{Wall: noon} }})
	t.Cleanup(pool.CloseIdle)
	return must(pool.For(TLS{}))
}

// transport answers HTTP requests without a network.
type transport struct{ http.Handler }

func (h transport) RoundTrip(r *http.Request) (*http.Response, error) {
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	resp := w.Result()
	resp.Request = r
	return resp, nil
}

// failure returns err as a [*token.Error], and checks that the error shows no secret.
func failure(t *testing.T, err error, secrets ...string) *token.Error {
	t.Helper()
	var e *token.Error
	if !errors.As(err, &e) {
		t.Fatalf("got error %v of type %T, want a *token.Error", err, err)
	}
	if e.RetryAfter < 0 || e.RetryAfter > token.MaxRetryAfter {
		t.Errorf("%v: got RetryAfter %v, want 0 to %v", e, e.RetryAfter, token.MaxRetryAfter)
	}
	if utf8.RuneCountInString(e.Words) > maxWords || utf8.RuneCountInString(e.Code) > maxCode {
		t.Errorf("got code %q and words %q, want at most %d and %d characters", e.Code, e.Words, maxCode, maxWords)
	}
	shown := fmt.Sprintf("%+v %#v %s", err, e, e.Error())
	if text := e.Error(); text != printable(text) {
		t.Errorf("got unprintable characters in %q", text)
	}
	for _, secret := range append(secrets, hidden) {
		for how, form := range writings(secret) {
			if strings.Contains(shown, form) {
				t.Errorf("got a secret (%s) in %s", how, shown)
			}
		}
	}
	return e
}

// wantFailure checks the kind of an error and a part of its text.
func wantFailure(t *testing.T, err error, kind token.Kind, saying string, secrets ...string) *token.Error {
	t.Helper()
	e := failure(t, err, secrets...)
	if e.Kind != kind || !strings.Contains(e.Error(), saying) {
		t.Errorf("got %q, want it %s and to contain %q", e, kind, saying)
	}
	return e
}

// wantToken checks the access token and the lifetime of a token.
func wantToken(t *testing.T, got token.Token, err error, access string, lifetime time.Duration) {
	t.Helper()
	if err != nil || got.Access.Reveal() != access || (got.Lifetime-lifetime).Abs() > time.Microsecond {
		t.Errorf("got token %q for %v, error %v; want %q for %v", got.Access.Reveal(), got.Lifetime, err, access, lifetime)
	}
}

// checkToken checks the rules for all tokens.
func checkToken(t *testing.T, got token.Token) {
	t.Helper()
	access := got.Access.Reveal()
	if access == "" || len(access) > token.MaxSize || strings.ContainsFunc(access, func(r rune) bool { return r < 0x21 || r > 0x7e }) {
		t.Errorf("got access token %q, want visible ASCII", access)
	}
	if got.Type != "Bearer" || got.Lifetime <= 0 || got.Lifetime > token.MaxLifetime || got.Sent == (clock.Instant{}) {
		t.Errorf("got %+v, want a bearer token with a lifetime and the time of its request", got)
	}
	if got.RefreshLifetime < 0 || (got.Refresh == "" && got.RefreshLifetime != 0) {
		t.Errorf("got refresh token %q for %v", got.Refresh.Reveal(), got.RefreshLifetime)
	}
}

// writings returns a text in every encoding that providers may use.
func writings(text string) map[string]string {
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
		"JSON":                 strings.Trim(quote(text), `"`),
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
	return regexp.MustCompile("%..").ReplaceAllStringFunc(text, strings.ToLower)
}

func quote(text string) string { return string(must(json.Marshal(text))) }

// jwt returns an unsigned JWT with the given claims.
func jwt(claims string) string {
	encode := base64.RawURLEncoding.EncodeToString
	return encode([]byte(`{"alg":"RS256"}`)) + "." + encode([]byte(claims)) + ".c2ln"
}
