// SPDX-License-Identifier: MPL-2.0

package providers

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"vault-plugin-secrets-messaging/internal/secret"
	"vault-plugin-secrets-messaging/internal/simulator"
	"vault-plugin-secrets-messaging/internal/token"
)

func newCA() *simulator.CA { return must(simulator.NewCA(time.Now())) }

// identity returns a client certificate and its key in PEM.
func identity(t *testing.T, ca *simulator.CA, until time.Time) (cert string, key secret.String) {
	t.Helper()
	certificate, private, err := ca.Client("acme", until.Add(-2*time.Hour), until)
	if err != nil {
		t.Fatal(err)
	}
	return string(certificate), secret.String(private)
}

// mutualServer starts a server that requires a client certificate from ca. Tokens contain the
// certificate's common name.
func mutualServer(t *testing.T, ca *simulator.CA, configure func(*httptest.Server)) *httptest.Server {
	t.Helper()
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		io.WriteString(w, `{"access_token":"token-of-`+r.TLS.PeerCertificates[0].Subject.CommonName+`","expires_in":60}`)
	}))
	server.Config.ErrorLog = log.New(io.Discard, "", 0) // failed handshakes
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(ca.PEM)
	server.TLS = &tls.Config{Certificates: []tls.Certificate{must(ca.Server())}, ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: pool}
	configure(server)
	server.StartTLS()
	t.Cleanup(server.Close)
	return server
}

// If the server refuses a certificate, the error names the config field to change.
func TestMutualTLS(t *testing.T) {
	ca, other, now := newCA(), newCA(), time.Now()
	cert, key := identity(t, ca, now.Add(time.Hour))
	expired, expiredKey := identity(t, ca, now.Add(-time.Hour))
	foreign, foreignKey := identity(t, other, now.Add(time.Hour))
	for version, configure := range map[string]func(*httptest.Server){
		"TLS 1.2": func(s *httptest.Server) { s.TLS.MaxVersion = tls.VersionTLS12 },
		"TLS 1.3": func(s *httptest.Server) {},
		"HTTP/2":  func(s *httptest.Server) { s.EnableHTTP2 = true },
	} {
		server := mutualServer(t, ca, configure)
		for name, test := range map[string]struct {
			tls     TLS
			problem string
		}{
			"its certificate":      {TLS{ClientCert: cert + string(ca.PEM), ClientKey: key}, ""},
			"no certificate":       {TLS{}, "credentials refused: HOST: the server requires a client certificate; set client_cert and client_key"},
			"an expired one":       {TLS{ClientCert: expired, ClientKey: expiredKey}, "; it expired at " + now.Add(-time.Hour).UTC().Format("2006-01-02T15:04")},
			"one of another CA":    {TLS{ClientCert: foreign, ClientKey: foreignKey}, "credentials refused: HOST: the server refuses the certificate in client_cert: "},
			"its certificate only": {TLS{ClientCert: cert, ClientKey: key}, ""},
		} {
			t.Run(version+"/"+name, func(t *testing.T) {
				test.tls.CACert = string(ca.PEM)
				c := must(NewClients(ClientOptions{}).For(test.tls))
				defer c.http.CloseIdleConnections()
				a, err := c.send(t.Context(), request{url: server.URL})
				if version != "TLS 1.2" && test.problem != "" { // the alert can get lost
					if e := failure(t, err); !strings.Contains(e.Error(), "client_cert") || name == "an expired one" && !strings.Contains(e.Error(), test.problem) {
						t.Errorf("got %q, want it to name client_cert, and %q if it has expired", e, test.problem)
					}
				} else if test.problem != "" {
					wantFailure(t, err, token.Refused, strings.ReplaceAll(test.problem, "HOST", server.Listener.Addr().String()))
				} else if err != nil || !strings.Contains(string(a.body), "token-of-acme") {
					t.Errorf("got answer %v, error %v, want the token of acme", a, err)
				}
			})
		}
	}
}

