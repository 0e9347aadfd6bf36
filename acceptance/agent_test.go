// SPDX-License-Identifier: MPL-2.0

package acceptance

import (
	"fmt"
	"os"
	"testing"
	"time"

	"vault-plugin-secrets-messaging/acceptance/harness"
	"vault-plugin-secrets-messaging/internal/simulator"
)

// Vault Agent, in both lease modes, over ten token lives: what it has rendered is
// never a dead token, and the provider sees no more mints than the design allows.
//
// The leased account's tokens live for 6 s and have a min_ttl of 3 s, so that no
// lease is of 1 s: of two reads within one second of the clock the agent (its
// consul-template) drops what the second brought. Without leases there is no such
// limit, and 4 s will do.
func TestAgentKeepsALivingToken(t *testing.T) {
	t.Parallel() // it mostly waits
	const lives = 10
	leased := account{"leased", simulator.OAuth2, "client_secret", harness.Fields{
		"client_id": "generic-client", "client_secret": "generic-secret", "min_ttl": 3}}
	leaseless := account{"leaseless", simulator.SinchIndia, "password", harness.Fields{
		"username": "acme", "password": sinchPassword, "lease": false}}
	modes := []struct {
		account
		lifetime, minTTL time.Duration
		file             string
	}{
		{leased, 6 * time.Second, 3 * time.Second, ""},
		{leaseless, 4 * time.Second, 2 * time.Second, ""},
	}
	w := newWorld(t)
	w.sim.Configure(t, `{"providers": {"oauth2": {"access_ttl": 6}, "sinch-india": {"access_ttl": 4}}}`)
	var templates []string
	for _, m := range modes {
		w.Write(t, m.path(), m.write(w.sim)).OK(t)
		templates = append(templates, fmt.Sprintf(`{{ with secret %q }}{{ .Data.access_token }}{{ end }}`, m.creds()))
	}
	begun := time.Now()
	for i, file := range w.StartAgent(t, `path "messaging/creds/*" { capabilities = ["read"] }`, templates...) {
		modes[i].file = file
	}

	seen := map[string]map[string]bool{leased.config: {}, leaseless.config: {}}
	for ; time.Since(begun) < lives*modes[0].lifetime; time.Sleep(20 * time.Millisecond) {
		for _, m := range modes {
			token, err := os.ReadFile(m.file)
			if err != nil {
				continue // not yet rendered
			}
			seen[m.config][string(token)] = true
			known := w.sim.Token(t, string(token))
			if now, _ := os.ReadFile(m.file); !known.Active && string(now) == string(token) {
				t.Fatalf("the file of %s holds a dead token: %+v", m.config, known)
			}
		}
	}
	for _, m := range modes {
		if n := len(seen[m.config]); n < lives-1 {
			t.Errorf("%s: the agent has rendered %d tokens in %d lives", m.config, n, lives)
		}
		// min_ttl is more than the refresh window
		most := int(time.Since(begun)/(m.lifetime-m.minTTL)) + 1
		counts := w.sim.State(t).Providers[m.provider]
		if mints := counts.LoginsSucceeded + counts.RefreshesSucceeded; mints > most {
			t.Errorf("%s: %d mints, want at most %d", m.config, mints, most)
		}
	}
}
