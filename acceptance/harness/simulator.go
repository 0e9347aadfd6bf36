// SPDX-License-Identifier: MPL-2.0

package harness

import (
	"os/exec"
	"path/filepath"
	"testing"

	"vault-plugin-secrets-messaging/internal/simulator"
)

// Simulator is a process that plays the providers. It knows the accounts that
// the simulator package's documentation lists.
type Simulator struct {
	simulator.Client
	addr string
	log  string
	proc *process
}

// StartSimulator starts a simulator.
func StartSimulator(t testing.TB) *Simulator {
	t.Helper()
	Need(t)
	addr := freeAddress(t)
	s := &Simulator{
		Client: simulator.Client{URL: "http://" + addr, HTTP: newHTTPClient()},
		addr:   addr,
		log:    filepath.Join(t.TempDir(), "simulator.log"),
	}
	endWith(t, &s.proc)
	s.Start(t)
	return s
}

// Start starts the simulator again after Stop, at the same address. It has
// forgotten its tokens, counts and settings.
func (s *Simulator) Start(t testing.TB) {
	t.Helper()
	s.proc = start(t, "the simulator", s.log, exec.Command(programs.simulator, "-listen", s.addr))
	Within(t, patience, "the simulator answers", func() error {
		if !s.proc.running() {
			t.Fatalf("the simulator ended at its start:\n%s", tail(s.log, 20))
		}
		_, err := s.Client.State(t.Context())
		return err
	})
}

// Stop ends the simulator: its address then refuses connections.
func (s *Simulator) Stop() {
	s.proc.stop()
	s.HTTP.CloseIdleConnections()
}

// Turn merges a JSON document into the simulator's settings.
func (s *Simulator) Turn(t testing.TB, settings string) {
	t.Helper()
	if err := s.Client.Patch(t.Context(), settings); err != nil {
		t.Fatalf("turning the simulator's knobs: %v", err)
	}
}

// Logins returns how many logins a provider has seen, whatever came of them.
func (s *Simulator) Logins(t testing.TB, provider string) int {
	t.Helper()
	return s.State(t).Providers[provider].Logins()
}

// State returns the simulator's settings and counts.
func (s *Simulator) State(t testing.TB) simulator.State {
	t.Helper()
	state, err := s.Client.State(t.Context())
	if err != nil {
		t.Fatalf("asking the simulator: %v", err)
	}
	return state
}

// Token returns what the simulator knows about a token.
func (s *Simulator) Token(t testing.TB, token string) simulator.Introspection {
	t.Helper()
	known, err := s.Client.Introspect(t.Context(), token)
	if err != nil {
		t.Fatalf("asking the simulator: %v", err)
	}
	return known
}

// TokenURL returns the address of a provider's token endpoint.
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
