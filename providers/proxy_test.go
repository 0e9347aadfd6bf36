// SPDX-License-Identifier: MPL-2.0

package providers

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"net/url"
	"testing"

	"vault-plugin-secrets-messaging/internal/token"
)

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

// A plain HTTP request to this machine uses no proxy, whatever name of this machine the request
// uses.
func TestPlainHTTPNeedsNoProxy(t *testing.T) {
	t.Setenv("HTTP_PROXY", "http://proxy.invalid:3128") // net/http reads it once per process
	for _, u := range []string{"http://localhost/token", "http://LOCALHOST/token", "http://127.0.0.1:8299/token", "http://[::ffff:127.0.0.1]/token"} {
		r, err := http.NewRequest(http.MethodPost, u, nil)
		if err != nil {
			t.Fatal(err)
		}
		if proxy, err := environmentProxy(r); proxy != nil || err != nil {
			t.Errorf("%s: got proxy %v, error %v; want none", u, proxy, err)
		}
	}
}
