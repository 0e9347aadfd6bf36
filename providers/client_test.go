// SPDX-License-Identifier: MPL-2.0

package providers

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httptrace"
	"net/url"
	"os"
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
	for range 3 {
		if _, err := c.post(ctx, request{url: e.url}); err != nil {
			t.Fatal(err)
		}
	}
	if len(reused) != 3 || reused[0] || !reused[1] || !reused[2] {
		t.Errorf("connections reused: %v, want the first used for all", reused)
	}
}

func TestClientFollowsNoRedirect(t *testing.T) {
	target := serve(t, reply{body: "{}"})
	for _, status := range []int{301, 302, 303, 307, 308} {
		e := serve(t, http.RedirectHandler(target.url+"/unshown", status))
		_, err := testClient(t).post(t.Context(), request{url: e.url})
		if e := failure(t, err, "unshown"); e.Kind != token.Malformed || e.Status != status {
			t.Errorf("%d: %v", status, e)
		}
	}
	if n := len(target.requests()); n != 0 {
		t.Errorf("%d requests went where the redirect led", n)
	}
}

func TestClientBoundsHeaders(t *testing.T) {
	e := serve(t, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("X-Long", strings.Repeat("x", 64<<10))
	}))
	_, err := testClient(t).post(t.Context(), request{url: e.url})
	if e := failure(t, err); e.Kind != token.Unavailable {
		t.Errorf("64 KiB of headers: %v", e)
	}
}

// A provider may put what it was sent into the very line that breaks the
// protocol.
func TestClientNetworkErrorsAreBlanked(t *testing.T) {
	e := serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		conn, buffered, err := w.(http.Hijacker).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		defer conn.Close()
		io.WriteString(buffered, "HTTP/1.1 "+hidden+"\r\n\r\n")
		buffered.Flush()
	}))
	p, _ := Lookup("sinch-india")
	s := Settings{TokenURL: e.url, Values: values("username", "acme", "password", hidden)}
	_, err := p.Mint(t.Context(), testClient(t), s)
	if e := failure(t, err); e.Kind != token.Unavailable || !strings.Contains(e.Error(), "not proper HTTP") {
		t.Errorf("broken protocol: %v", e)
	}
}

func TestClientProxyErrorsShowNoPassword(t *testing.T) {
	proxy := httptest.NewServer(reply{status: http.StatusProxyAuthRequired})
	t.Cleanup(proxy.Close)
	tests := map[string]struct {
		proxy func(*http.Request) (*url.URL, error)
		want  string
	}{
		"refuses": {http.ProxyURL(&url.URL{Scheme: "http", User: url.UserPassword("joe", "unshown"), Host: proxy.Listener.Addr().String()}),
			"the proxy answered 407 Proxy Authentication Required"},
		"is not there": {http.ProxyURL(&url.URL{Scheme: "http", User: url.UserPassword("joe", "unshown"), Host: "127.0.0.1:1"}),
			"proxyconnect tcp: dial tcp 127.0.0.1:1: connect: connection refused"},
		"has no address": {func(*http.Request) (*url.URL, error) {
			return nil, errors.New("unshown, as net/http would have it")
		}, "not proper HTTP"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			c := testClient(t)
			c.http.Transport.(*http.Transport).Proxy = test.proxy
			_, err := c.post(t.Context(), request{url: "https://auth.example.com/token"})
			if e := failure(t, err, "unshown"); e.Kind != token.Unavailable || !strings.Contains(e.Error(), test.want) {
				t.Errorf("got %v, want it unavailable: %s", e, test.want)
			}
		})
	}
}