// nginx completes the handshake, and then answers with a page.
func TestCertificatePages(t *testing.T) {
	for page, want := range map[string]string{
		"400 No required SSL certificate was sent": "credentials refused: HOST answered 400 Bad Request: " + certificateMissing,
		"400 The SSL certificate error":            "credentials refused: HOST answered 400 Bad Request: " + certificateRefused,
	} {
		e := serve(t, reply{status: 400, body: "<html><center>" + page + "</center></html>"})
		_, err := must(testClient(t).send(t.Context(), request{url: e.url})).object()
		wantFailure(t, err, token.Refused, strings.ReplaceAll(want, "HOST", strings.TrimPrefix(e.url, "http://")))
	}
}

// Only accounts with the same certificates share connections.
func TestClientsKeepIdentitiesApart(t *testing.T) {
	ca, pool := newCA(), NewClients(ClientOptions{})
	first, firstKey := identity(t, ca, time.Now().Add(time.Hour))
	second, secondKey := identity(t, ca, time.Now().Add(time.Hour))
	var made []*Client
	for _, of := range []TLS{{}, {ClientCert: first, ClientKey: firstKey}, {ClientCert: second, ClientKey: secondKey},
		{CACert: string(ca.PEM), ClientCert: first, ClientKey: firstKey}} {
		c := must(pool.For(of))
		again, err := pool.For(of)
		if err != nil || again != c {
			t.Errorf("got another client for the same certificates, error %v; want the same client", err)
		}
		if slices.Contains(made, c) {
			t.Error("got one client for different certificates, want a client for each")
		}
		made = append(made, c)
	}
}

func TestBadClientCertificates(t *testing.T) {
	ca, until := newCA(), time.Now().Add(time.Hour)
	cert, key := identity(t, ca, until)
	otherCert, otherKey := identity(t, ca, until)
	p224 := secret.String(keyPEM(must(ecdsa.GenerateKey(elliptic.P224(), rand.Reader))))
	for name, test := range map[string]struct {
		cert    string
		key     secret.String
		problem string
	}{
		"an RSA key":          {withTestKey("certificate of the rsa key"), secret.String(withTestKey("rsa key")), ""},
		"no key":              {cert, "", "client_key: is missing, but client_cert is set; write both, or remove both"},
		"no certificate":      {"", key, "client_cert: is missing, but client_key is set; write both, or remove both"},
		"another key":         {cert, otherKey, "client_key: does not belong to the first certificate in client_cert; write the certificate and its private key together"},
		"CA first":            {string(ca.PEM) + cert, key, "client_cert: must begin with the certificate of client_key; the certificates of CAs come after"},
		"another first":       {otherCert + cert, key, "client_cert: must begin with the certificate of client_key; the certificates of CAs come after"},
		"swapped":             {key.Reveal(), secret.String(cert), "client_cert: must contain only certificates, but contains a private key"},
		"key beside it":       {cert + key.Reveal(), key, "client_cert: must contain only certificates, but contains a private key"},
		"not PEM":             {"cert.pem", key, "client_cert: must contain at least one PEM certificate"},
		"key is not PEM":      {cert, "unshown", "client_key: must be a private key in PEM"},
		"a curve without TLS": {cert, p224, "client_key: must be an RSA key, an EC key on P-256, P-384 or P-521, or an Ed25519 key"},
	} {
		t.Run(name, func(t *testing.T) {
			c, err := NewClients(ClientOptions{}).For(TLS{ClientCert: test.cert, ClientKey: test.key})
			if test.problem == "" && c != nil && err == nil {
				return
			}
			var field *FieldError
			if c != nil || !errors.As(err, &field) || !strings.HasPrefix(err.Error(), test.problem) || strings.Contains(err.Error(), "unshown") {
				t.Errorf("got %v, error %v; want the FieldError %q", c, err, test.problem)
			}
		})
	}
}

func TestCertificateValidity(t *testing.T) {
	until := time.Now().Add(time.Hour).Truncate(time.Second)
	cert, _ := identity(t, newCA(), until)
	if from, to := CertificateValidity(cert); !to.Equal(until) || !from.Before(to) {
		t.Errorf("got %s to %s, want the end %s and an earlier beginning", from, to, until)
	}
	for _, text := range []string{"", "unshown"} {
		if from, to := CertificateValidity(text); !from.IsZero() || !to.IsZero() {
			t.Errorf("%q: got %s to %s, want zero times", text, from, to)
		}
	}
}
