package providers

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"sync"
	"time"

	"github.com/hashicorp/go-cleanhttp"
)

const (
	defaultTimeout = 10 * time.Second

	// maxBody is far more than a token answer needs: the token itself is at
	// most half of it.
	maxBody = 64 << 10

	// maxHeader leaves room for the cookies that a login page sets.
	maxHeader = 32 << 10

	// maxConns bounds the connections to one host. After a failover every
	// account of a provider may fall due at once; the rest wait for a
	// connection, within their own timeout, rather than look like an attack.
	maxConns = 32

	// maxIdle and idleTimeout keep a connection for the accounts that fall due
	// together, and no longer: logins are minutes apart, and a connection that
	// idled that long may have been forgotten by a NAT on the way, which costs a
	// whole timeout to find out.
	maxIdle     = 4
	idleTimeout = 30 * time.Second
)

// Clients hands out one [Client] per TLS setting, so that the accounts of a
// provider share its connections. It is safe for concurrent use. A Client once
// made is kept; there are as many as there were different CA certificates.
type Clients struct {
	userAgent string

	mu   sync.Mutex
	byCA map[string]*Client // :: PEM as configured → its client
}

// NewClients returns an empty pool. The version is what the User-Agent says.
func NewClients(version string) *Clients {
	return &Clients{userAgent: "vault-plugin-secrets-messaging/" + version, byCA: map[string]*Client{}}
}

// For returns the client that trusts the certificates in caPEM and nothing
// else, or the system's if caPEM is empty. Errors are a [*FieldError] of ca_cert,
// which does not repeat the PEM.
func (p *Clients) For(caPEM string) (*Client, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if c, ok := p.byCA[caPEM]; ok {
		return c, nil
	}
	var roots *x509.CertPool
	if caPEM != "" {
		var err error
		if roots, err = certPool(caPEM); err != nil {
			return nil, &FieldError{"ca_cert", err.Error()}
		}
	}
	c := newClient(roots, p.userAgent)
	p.byCA[caPEM] = c
	return c, nil
}

// CloseIdle closes the connections that no exchange is using. The pool and its
// clients can still be used.
func (p *Clients) CloseIdle() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, c := range p.byCA {
		c.http.CloseIdleConnections()
	}
}

// certPool takes PEM with one certificate or more, and text around them only
// before each, as bundles have it. Blocks that pem.Decode skips because they
// are damaged are found by counting.
func certPool(caPEM string) (*x509.CertPool, error) {
	pool, blocks := x509.NewCertPool(), 0
	rest := []byte(caPEM)
	for {
		block, after := pem.Decode(rest)
		if block == nil {
			break
		}
		rest = after
		blocks++
		if strings.HasSuffix(block.Type, "PRIVATE KEY") {
			return nil, errors.New("there is a private key in it; only certificates belong here")
		}
		if block.Type != "CERTIFICATE" {
			return nil, fmt.Errorf("PEM block %d is not a certificate", blocks)
		}
		cert, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, fmt.Errorf("PEM block %d is not a readable certificate", blocks)
		}
		pool.AddCert(cert)
	}
	switch {
	case strings.Count(caPEM, "-----BEGIN ") > blocks:
		return nil, errors.New("a PEM block in it is damaged")
	case blocks == 0:
		return nil, errors.New("no PEM certificate in it")
	case strings.TrimSpace(string(rest)) != "":
		return nil, errors.New("there is something after the last PEM block")
	}
	return pool, nil
}

// Client makes the exchanges with token endpoints, with one set of trusted
// certificates. It is safe for concurrent use; [Clients.For] makes it.
type Client struct {
	http      *http.Client
	userAgent string
}

func newClient(roots *x509.CertPool, userAgent string) *Client {
	t := cleanhttp.DefaultPooledTransport() // proxy from the environment, HTTP/2
	t.TLSClientConfig = &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: roots}
	t.MaxConnsPerHost = maxConns
	t.MaxIdleConnsPerHost = maxIdle
	t.IdleConnTimeout = idleTimeout
	t.MaxResponseHeaderBytes = maxHeader
	return &Client{
		userAgent: userAgent,
		http: &http.Client{
			Transport: t,
			// A redirect would take the credentials along, to wherever it says.
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		},
	}
}

// request is one POST to a token endpoint.
type request struct {
	url         string
	contentType string
	header      http.Header // further headers; may be nil
	body        string
	timeout     time.Duration // for the whole exchange; 0 means 10 s
	redact      redactor      // for whatever is shown of the exchange
}

// post makes the exchange, once: net/http repeats a POST only if nothing of it
// was written. The answer is of any status but a redirect's. Errors are of type
// [*Error].
func (c *Client) post(ctx context.Context, r request) (*answer, error) {
	if r.timeout <= 0 {
		r.timeout = defaultTimeout
	}
	limited, cancel := context.WithTimeout(ctx, r.timeout)
	defer cancel()
	req, err := http.NewRequestWithContext(limited, http.MethodPost, r.url, strings.NewReader(r.body))
	if err != nil {
		return nil, &Error{Kind: Malformed, problem: "token_url is not an address that can be asked"}
	}
	for name, values := range r.header {
		req.Header[http.CanonicalHeaderKey(name)] = values
	}
	req.Header.Set("Content-Type", r.contentType)
	req.Header.Set("Accept", "application/json")
	req.Header.Set("User-Agent", c.userAgent)

	a := &answer{endpoint: r.redact.words(req.URL.Host+req.URL.EscapedPath(), maxWords), redact: r.redact, sent: time.Now()}
	resp, err := c.http.Do(req)
	if err != nil {
		return nil, a.unreachable(ctx, err, r.timeout)
	}
	defer resp.Body.Close()
	a.status, a.header, a.now = resp.StatusCode, resp.Header, time.Now()
	if date, err := http.ParseTime(resp.Header.Get("Date")); err == nil {
		a.now = date
	}
	if a.status/100 == 3 {
		return nil, a.fail(Malformed, statusHint(a.status))
	}
	a.body, err = io.ReadAll(io.LimitReader(resp.Body, maxBody+1))
	switch {
	case err != nil:
		a.body, a.unread = nil, a.unreachable(ctx, err, r.timeout)
	case len(a.body) > maxBody:
		a.body, a.unread = nil, a.fail(Malformed, "over 64 KiB")
	}
	return a, nil
}

// userInfo is what a URL has before its host: a proxy's password, in an error
// about the proxy.
var userInfo = regexp.MustCompile(`//[^\s"]*@`)

// unreachable turns a network error into one that can be shown. It has the
// status of the answer if there was the beginning of one.
func (a *answer) unreachable(ctx context.Context, err error, timeout time.Duration) *Error {
	var withURL *url.Error // shows the URL with its query
	if errors.As(err, &withURL) {
		err = withURL.Err
	}
	e := a.fail(Unavailable, "")
	var authority x509.UnknownAuthorityError
	switch {
	case ctx.Err() != nil:
		e.cause = ctx.Err()
		e.problem = "not waited for: " + ctx.Err().Error()
	case errors.Is(err, context.DeadlineExceeded):
		e.cause = context.DeadlineExceeded
		e.problem = fmt.Sprintf("no complete answer within %s (request_timeout)", timeout)
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		e.problem = "the connection was closed before the answer was complete"
	case errors.As(err, &authority):
		e.problem = "its certificate is signed by an authority that is not trusted; ca_cert can name it"
	default:
		e.problem = a.redact.words(userInfo.ReplaceAllString(err.Error(), "//"), maxWords)
	}
	return e
}
