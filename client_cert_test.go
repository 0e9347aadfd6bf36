// SPDX-License-Identifier: MPL-2.0

package messaging

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"log"
	"maps"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"vault-plugin-secrets-messaging/internal/simulator"
)

// Certificates from longAgo to farAway are valid in all tests.
var longAgo, farAway = time.Date(2020, 1, 1, 0, 0, 0, 0, time.UTC), time.Date(2099, 12, 31, 23, 59, 59, 0, time.UTC)

// clientCert returns a client certificate of a new CA, and its key.
func clientCert(t *testing.T, from, until time.Time) (cert, key string) {
	t.Helper()
	_, cert, key = clientCertOfCA(t, from, until)
	return cert, key
}

// clientCertOfCA is clientCert, and also returns the CA.
func clientCertOfCA(t *testing.T, from, until time.Time) (ca *simulator.CA, cert, key string) {
	t.Helper()
	ca, err := simulator.NewCA(time.Now())
	if err != nil {
		t.Fatal(err)
	}
	certPEM, keyPEM, err := ca.Client("acme", from, until)
	if err != nil {
		t.Fatal(err)
	}
	return ca, string(certPEM), string(keyPEM)
}

// publicAt returns a config of a client without a secret. No server listens at the token_url.
func publicAt(*mount) fields {
	return fields{"provider": "oauth2", "client_id": "public-client", "token_url": "https://127.0.0.1:1/token"}
}

func publicWithCert(cert, key string) func(*mount) fields {
	return func(m *mount) fields { return with(publicAt(m), fields{"client_cert": cert, "client_key": key}) }
}

// mutual starts a simulator that requires client certificates. It returns a config that
// authenticates by certificate alone (RFC 8705 §2.1).
func mutual(t *testing.T, m *mount) fields {
	t.Helper()
	ca, cert, key := clientCertOfCA(t, longAgo, farAway)
	server := httptest.NewUnstartedServer(m.sim)
	serverCert, err := ca.Server()
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(ca.PEM)
	server.TLS = &tls.Config{Certificates: []tls.Certificate{serverCert}, ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: pool,
		MaxVersion: tls.VersionTLS12} // with TLS 1.3 the alert about a certificate can get lost
	server.Config.ErrorLog = log.New(io.Discard, "", 0) // refused handshakes
	server.StartTLS()
	t.Cleanup(server.Close)
	return fields{"provider": "oauth2", "client_id": "public-client", "auth_style": "none", "token_url": server.URL + "/generic/token",
		"revocation_url": server.URL + "/generic/revoke", "ca_cert": string(ca.PEM), "client_cert": cert, "client_key": key}
}

// A certificate replaces the client secret when the engine requests or revokes a token.
func TestClientCert(t *testing.T) {
	m := newMount(t)
	config := mutual(t, m)
	without := maps.Clone(config)
	delete(without, "client_cert")
	delete(without, "client_key")
	m.write("config/a", without).want(t, http.StatusBadRequest, "the server requires a client certificate; set client_cert and client_key")
	m.write("config/a", config).want(t, http.StatusNoContent)
	first := m.token("a")
	m.rotate("a").want(t, http.StatusOK)
	differ(t, "token after a rotate", m.token("a"), first)
	m.wantAlive("the first token", first, false)
	differ(t, "revocations", m.sim.State().Total.RevocationsSucceeded, 0)
}

func TestClientCertIsShown(t *testing.T) {
	m := newMount(t)
	until := m.clock.wall().Add(36 * time.Hour).Truncate(time.Second)
	cert, key := clientCert(t, longAgo, until)
	config := with(publicAt(m), fields{"verify_connection": false, "client_cert": cert, "client_key": key})
	m.write("config/a", config).want(t, http.StatusNoContent)
	read := m.read("config/a")
	read.wantData(t, fields{"client_cert": cert, "secrets_set": []string{"client_key"}, "client_key": nil})
	m.noKey("the config", fmt.Sprint(read), key)
	equal(t, "client_cert_expire_time", m.status("client_cert_expire_time"), until.UTC().Format(time.RFC3339))
	m.read("creds/a") // brings the account into memory
	series := `vault_messaging_client_cert_expiry_timestamp_seconds{config="a",provider="oauth2"}`
	equal(t, series, m.scrape()[series], float64(until.Unix()))

	m.write("config/a", fields{"client_cert": "", "client_key": "", "verify_connection": false}).want(t, http.StatusNoContent)
	m.read("config/a").wantData(t, fields{"client_cert": nil, "secrets_set": []string{}})
	equal(t, "client_cert_expire_time without a certificate", m.status("client_cert_expire_time"), nil)
	if _, ok := m.scrape()[series]; ok {
		t.Errorf("without a certificate: got the series %s, want none", series)
	}
	m.noKey("the log", m.log.String(), key)
}

// noKey fails the test if text contains part of a private key. It checks the first two lines,
// because later lines may contain the public key.
func (m *mount) noKey(where, text, key string) {
	m.t.Helper()
	for _, line := range strings.Split(key, "\n")[1:3] {
		if strings.Contains(text, line) {
			m.t.Errorf("got a line of the private key in %s", where)
		}
	}
}

// The engine accepts an expired or future certificate with a warning, because some providers
// accept such certificates.
func TestClientCertThatIsNotValid(t *testing.T) {
	m := newMount(t)
	now := m.clock.wall().Truncate(time.Second)
	for _, test := range []struct {
		from, until time.Time
		warnings    string
	}{
		{now, now.Add(time.Second), ""},
		{now.Add(-time.Hour), now.Add(-time.Second), "client_cert: the certificate expired at 2026-11-22T07:59:59Z, and most providers refuse it; write a new certificate with its client_key"},
		{now.Add(time.Minute), now.Add(time.Hour), "client_cert: the certificate is valid from 2026-11-22T08:01:00Z, and most providers refuse it until then"},
	} {
		cert, key := clientCert(t, test.from, test.until)
		a := m.write("config/a", with(publicAt(m), fields{"verify_connection": false, "client_cert": cert, "client_key": key}))
		equal(t, fmt.Sprintf("warnings of a certificate from %s until %s", test.from, test.until), strings.Join(a.warnings, "\n"), test.warnings)
	}
}

// A key or certificate may be one line, with the characters \n in place of line breaks.
func TestClientKeyOnOneLine(t *testing.T) {
	m := newMount(t)
	cert, key := clientCert(t, longAgo, farAway)
	oneLine := func(text string) string { return strings.ReplaceAll(text, "\n", `\n`) }
	m.write("config/a", with(publicAt(m), fields{"verify_connection": false, "client_cert": oneLine(cert), "client_key": oneLine(key)})).want(t, http.StatusNoContent)
	equal(t, "client_cert", m.read("config/a").data["client_cert"], cert)
}

func TestNewClientCertMintsAnew(t *testing.T) {
	m := newMount(t)
	config := mutual(t, m)
	m.write("config/a", config).want(t, http.StatusNoContent)
	first := m.token("a")
	cert, key := clientCert(t, longAgo, farAway) // of another CA
	m.write("config/a", fields{"client_cert": cert, "client_key": key}).want(t, http.StatusBadRequest, "nothing was stored: ", "the server refuses the certificate in client_cert: ")
	equal(t, "token after a refused write", m.token("a"), first)
	m.write("config/a", fields{"client_cert": cert, "client_key": key, "verify_connection": false}).want(t, http.StatusNoContent)
	m.read("creds/a").want(t, http.StatusBadRequest, "the server refuses the certificate in client_cert: ")
}
