package providers

import (
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"strings"
	"sync"
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
