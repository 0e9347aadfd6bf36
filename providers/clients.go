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

// Clients hands out one [Client] per TLS setting, so that the accounts of a
// provider share its connections. It is safe for concurrent use. A Client lives as
// long as an account has it: each write of a config may name other certificates.
type Clients struct {
	options ClientOptions // with defaults filled in
	logins  *logins       // of all clients: who logs in matters, not whom it trusts

	mu   sync.Mutex
	byCA map[string]weak.Pointer[Client] // :: PEM as configured → its client
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
	return &Clients{options: opts, logins: newLogins(), byCA: map[string]weak.Pointer[Client]{}}
}

// For returns the client that trusts the certificates in caPEM and nothing
// else, or the system's if caPEM is empty. Errors are a [*FieldError] of ca_cert,
// which does not repeat the PEM.
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
	c := newClient(roots, p.options, p.logins)
	p.byCA[caPEM] = weak.Make(c)
	runtime.AddCleanup(c, p.forget, caPEM)
	return c, nil
}

// forget takes the client of caPEM out of the pool, unless there is a newer one.
func (p *Clients) forget(caPEM string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.byCA[caPEM].Value() == nil {
		delete(p.byCA, caPEM)
	}
}

// CloseIdle closes the connections that no exchange is using. The pool and its
// clients can still be used.
func (p *Clients) CloseIdle() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, held := range p.byCA {
		if c := held.Value(); c != nil {
			c.http.CloseIdleConnections()
		}
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
