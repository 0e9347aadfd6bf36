// SPDX-License-Identifier: MPL-2.0

package providers

import (
	"cmp"
	"runtime"
	"sync"
	"weak"

	"vault-plugin-secrets-messaging/internal/clock"
	"vault-plugin-secrets-messaging/internal/secret"
)

// Clients is a pool with one [Client] for each [TLS]. Accounts with the same certificates share
// connections. The pool drops unused clients. It is safe for concurrent use.
type Clients struct {
	options ClientOptions // defaults are filled in

	mu    sync.Mutex
	byTLS map[TLS]weak.Pointer[Client]
}

// TLS says which servers a client trusts, and which certificate it presents.
type TLS struct {
	CACert string // PEM of the CAs to trust; "" means those of the system

	// ClientCert and ClientKey are PEM texts that authenticate the client (RFC 8705 §2). For a
	// client without a certificate, both are "". In ClientCert, CA certificates may follow the
	// client's certificate.
	ClientCert string
	ClientKey  secret.String
}

// ClientOptions are the settings of all clients of a pool.
type ClientOptions struct {
	Version string      // of the plugin, for the User-Agent header
	Clock   clock.Clock // nil means [clock.System]

	// MaxConnsPerHost limits a client's connections to one host; 0 means 32. Further requests wait
	// for a connection until they time out.
	MaxConnsPerHost int
}

// NewClients returns an empty pool.
func NewClients(opts ClientOptions) *Clients {
	if opts.Clock == nil {
		opts.Clock = clock.System()
	}
	opts.MaxConnsPerHost = cmp.Or(opts.MaxConnsPerHost, 32)
	return &Clients{options: opts, byTLS: map[TLS]weak.Pointer[Client]{}}
}

// For returns the client with the given certificates. Errors are a [*FieldError] for ca_cert,
// client_cert or client_key, and do not quote the PEM.
func (p *Clients) For(t TLS) (*Client, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if c := p.byTLS[t].Value(); c != nil {
		return c, nil
	}
	config, err := t.config()
	if err != nil {
		return nil, err
	}
	c := newClient(config, p.options)
	p.byTLS[t] = weak.Make(c)
	runtime.AddCleanup(c, p.forget, t)
	return c, nil
}

// forget removes t from the pool. If the pool already has a new client for t, forget does nothing.
func (p *Clients) forget(t TLS) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.byTLS[t].Value() == nil {
		delete(p.byTLS, t)
	}
}

// CloseIdle closes the connections that no request uses. The pool stays usable.
func (p *Clients) CloseIdle() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, pointer := range p.byTLS {
		if c := pointer.Value(); c != nil {
			c.http.CloseIdleConnections()
		}
	}
}
