// SPDX-License-Identifier: MPL-2.0

package providers

import (
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/http/httptrace"
	"net/url"
	"strings"
	"testing"
	"time"

	"vault-plugin-secrets-messaging/internal/clock"
	"vault-plugin-secrets-messaging/internal/token"
)

func TestClientKeepsConnections(t *testing.T) {
	e := serve(t, reply{body: "{}"})
	c := testClient(t)
	var reused []bool
	ctx := httptrace.WithClientTrace(t.Context(), &httptrace.ClientTrace{
		GotConn: func(info httptrace.GotConnInfo) { reused = append(reused, info.Reused) },
	})
	for range 20 {
		must(c.send(ctx, request{url: e.url}))
	}
	again := 0
	for _, r := range reused {
		if r {
			again++
		}
	}
	// net/http does not reuse a connection if its writing goroutine is over 50 ms late, as may
	// happen on a slow machine.
	if len(reused) != 20 || again < 10 {
		t.Errorf("got connections reused: %v, want 20 requests, most of them over a reused connection", reused)
	}
}

func TestClientFollowsNoRedirect(t *testing.T) {
	target := serve(t, reply{body: "{}"})
	for _, status := range []int{301, 302, 303, 307, 308} {
		e := serve(t, http.RedirectHandler(target.url+"/unshown", status))
		_, err := testClient(t).send(t.Context(), request{url: e.url})
		wantFailure(t, err, token.Malformed, fmt.Sprintf("answered %d ", status), "unshown")
	}
	if n := len(target.requests()); n != 0 {
		t.Errorf("got %d requests to the target of the redirects, want none", n)
	}
}

func TestClientBoundsHeaders(t *testing.T) {
	e := serve(t, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("X-Long", strings.Repeat("x", 64<<10))
	}))
	_, err := testClient(t).send(t.Context(), request{url: e.url})
	wantFailure(t, err, token.Unavailable, "")
}

func TestClientRefusesInvalidURLs(t *testing.T) {
	for _, address := range []string{"", "auth.example.com/unshown", "gopher://auth.example.com/unshown", "https:///unshown", "https://[unshown", "http://unshown\x7f"} {
		t.Run(address, func(t *testing.T) {
			_, err := testClient(t).send(t.Context(), request{url: address})
			wantFailure(t, err, token.Malformed, "token_url must be an http or https URL", "unshown")
		})
	}
}

// net/http repeats some requests after a broken connection. A login must never be repeated.
func TestClientNeverRepeats(t *testing.T) {
	for _, method := range []string{http.MethodPost, http.MethodGet} {
		e := serve(t, reply{body: "{}"}, http.HandlerFunc(func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }))
		c := testClient(t)
		must(c.send(t.Context(), request{url: e.url, method: method}))
		_, err := c.send(t.Context(), request{url: e.url, method: method})
		wantFailure(t, err, token.Unavailable, "")
		requests := e.requests()
		if len(requests) != 2 {
			t.Errorf("%s: got %d requests, want 2", method, len(requests))
		}
		if h := requests[0].header; h.Get("Transfer-Encoding") != "" || method == http.MethodGet && h.Get("Content-Length") != "" || requests[0].body != "" {
			t.Errorf("%s: got headers %v with body %q, want no body", method, h, requests[0].body)
		}
	}
}

func TestClientTellsWhenTheRequestWasSent(t *testing.T) {
	e := serve(t, reply{date: "none", body: enablexWire.body("tok", "3600")})
	readings := []clock.Instant{{Wall: noon, Mono: time.Hour}, {Wall: noon.Add(time.Minute), Mono: 2 * time.Hour}}
	sent := readings[0]
	c := testClient(t)
	c.clock = func() clock.Instant {
		now := readings[0]
		readings = readings[1:]
		return now
	}
	enablex := contractOf(t, "enablex-sms")
	got, err := mustLookup(t, enablex.provider).Mint(t.Context(), c, enablex.settings(e.url))
	wantToken(t, got, err, "tok", 59*time.Minute)
	if got.Sent != sent {
		t.Errorf("got Sent %v, want %v", got.Sent, sent)
	}
}

func TestProxyErrorsShowNoPassword(t *testing.T) {
	proxy := httptest.NewServer(reply{status: http.StatusProxyAuthRequired})
	t.Cleanup(proxy.Close)
	at := func(host string) func(*http.Request) (*url.URL, error) {
		return http.ProxyURL(&url.URL{Scheme: "http", User: url.UserPassword("joe", "unshown"), Host: host})
	}
	for want, proxy := range map[string]func(*http.Request) (*url.URL, error){
		"the proxy answered 407 Proxy Authentication Required":                at(proxy.Listener.Addr().String()),
		"proxyconnect tcp: dial tcp 127.0.0.1:1: connect: connection refused": at("127.0.0.1:1"),
		"not valid HTTP": func(*http.Request) (*url.URL, error) { return nil, errors.New("unshown, like an error of net/http") },
	} {
		c := testClient(t)
		c.http.Transport.(*http.Transport).Proxy = proxy
		_, err := c.send(t.Context(), request{url: "https://auth.example.com/token"})
		wantFailure(t, err, token.Unavailable, want, "unshown")
	}
}

// Plain HTTP requests to this machine use no proxy.
func TestPlainHTTPNeedsNoProxy(t *testing.T) {
	t.Setenv("HTTP_PROXY", "http://proxy.invalid:3128") // net/http reads it once per process
	for _, u := range []string{"http://localhost/token", "http://LOCALHOST/token", "http://127.0.0.1:8299/token", "http://[::ffff:127.0.0.1]/token"} {
		if proxy, err := environmentProxy(must(http.NewRequest(http.MethodPost, u, nil))); proxy != nil || err != nil {
			t.Errorf("%s: got proxy %v, error %v; want none", u, proxy, err)
		}
	}
}
