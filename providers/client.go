// SPDX-License-Identifier: MPL-2.0

package providers

import (
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptrace"
	"net/url"
	"strings"
	"sync/atomic"
	"time"

	"github.com/hashicorp/go-cleanhttp"

	"vault-plugin-secrets-messaging/internal/clock"
	"vault-plugin-secrets-messaging/internal/token"
)

const (
	defaultTimeout = 10 * time.Second

	// maxBody is twice the size of the largest token.
	maxBody = 2 * token.MaxSize

	// maxHeader leaves room for the cookies of a login page.
	maxHeader = 32 << 10

	// maxIdleConns is per host. Mints that are due at the same time reuse the idle connections.
	maxIdleConns = 4

	// maxIdleTime is short because a NAT may silently drop idle connections. A request on a dropped
	// connection fails only after its whole timeout.
	maxIdleTime = 30 * time.Second
)

// A Client sends requests to the endpoints of providers, with the certificates of one [TLS]. It is
// safe for concurrent use. [Clients.For] returns a Client.
type Client struct {
	http      *http.Client
	userAgent string
	clock     clock.Clock

	certificate *x509.Certificate // that the client presents; nil if it has none
}

func newClient(config *tls.Config, o ClientOptions) *Client {
	t := cleanhttp.DefaultPooledTransport() // HTTP/2 if the server speaks it
	t.Proxy = environmentProxy
	t.OnProxyConnectResponse = checkProxyAnswer
	t.TLSClientConfig = config
	t.MaxConnsPerHost = o.MaxConnsPerHost
	t.MaxIdleConnsPerHost = maxIdleConns
	t.IdleConnTimeout = maxIdleTime
	t.MaxResponseHeaderBytes = maxHeader
	c := &Client{
		userAgent: "vault-plugin-secrets-messaging/" + o.Version,
		clock:     o.Clock,
		http: &http.Client{
			Transport: t,
			// A redirect would send the credentials to another address.
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		},
	}
	if len(config.Certificates) > 0 {
		c.certificate = config.Certificates[0].Leaf
	}
	return c
}

// A role is what an endpoint is for. Its texts are for errors.
type role struct {
	step        string // what failed, if the endpoint is not for logins
	field       string // the field of a config that holds the endpoint's address
	title       string
	unexplained string // the problem of a failure without an explanation
}

var (
	tokenEndpoint      = role{field: "token_url", title: "token endpoint", unexplained: noToken}
	revocationEndpoint = role{step: "revoking a token", field: "revocation_url", title: "revocation endpoint", unexplained: "the answer gives no reason"}
)

// The types of the body of a request.
const (
	formType = "application/x-www-form-urlencoded"
	jsonType = "application/json"
)

// request is one request to an endpoint.
type request struct {
	role        role   // the zero role means tokenEndpoint
	method      string // "" means POST
	url         string
	contentType string
	header      http.Header // further headers, with canonical names; may be nil
	body        string
	timeout     time.Duration // for the whole exchange; 0 means 10 s
	redact      redactor      // for the texts of the answer
}

// send sends a request once; net/http may try again only if no byte was sent. send returns an error
// for a redirect, and an answer for any other status. Errors are of type [*token.Error].
func (c *Client) send(ctx context.Context, r request) (*answer, error) {
	r.timeout, r.role, r.method = cmp.Or(r.timeout, defaultTimeout), cmp.Or(r.role, tokenEndpoint), cmp.Or(r.method, http.MethodPost)
	var connected, asked atomic.Bool
	ctx = httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{GotConn: func(httptrace.GotConnInfo) { connected.Store(true) }})
	limited, cancel := context.WithTimeout(ctx, r.timeout)
	defer cancel()
	limited = context.WithValue(limited, askedKey{}, &asked)
	req, err := http.NewRequestWithContext(limited, r.method, r.url, strings.NewReader(r.body))
	if err != nil || req.URL.Host == "" || (req.URL.Scheme != "https" && req.URL.Scheme != "http") {
		return nil, &token.Error{Kind: token.Malformed, Step: r.role.step, Unsent: true, Problem: r.role.field + " must be an http or https URL with a host"}
	}
	if r.method == http.MethodGet {
		req.Body, req.GetBody = onceOnly{req.Body}, nil // net/http repeats a GET unless it may have a body
	}
	if r.contentType != "" {
		req.Header.Set("Content-Type", r.contentType)
	}
	req.Header.Set("Accept", "application/json")
	maps.Copy(req.Header, r.header)
	req.Header.Set("User-Agent", c.userAgent)

	a := &answer{role: r.role, method: r.method, endpoint: clip(printable(req.URL.Host+req.URL.EscapedPath()), maxWords), redact: r.redact, sent: c.clock(), certificate: c.certificate}
	resp, err := c.http.Do(req)
	a.now, a.asked = c.clock().Wall, asked.Load()
	if a.connected = connected.Load(); err != nil {
		return nil, a.unreachable(ctx, err, r.timeout)
	}
	defer resp.Body.Close()
	a.status, a.header = resp.StatusCode, resp.Header
	a.date, _ = http.ParseTime(resp.Header.Get("Date")) // zero if the header is not valid
	if a.status/100 == 3 {
		return nil, a.redirected(req.URL)
	}
	a.body, err = io.ReadAll(io.LimitReader(resp.Body, maxBody+1))
	switch {
	case err != nil:
		a.body, a.unread = nil, a.unreachable(ctx, err, r.timeout)
	case len(a.body) > maxBody:
		a.body, a.unread = nil, a.fail(token.Malformed, "the body is larger than 64 KiB")
	}
	return a, nil
}

// onceOnly is a body that net/http cannot recognize as empty.
type onceOnly struct{ io.ReadCloser }

// proxyError is a problem with the proxy. It hides the proxy's address, which may contain a
// password.
type proxyError string

func (e proxyError) Error() string { return string(e) }

// environmentProxy returns the proxy from the environment variables, or nil for plain HTTP.
// Endpoints with plain HTTP are on this machine.
func environmentProxy(r *http.Request) (*url.URL, error) {
	if r.URL.Scheme == "http" {
		return nil, nil
	}
	proxy, err := http.ProxyFromEnvironment(r)
	if err != nil {
		return nil, proxyError("the proxy address in the environment must be a valid URL")
	}
	return proxy, nil
}

func checkProxyAnswer(_ context.Context, _ *url.URL, _ *http.Request, r *http.Response) error {
	if r.StatusCode == http.StatusOK {
		return nil
	}
	return proxyError(strings.TrimSpace(fmt.Sprintf("the proxy answered %d %s", r.StatusCode, http.StatusText(r.StatusCode))))
}
