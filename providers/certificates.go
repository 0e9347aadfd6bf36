// SPDX-License-Identifier: MPL-2.0

package providers

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"time"
)

// config returns the TLS configuration of a client. Errors are a [*FieldError].
func (t TLS) config() (*tls.Config, error) {
	config := &tls.Config{MinVersion: tls.VersionTLS12}
	if t.CACert != "" {
		trusted, err := certificates(t.CACert)
		if err != nil {
			return nil, &FieldError{"ca_cert", err.Error()}
		}
		config.RootCAs = x509.NewCertPool()
		for _, cert := range trusted {
			config.RootCAs.AddCert(cert)
		}
	}
	cert := &tls.Certificate{} // presents nothing
	if t.ClientCert != "" || t.ClientKey != "" {
		var err error
		if cert, err = t.clientCertificate(); err != nil {
			return nil, err
		}
		config.Certificates = []tls.Certificate{*cert}
	}
	// By default, crypto/tls keeps back a client certificate if the server names only other CAs.
	// The server may accept the certificate anyway, or say why it refuses the certificate.
	config.GetClientCertificate = func(r *tls.CertificateRequestInfo) (*tls.Certificate, error) {
		if asked, ok := r.Context().Value(askedKey{}).(*atomic.Bool); ok {
			asked.Store(true)
		}
		return cert, nil
	}
	return config, nil
}

// askedKey is the context key for an [*atomic.Bool], which becomes true when a server asks for a
// client certificate.
type askedKey struct{}

// clientCertificate returns the certificate of the client. Errors are a [*FieldError].
func (t TLS) clientCertificate() (*tls.Certificate, error) {
	switch {
	case t.ClientCert == "":
		return nil, &FieldError{"client_cert", "is missing, but client_key is set; write both, or remove both"}
	case t.ClientKey == "":
		return nil, &FieldError{"client_key", "is missing, but client_cert is set; write both, or remove both"}
	}
	chain, err := certificates(t.ClientCert)
	if err != nil {
		return nil, &FieldError{"client_cert", err.Error()}
	}
	key, err := parsePrivateKey(t.ClientKey)
	if err == nil && !speaksTLS(key) {
		err = errors.New("must be an RSA key, an EC key on P-256, P-384 or P-521, or an Ed25519 key")
	}
	if err != nil {
		return nil, &FieldError{"client_key", err.Error()}
	}
	public, _ := key.Public().(interface{ Equal(crypto.PublicKey) bool })
	switch i := slices.IndexFunc(chain, func(c *x509.Certificate) bool { return public.Equal(c.PublicKey) }); {
	case i < 0:
		return nil, &FieldError{"client_key", "does not belong to the first certificate in client_cert; write the certificate and its private key together"}
	case i > 0:
		return nil, &FieldError{"client_cert", "must begin with the certificate of client_key; the certificates of CAs come after"}
	}
	cert := &tls.Certificate{PrivateKey: key, Leaf: chain[0]}
	for _, c := range chain {
		cert.Certificate = append(cert.Certificate, c.Raw)
	}
	return cert, nil
}

// speaksTLS reports whether TLS can sign with a key of this type (RFC 8446 §4.2.3).
func speaksTLS(key crypto.Signer) bool {
	switch key := key.(type) {
	case *rsa.PrivateKey, ed25519.PrivateKey:
		return true
	case *ecdsa.PrivateKey:
		return key.Curve != elliptic.P224()
	}
	return false
}

// CertificateValidity returns when the first certificate in a PEM is valid. For an invalid PEM,
// both times are zero.
func CertificateValidity(text string) (from, until time.Time) {
	if chain, err := certificates(text); err == nil {
		return chain[0].NotBefore, chain[0].NotAfter
	}
	return time.Time{}, time.Time{}
}

// certificates returns the certificates in a PEM, or an error if there are none. pem.Decode
// silently skips damaged blocks, so this function also counts the BEGIN lines.
func certificates(text string) (found []*x509.Certificate, err error) {
	rest := []byte(text)
	for {
		block, after := pem.Decode(rest)
		if block == nil {
			break
		}
		rest = after
		if strings.HasSuffix(block.Type, "PRIVATE KEY") {
			return nil, errors.New("must contain only certificates, but contains a private key")
		}
		if block.Type != "CERTIFICATE" {
			return nil, fmt.Errorf("must contain only certificates, but PEM block %d is not a certificate", len(found)+1)
		}
		cert, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, fmt.Errorf("PEM block %d must be a valid certificate", len(found)+1)
		}
		found = append(found, cert)
	}
	switch {
	case strings.Count(text, "-----BEGIN ") > len(found):
		return nil, errors.New("contains a damaged PEM block; each block must be complete, with its BEGIN and END on lines of their own")
	case found == nil:
		return nil, errors.New("must contain at least one PEM certificate")
	case strings.TrimSpace(string(rest)) != "":
		return nil, errors.New("cannot contain text after the last PEM block")
	}
	return found, nil
}
