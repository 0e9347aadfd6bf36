// SPDX-License-Identifier: MPL-2.0

package providers

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"io"
	"log"
	"math/big"
	"net/http/httptest"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"vault-plugin-secrets-messaging/internal/token"
)

func TestClientTrustsOnlyTheGivenCA(t *testing.T) {
	server := tlsServer(t, nil)
	ca := certPEM(server.Certificate().Raw)
	pool := NewClients(ClientOptions{Version: "v1"})
	t.Cleanup(pool.CloseIdle)

	trusting, err := pool.For("# the provider's CA\n" + ca + "\n")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := trusting.post(t.Context(), request{url: server.URL}); err != nil {
		t.Errorf("with its CA: %v", err)
	}

	system, err := pool.For("")
	if err != nil {
		t.Fatal(err)
	}
	other, err := pool.For(certPEM(otherCA(t)))
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]*Client{"the system's CAs": system, "another CA": other} {
		_, err := c.post(t.Context(), request{url: server.URL})
		if e := failure(t, err); e.Kind != token.Unavailable || !strings.Contains(e.Error(), "ca_cert") {
			t.Errorf("with %s: %v, want it unavailable for want of a ca_cert", name, e)
		}
	}
}

func TestClientWantsTLS12(t *testing.T) {
	server := tlsServer(t, func(c *tls.Config) { c.MinVersion, c.MaxVersion = tls.VersionTLS10, tls.VersionTLS11 })
	pool := NewClients(ClientOptions{Version: "v1"})
	c, err := pool.For(certPEM(server.Certificate().Raw))
	if err != nil {
		t.Fatal(err)
	}
	_, err = c.post(t.Context(), request{url: server.URL})
	if e := failure(t, err); e.Kind != token.Unavailable || !strings.Contains(e.Error(), "protocol version") {
		t.Errorf("TLS 1.1: %v, want it refused", e)
	}
}

func TestClientsShareAndReuse(t *testing.T) {
	e := serve(t, reply{body: "{}"})
	pool := NewClients(ClientOptions{Version: "v1"})
	ca := certPEM(otherCA(t))
	var wg sync.WaitGroup
	var got [8]*Client
	for i := range got {
		wg.Go(func() {
			c, err := pool.For([]string{"", ca}[i%2])
			if err != nil {
				t.Error(err)
				return
			}
			got[i] = c
			if _, err := c.post(t.Context(), request{url: e.url}); err != nil {
				t.Error(err)
			}
			pool.CloseIdle()
		})
	}
	wg.Wait()
	for i, c := range got {
		if c != got[i%2] || got[0] == got[1] {
			t.Errorf("call %d got client %p; want one per CA", i, c)
		}
	}
}

// A writer of configs who names other certificates each time fills no memory: a
// client that no account has any more is forgotten.
func TestClientsThatNoOneHasAreForgotten(t *testing.T) {
	pool := NewClients(ClientOptions{Version: "v1"})
	held, err := pool.For("")
	if err != nil {
		t.Fatal(err)
	}
	ca := certPEM(otherCA(t))
	for i := range 1000 {
		if _, err := pool.For(strings.Repeat("#", i+1) + "\n" + ca); err != nil {
			t.Fatal(err)
		}
	}
	left := func() int {
		runtime.GC()
		pool.mu.Lock()
		defer pool.mu.Unlock()
		return len(pool.byCA)
	}
	for deadline := time.Now().Add(10 * time.Second); left() > 1; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%d clients are kept", left())
		}
	}
	if again, err := pool.For(""); err != nil || again != held {
		t.Errorf("the one that is held was made anew: %v", err)
	}
}

func TestClientRefusesBadPEM(t *testing.T) {
	good := certPEM(otherCA(t))
	key := string(pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: []byte("unshown")}))
	tests := map[string]struct{ pem, problem string }{
		"white space":          {" \n", "no PEM certificate"},
		"a path":               {"/etc/ca.pem", "no PEM certificate"},
		"a key":                {key, "private key"},
		"a key beside it":      {good + key, "private key"},
		"a request":            {strings.ReplaceAll(good, "CERTIFICATE", "CERTIFICATE REQUEST"), "block 1 is not a certificate"},
		"no certificate in it": {string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: []byte("unshown")})), "block 1 is not a readable"},
		"cut short":            {good[:len(good)/2], "damaged"},
		"a damaged one first":  {strings.Replace(good, "\n", "\n!", 1) + good, "damaged"},
		"more after it":        {good + "unshown", "after the last"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			c, err := NewClients(ClientOptions{Version: "v1"}).For(test.pem)
			var field *FieldError
			if c != nil || !errors.As(err, &field) || field.Field != "ca_cert" {
				t.Fatalf("For gave %v, %v; want a FieldError of ca_cert", c, err)
			}
			if text := err.Error(); !strings.Contains(text, test.problem) || strings.Contains(text, "unshown") {
				t.Errorf("it reads %q, want %q", text, test.problem)
			}
		})
	}
	if _, err := NewClients(ClientOptions{Version: "v1"}).For(good + good + "\n\n"); err != nil {
		t.Errorf("two certificates: %v", err)
	}
}

// tlsServer starts a TLS server that answers every request with {}.
func tlsServer(t *testing.T, configure func(*tls.Config)) *httptest.Server {
	t.Helper()
	server := httptest.NewUnstartedServer(reply{body: "{}"})
	server.Config.ErrorLog = log.New(io.Discard, "", 0) // failed handshakes
	server.TLS = &tls.Config{}
	if configure != nil {
		configure(server.TLS)
	}
	server.StartTLS()
	t.Cleanup(server.Close)
	return server
}

// otherCA returns a certificate that signed nothing.
func otherCA(t *testing.T) []byte {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	return der
}

func certPEM(der []byte) string {
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
}
