// SPDX-License-Identifier: MPL-2.0

package providers

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/hashicorp/go-cleanhttp"

	"vault-plugin-secrets-messaging/internal/clock"
	"vault-plugin-secrets-messaging/internal/token"
)

const (
	defaultTimeout = 10 * time.Second

	// maxBody is far more than a token answer needs: the token itself is at
	// most half of it.
	maxBody = 64 << 10

	// maxHeader leaves room for the cookies that a login page sets.
	maxHeader = 32 << 10

	// maxIdle and idleTimeout keep a connection for the accounts that fall due
	// together, and no longer: logins are minutes apart, and a connection that
	// idled that long may have been forgotten by a NAT on the way, which costs a
	// whole timeout to find out.
	maxIdle     = 4
	idleTimeout = 30 * time.Second
)

// Client makes the exchanges with token endpoints, with one set of trusted
// certificates. It is safe for concurrent use; [Clients.For] makes it.
type Client struct {
	http      *http.Client
	userAgent string
	clock     clock.Clock
	logins    *logins
}

func newClient(roots *x509.CertPool, o ClientOptions, logins *logins) *Client {
	t := cleanhttp.DefaultPooledTransport() // HTTP/2 where the server has it
	t.Proxy = environmentProxy
	t.OnProxyConnectResponse = proxyAnswered
	t.TLSClientConfig = &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: roots}
	t.MaxConnsPerHost = o.MaxConnsPerHost
	t.MaxIdleConnsPerHost = maxIdle
	t.IdleConnTimeout = idleTimeout
	t.MaxResponseHeaderBytes = maxHeader
	return &Client{
		userAgent: "vault-plugin-secrets-messaging/" + o.Version,
		clock:     o.Clock,
		logins:    logins,
		http: &http.Client{
			Transport: t,
			// A redirect would take the credentials along, to wherever it says.
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		},
	}
}

// A role is what an endpoint is asked for, in the words of errors.
type role struct {
	step    string // what is done there, where it is not a login
	setting string // the field of a config that has its address
	title   string
	silence string // what is wrong with a failure that says nothing
}

var (
	tokenEndpoint      = role{setting: "token_url", title: "token endpoint", silence: "there is no token in it"}
	revocationEndpoint = role{step: "revoking a token", setting: "revocation_url", title: "revocation endpoint", silence: "it does not say why"}
)

// request is one POST to an endpoint.
type request struct {
	role        role // of the endpoint; the zero role is a token endpoint's
	url         string
	contentType string
	header      http.Header // further headers; may be nil
	body        string
	timeout     time.Duration // for the whole exchange; 0 means 10 s
	redact      redactor      // for whatever is shown of the exchange
}

// post makes the exchange, once: net/http repeats a POST only if nothing of it
// was written. The answer is of any status but a redirect's. Errors are of type
// [*token.Error].
func (c *Client) post(ctx context.Context, r request) (*answer, error) {
	if r.timeout <= 0 {
		r.timeout = defaultTimeout
	}
	if r.role == (role{}) {
		r.role = tokenEndpoint
	}
	limited, cancel := context.WithTimeout(ctx, r.timeout)
	defer cancel()
	req, err := http.NewRequestWithContext(limited, http.MethodPost, r.url, strings.NewReader(r.body))
	if err != nil || req.URL.Host == "" || (req.URL.Scheme != "https" && req.URL.Scheme != "http") {
		return nil, &token.Error{Kind: token.Malformed, Step: r.role.step, Problem: r.role.setting + " is not an address that can be asked"}
	}
	for name, values := range r.header {
		req.Header[http.CanonicalHeaderKey(name)] = values
	}
	req.Header.Set("Content-Type", r.contentType)
	req.Header.Set("Accept", "application/json")
	req.Header.Set("User-Agent", c.userAgent)

	a := &answer{role: r.role, endpoint: r.redact.words(req.URL.Host+req.URL.EscapedPath(), maxWords), redact: r.redact, sent: c.clock()}
	resp, err := c.http.Do(req)
	if err != nil {
		return nil, a.unreachable(ctx, err, r.timeout)
	}
	defer resp.Body.Close()
	a.status, a.header, a.now = resp.StatusCode, resp.Header, c.clock().Wall
	if date, err := http.ParseTime(resp.Header.Get("Date")); err == nil {
		a.now, a.dated = date, true
	}
	if a.status/100 == 3 {
		return nil, a.fail(token.Malformed, a.statusHint())
	}
	a.body, err = io.ReadAll(io.LimitReader(resp.Body, maxBody+1))
	switch {
	case err != nil:
		a.body, a.unread = nil, a.unreachable(ctx, err, r.timeout)
	case len(a.body) > maxBody:
		a.body, a.unread = nil, a.fail(token.Malformed, "over 64 KiB")
	}
	return a, nil
}

// unreachable turns a network error into one that can be shown. It has the
// status of the answer if there was the beginning of one.
func (a *answer) unreachable(ctx context.Context, err error, timeout time.Duration) *token.Error {
	e := a.fail(token.Unavailable, "")
	var authority x509.UnknownAuthorityError
	switch {
	case ctx.Err() != nil:
		e.Cause = ctx.Err()
		e.Problem = "not waited for: " + ctx.Err().Error()
	case errors.Is(err, context.DeadlineExceeded):
		e.Cause = context.DeadlineExceeded
		e.Problem = fmt.Sprintf("no complete answer within %s (request_timeout)", timeout)
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		e.Problem = "the connection was closed before the answer was complete"
	case errors.As(err, &authority):
		e.Problem = "its certificate is signed by an authority that is not trusted; ca_cert can name it"
	case errors.Is(err, http.ErrSchemeMismatch):
		e.Problem = "it speaks HTTP where HTTPS was expected"
	default:
		e.Problem = a.redact.words(showable(err), maxWords)
	}
	return e
}

// showable is the text of those errors that tell of the network and of TLS.
// Others repeat what the other side sent, which may be what it was sent, or the
// URL with its query.
func showable(err error) string {
	var (
		op      *net.OpError
		dns     *net.DNSError
		cert    *tls.CertificateVerificationError
		record  tls.RecordHeaderError
		proxy   proxyError
		timeout net.Error
	)
	switch {
	case errors.As(err, &proxy):
		return proxy.Error()
	case errors.As(err, &cert):
		return cert.Error()
	case errors.As(err, &op):
		return op.Error()
	case errors.As(err, &dns):
		return dns.Error()
	case errors.As(err, &record):
		return record.Error()
	case errors.As(err, &timeout) && timeout.Timeout():
		return "no connection in time"
	}
	return "what it answered is not proper HTTP"
}

// proxyError is what went wrong with the proxy, in our own words: its address
// may have a password in it.
type proxyError string

func (e proxyError) Error() string { return string(e) }

// environmentProxy returns the proxy that the environment names for a request. A
// request in the clear is for this machine: no proxy gets to read it, however the
// name of this machine is written.
func environmentProxy(r *http.Request) (*url.URL, error) {
	if r.URL.Scheme == "http" {
		return nil, nil
	}
	proxy, err := http.ProxyFromEnvironment(r)
	if err != nil {
		return nil, proxyError("the proxy that the environment names has no usable address")
	}
	return proxy, nil
}

func proxyAnswered(_ context.Context, _ *url.URL, _ *http.Request, r *http.Response) error {
	if r.StatusCode != http.StatusOK {
		return proxyError(strings.TrimSpace(fmt.Sprintf("the proxy answered %d %s", r.StatusCode, http.StatusText(r.StatusCode))))
	}
	return nil
}
