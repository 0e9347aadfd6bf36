// SPDX-License-Identifier: MPL-2.0

package providers

import (
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"runtime"
	"strings"
	"sync"
	"weak"

	"vault-plugin-secrets-messaging/internal/clock"
)

// Clients is a pool with one [Client] per set of trusted certificates, so that accounts
// share connections. It is safe for concurrent use. The pool forgets a Client that no
// account uses, because each write of a config may bring other certificates.
type Clients struct {
	options ClientOptions // defaults are filled in

	mu   sync.Mutex
	byCA map[string]weak.Pointer[Client] // by the PEM of the certificates
}

// ClientOptions are the settings of all clients of a pool.
type ClientOptions struct {
	Version string      // of the plugin, for the User-Agent header
	Clock   clock.Clock // nil means [clock.System]

	// MaxConnsPerHost bounds the connections of one client to one host; 0 means 32. After
	// a failover the tokens of all accounts at a provider may be due at once. Mints
	// beyond the bound wait for a connection, within their own timeout.
	MaxConnsPerHost int
}

// NewClients returns an empty pool.
func NewClients(opts ClientOptions) *Clients {
	if opts.Clock == nil {
		opts.Clock = clock.System()
	}
	if opts.MaxConnsPerHost == 0 {
		opts.MaxConnsPerHost = 32
	}
	return &Clients{options: opts, byCA: map[string]weak.Pointer[Client]{}}
}

// For returns the client that trusts only the certificates in caPEM, or the certificates
// of the system if caPEM is "". Errors are a [*FieldError] of ca_cert without any of the PEM.
func (p *Clients) For(caPEM string) (*Client, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if c := p.byCA[caPEM].Value(); c != nil {
		return c, nil
	}
	var roots *x509.CertPool
	if caPEM != "" {
		var err error
		if roots, err = certPool(caPEM); err != nil {
			return nil, &FieldError{"ca_cert", err.Error()}
		}
	}
	c := newClient(roots, p.options)
	p.byCA[caPEM] = weak.Make(c)
	runtime.AddCleanup(c, p.forget, caPEM)
	return c, nil
}

// forget removes the client of caPEM from the pool, unless a newer client is in its place.
func (p *Clients) forget(caPEM string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.byCA[caPEM].Value() == nil {
		delete(p.byCA, caPEM)
	}
}

// CloseIdle closes the connections that no exchange uses. The pool and its clients can
// still be used.
func (p *Clients) CloseIdle() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, pointer := range p.byCA {
		if c := pointer.Value(); c != nil {
			c.http.CloseIdleConnections()
		}
	}
}

// certPool returns the certificates in caPEM. Like a certificate bundle, caPEM may have
// comments before each certificate. pem.Decode skips damaged blocks, so certPool counts.
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
			return nil, errors.New("must contain only certificates, but contains a private key")
		}
		if block.Type != "CERTIFICATE" {
			return nil, fmt.Errorf("must contain only certificates, but PEM block %d is not a certificate", blocks)
		}
		cert, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, fmt.Errorf("PEM block %d must be a valid certificate", blocks)
		}
		pool.AddCert(cert)
	}
	switch {
	case strings.Count(caPEM, "-----BEGIN ") > blocks:
		return nil, errors.New("contains a damaged PEM block; each block must be complete, with its BEGIN and END on lines of their own")
	case blocks == 0:
		return nil, errors.New("must contain at least one PEM certificate")
	case strings.TrimSpace(string(rest)) != "":
		return nil, errors.New("cannot contain text after the last PEM block")
	}
	return pool, nil
}