func TestClientSaysWhatIsWrongWithTheConnection(t *testing.T) {
	secure := tlsServer(t, nil)
	pool := NewClients(ClientOptions{Version: "v1"})
	t.Cleanup(pool.CloseIdle)
	c, err := pool.For(certPEM(secure.Certificate().Raw))
	if err != nil {
		t.Fatal(err)
	}
	plain := serve(t, reply{})
	odd, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { odd.Close() })
	go func() {
		for {
			conn, err := odd.Accept()
			if err != nil {
				return
			}
			io.WriteString(conn, "220 mail.example.com ESMTP\r\n")
			conn.Close()
		}
	}()
	_, port, _ := net.SplitHostPort(secure.Listener.Addr().String())
	for address, want := range map[string]string{
		strings.Replace(plain.url, "http:", "https:", 1): "it speaks HTTP where HTTPS was expected",
		"https://" + odd.Addr().String():                 "first record does not look like a TLS handshake",
		"https://localhost:" + port:                      "certificate is valid for",
	} {
		_, err := c.post(t.Context(), request{url: address + "/?unshown"})
		if e := failure(t, err, "unshown"); e.Kind != token.Unavailable || !strings.Contains(e.Error(), want) {
			t.Errorf("%s: %v, want %q", address, e, want)
		}
	}
}

func TestClientShowsOnlyWhatItKnows(t *testing.T) {
	for want, err := range map[string]error{
		"lookup auth.example.com: no such host": &net.DNSError{Err: "no such host", Name: "auth.example.com"},
		"no connection in time":                 &url.Error{Op: "Post", URL: "unshown", Err: os.ErrDeadlineExceeded},
		"what it answered is not proper HTTP":   &url.Error{Op: "Post", URL: "unshown", Err: errors.New("unshown")},
	} {
		if got := showable(fmt.Errorf("unshown: %w", err)); got != want {
			t.Errorf("shown: %q, want %q", got, want)
		}
	}
}

func TestClientRefusesWhatIsNoAddress(t *testing.T) {
	for _, address := range []string{"", "auth.example.com/unshown", "gopher://auth.example.com/unshown", "https:///unshown", "https://[unshown", "http://unshown\x7f"} {
		_, err := testClient(t).post(t.Context(), request{url: address})
		if e := failure(t, err, "unshown"); e.Kind != token.Malformed || !strings.Contains(e.Error(), "token_url") {
			t.Errorf("%q: %v", address, e)
		}
	}
}

// A login that may have been received is not repeated, though the connection it
// was sent on had been used before and then broke.
func TestClientNeverRepeats(t *testing.T) {
	e := serve(t, reply{body: "{}"}, http.HandlerFunc(func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }))
	c := testClient(t)
	if _, err := c.post(t.Context(), request{url: e.url}); err != nil {
		t.Fatal(err)
	}
	_, err := c.post(t.Context(), request{url: e.url})
	if f := failure(t, err); f.Kind != token.Unavailable || len(e.requests()) != 2 {
		t.Errorf("%d requests, %v; want two, the second unavailable", len(e.requests()), f)
	}
}

// A lifetime counts from the moment before the request: the clock is read once more
// for an answer without a Date.
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
	p, _ := Lookup("enablex-sms")
	got, err := p.Mint(t.Context(), c, Settings{TokenURL: e.url, Values: values("app_id", "acme", "app_key", hidden)})
	if err != nil || got.Sent != sent || got.Lifetime != 59*time.Minute {
		t.Errorf("got sent at %v for %v (%v), want %v for 59m", got.Sent, got.Lifetime, err, sent)
	}
}

// What is sent in the clear stays on this machine, however its name is written: the
// proxy of the environment is for the rest.
func TestClientSendsNothingInTheClearToAProxy(t *testing.T) {
	t.Setenv("HTTP_PROXY", "http://proxy.invalid:3128") // the first use of it in the process counts
	for _, u := range []string{"http://localhost/token", "http://LOCALHOST/token", "http://127.0.0.1:8299/token", "http://[::ffff:127.0.0.1]/token"} {
		r, err := http.NewRequest(http.MethodPost, u, nil)
		if err != nil {
			t.Fatal(err)
		}
		if proxy, err := environmentProxy(r); proxy != nil || err != nil {
			t.Errorf("%s goes to %v, %v", u, proxy, err)
		}
	}
}
