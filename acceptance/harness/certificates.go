// SPDX-License-Identifier: MPL-2.0

package harness

import (
	"crypto/x509"
	"encoding/pem"
	"testing"
	"time"

	"vault-plugin-secrets-messaging/internal/simulator"
)

// NewCA returns a new certificate authority.
func NewCA(t testing.TB) *simulator.CA {
	t.Helper()
	ca, err := simulator.NewCA(time.Now())
	if err != nil {
		t.Fatal(err)
	}
	return ca
}

// ClientCert returns the fields client_cert and client_key for a common name. The certificate is
// valid for 24 hours. The parameter until is the end of this time.
func ClientCert(t testing.TB, ca *simulator.CA, name string, until time.Time) Fields {
	t.Helper()
	cert, key, err := ca.Client(name, until.Add(-24*time.Hour), until)
	if err != nil {
		t.Fatal(err)
	}
	return Fields{"client_cert": string(cert), "client_key": string(key)}
}

// CertPEM returns a certificate in PEM.
func CertPEM(der []byte) string {
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
}

// KeyPEM returns a private key in PEM, in the form of PKCS #8.
func KeyPEM(t testing.TB, key any) string {
	t.Helper()
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}))
}
