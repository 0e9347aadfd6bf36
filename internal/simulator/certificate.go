// SPDX-License-Identifier: MPL-2.0

package simulator

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"time"
)

// CA signs certificates for tests.
type CA struct {
	PEM []byte // the certificate of the CA

	certificate *x509.Certificate
	key         *ecdsa.PrivateKey
}

// NewCA returns a CA. Its validity begins a day before now and ends 29 days after now.
func NewCA(now time.Time) (*CA, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("generating the CA's key: %w", err)
	}
	ca := &CA{key: key, certificate: &x509.Certificate{
		SerialNumber: big.NewInt(now.UnixNano()),
		// The name is unique, because Node.js 20 may close a connection if two CAs share a
		// name.
		Subject:               pkix.Name{CommonName: "messaging-simulator CA " + rand.Text()},
		NotBefore:             now.Add(-24 * time.Hour),
		NotAfter:              now.Add(29 * 24 * time.Hour),
		KeyUsage:              x509.KeyUsageCertSign,
		BasicConstraintsValid: true,
		IsCA:                  true,
	}}
	der, err := x509.CreateCertificate(rand.Reader, ca.certificate, ca.certificate, &key.PublicKey, key)
	if err != nil {
		return nil, fmt.Errorf("signing the CA: %w", err)
	}
	ca.PEM = pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	return ca, nil
}

// Server returns a certificate for localhost, 127.0.0.1 and ::1. The certificate is valid as long
// as the CA.
func (ca *CA) Server() (tls.Certificate, error) {
	der, key, err := ca.sign(x509.Certificate{
		Subject:     pkix.Name{CommonName: "messaging-simulator"},
		NotBefore:   ca.certificate.NotBefore,
		NotAfter:    ca.certificate.NotAfter,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		DNSNames:    []string{"localhost"},
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1), net.IPv6loopback},
	})
	if err != nil {
		return tls.Certificate{}, fmt.Errorf("the server's certificate: %w", err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, nil
}

// Client returns a client certificate and its private key, both in PEM. The parameter name is the
// common name. The parameters from and until limit the validity.
func (ca *CA) Client(name string, from, until time.Time) (certificate, key []byte, err error) {
	der, private, err := ca.sign(x509.Certificate{
		Subject:     pkix.Name{CommonName: name},
		NotBefore:   from,
		NotAfter:    until,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	})
	if err != nil {
		return nil, nil, fmt.Errorf("a client certificate: %w", err)
	}
	encoded, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		return nil, nil, fmt.Errorf("encoding the client's key: %w", err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}),
		pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: encoded}), nil
}

// sign signs a certificate with a new key.
func (ca *CA) sign(template x509.Certificate) (der []byte, key *ecdsa.PrivateKey, err error) {
	if key, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader); err != nil {
		return nil, nil, fmt.Errorf("generating a key: %w", err)
	}
	if template.SerialNumber, err = rand.Int(rand.Reader, big.NewInt(1<<62)); err != nil {
		return nil, nil, fmt.Errorf("choosing a serial number: %w", err)
	}
	template.KeyUsage = x509.KeyUsageDigitalSignature
	if der, err = x509.CreateCertificate(rand.Reader, &template, ca.certificate, &key.PublicKey, ca.key); err != nil {
		return nil, nil, fmt.Errorf("signing: %w", err)
	}
	return der, key, nil
}
