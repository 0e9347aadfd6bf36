// SPDX-License-Identifier: MPL-2.0

package harness

import (
	"crypto/tls"
	"net/http"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"vault-plugin-secrets-messaging/internal/simulator"
)

// Simulator is a process that simulates the providers. Package simulator lists the accounts.
type Simulator struct {
	simulator.Client
	addr string
	args []string // additional arguments of the command
	log  string
	proc *process
}

func StartSimulator(t testing.TB) *Simulator {
	t.Helper()
	s := newSimulator(t, "http://")
	s.Start(t)
	return s
}

// StartMutualSimulator starts a simulator with TLS. Clients need a certificate from ca. The result
// caCert verifies the simulator's own certificate.
func StartMutualSimulator(t testing.TB, ca *simulator.CA) (s *Simulator, caCert string) {
	t.Helper()
	s = newSimulator(t, "https://")
	dir := t.TempDir()
	caFile := filepath.Join(dir, "ca.pem")
	certificate, key, err := ca.Client("harness", time.Now().Add(-time.Hour), time.Now().Add(time.Hour))
	if err != nil {
		t.Fatal(err)
	}
	pair, err := tls.X509KeyPair(certificate, key)
	if err != nil {
		t.Fatal(err)
	}
	// The harness need not verify the simulator's certificate.
	s.HTTP.Transport.(*http.Transport).TLSClientConfig = &tls.Config{Certificates: []tls.Certificate{pair}, InsecureSkipVerify: true}
	s.args = []string{"-tls", "-ca-out", caFile, "-client-ca", WriteFile(t, dir, "client-ca.pem", string(ca.PEM))}
	s.Start(t)
	return s, ReadFile(t, caFile)
}

func newSimulator(t testing.TB, scheme string) *Simulator {
	t.Helper()
	Need(t)
	addr := FreeAddress(t)
	s := &Simulator{
		Client: simulator.Client{URL: scheme + addr, HTTP: newHTTPClient()},
		addr:   addr,
		log:    filepath.Join(t.TempDir(), "simulator.log"),
	}
	stopAfter(t, &s.proc)
	return s
}

// Start starts the simulator again after Stop, at the same address. Tokens, counts and settings are
// lost.
func (s *Simulator) Start(t testing.TB) {
	t.Helper()
	s.proc = start(t, "the simulator", s.log, exec.Command(programs.simulator, append([]string{"-listen", s.addr}, s.args...)...))
	Within(t, Timeout, "the simulator answers", func() error {
		if !s.proc.running() {
			t.Fatalf("the simulator ended while it started:\n%s", tail(s.log, 20))
		}
		_, err := s.Client.State(t.Context())
		return err
	})
}

// Stop ends the simulator. Its address then refuses connections.
func (s *Simulator) Stop() {
	s.proc.stop()
	s.HTTP.CloseIdleConnections()
}

// WaitForEnd waits until a token has ended.
func (s *Simulator) WaitForEnd(t testing.TB, token string) {
	t.Helper()
	Until(t, "the token has ended", func() bool { return !s.Token(t, token).Active })
}

// WaitUntilOld waits until a token is 11 s old. In a token's first 10 s, the engine ignores reports
// that the provider rejected the token.
func (s *Simulator) WaitUntilOld(t testing.TB, token string) {
	t.Helper()
	Until(t, "the token is 11 s old", func() bool {
		return time.Since(s.Token(t, token).IssuedAt) > 11*time.Second
	})
}

// Configure merges a JSON document into the simulator's settings.
func (s *Simulator) Configure(t testing.TB, settings string) {
	t.Helper()
	if err := s.Client.Patch(t.Context(), settings); err != nil {
		t.Fatalf("changing the simulator's settings to %s: %v", settings, err)
	}
}

// Logins returns how many logins a provider has received, including failed logins.
func (s *Simulator) Logins(t testing.TB, provider string) int {
	t.Helper()
	return s.State(t).Providers[provider].Logins()
}

// State returns the simulator's settings and counts.
func (s *Simulator) State(t testing.TB) simulator.State {
	t.Helper()
	state, err := s.Client.State(t.Context())
	if err != nil {
		t.Fatalf("reading the simulator's state: %v", err)
	}
	return state
}

// Token returns the simulator's record of a token.
func (s *Simulator) Token(t testing.TB, token string) simulator.Introspection {
	t.Helper()
	known, err := s.Client.Introspect(t.Context(), token)
	if err != nil {
		t.Fatalf("asking the simulator about a token: %v", err)
	}
	return known
}

// TokenURL returns the URL of a provider's token endpoint.
func (s *Simulator) TokenURL(provider string) string {
	return s.URL + map[string]string{
		simulator.SinchIndia:        "/realms/ipmessaging/protocol/openid-connect/token",
		simulator.EnableXWhatsApp:   "/whatsapp/v1/token",
		simulator.EnableXRCS:        "/rcs/v1/token",
		simulator.EnableXSMS:        "/sms/v1/token",
		simulator.SinchConversation: "/oauth2/token",
		simulator.OAuth2:            "/generic/token",
	}[provider]
}
