// SPDX-License-Identifier: MPL-2.0

package harness

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"io"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"runtime"
	"testing"
	"time"
)

// AsInternet returns environment variables that redirect the providers' real URLs to the simulator.
func (s *Simulator) AsInternet(t testing.TB) (env []string) {
	t.Helper()
	target, err := url.Parse(s.URL)
	if err != nil {
		t.Fatal(err)
	}
	return Internet(t, httputil.NewSingleHostReverseProxy(target), "auth.aclwhatsapp.com", "apiuat.aclwhatsapp.com", "api.enablex.io", "auth.sinch.com")
}

// Internet returns environment variables that redirect requests for these hosts to the handler.
// Internet skips the test on macOS, where Go ignores SSL_CERT_FILE.
func Internet(t testing.TB, handler http.Handler, hosts ...string) (env []string) {
	t.Helper()
	if runtime.GOOS == "darwin" {
		t.Skip("Go reads no certificate file on this system, so the test cannot use the providers' host names")
	}
	cert, pemFile, _ := selfSigned(t, hosts...)
	providers := httptest.NewUnstartedServer(handler)
	providers.TLS = &tls.Config{Certificates: []tls.Certificate{cert}}
	providers.StartTLS()
	t.Cleanup(providers.Close)

	proxy := httptest.NewServer(tunnelTo(providers.Listener.Addr().String()))
	t.Cleanup(proxy.Close)
	return []string{"HTTPS_PROXY=" + proxy.URL, "SSL_CERT_FILE=" + pemFile}
}

// tunnelTo returns a proxy that connects every client to addr.
func tunnelTo(addr string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodConnect {
			http.Error(w, "this proxy supports only CONNECT", http.StatusMethodNotAllowed)
			return
		}
		far, err := net.Dial("tcp", addr)
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadGateway)
			return
		}
		defer far.Close()
		near, _, err := http.NewResponseController(w).Hijack()
		if err != nil {
			return
		}
		defer near.Close()
		_, _ = io.WriteString(near, "HTTP/1.1 200 OK\r\n\r\n")
		go func() {
			_, _ = io.Copy(far, near)
			far.Close()
		}()
		_, _ = io.Copy(near, far)
	}
}

// selfSigned makes a certificate for these hosts and 127.0.0.1. It writes the certificate and the
// key to PEM files.
func selfSigned(t testing.TB, hosts ...string) (cert tls.Certificate, pemFile, keyFile string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber:          big.NewInt(1),
		NotBefore:             time.Now().Add(-time.Hour),
		NotAfter:              time.Now().Add(24 * time.Hour),
		DNSNames:              hosts,
		IPAddresses:           []net.IP{net.IPv4(127, 0, 0, 1)},
		IsCA:                  true,
		BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	cert = tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
	return cert, WriteFile(t, dir, "ca.pem", CertPEM(der)), WriteFile(t, dir, "key.pem", KeyPEM(t, key))
}
