package acceptance

import (
	"fmt"
	"os"
	"testing"
	"time"

	"vault-plugin-secrets-messaging/acceptance/harness"
)

// Vault Agent, which knows nothing of this engine, keeps a file with a token that
// is alive, be it by leases or by the ttl of reads without one, over ten lives of
// a token; and costs no more logins than it must.
func TestAgentKeepsALivingToken(t *testing.T) {
	const lifetime, lives = 4 * time.Second, 10
	w := newWorld(t)
	w.sim.Turn(t, fmt.Sprintf(`{"access_ttl": %q, "any_account": true}`, lifetime))
	w.Write(t, "messaging/config/leased", sinch.write(w.sim)).OK(t)
	w.Write(t, "messaging/config/leaseless", sinch.write(w.sim,
		harness.Fields{"username": "second", "password": "second-secret", "lease": false})).OK(t)
	begun := time.Now()
	files := w.StartAgent(t, `path "messaging/creds/*" { capabilities = ["read"] }`,
		`{{ with secret "messaging/creds/leased" }}{{ .Data.access_token }}{{ end }}`,
		`{{ with secret "messaging/creds/leaseless" }}{{ .Data.access_token }}{{ end }}`)

	seen := map[string]bool{}
	for ; time.Since(begun) < lives*lifetime; time.Sleep(20 * time.Millisecond) {
		for _, file := range files {
			token, err := os.ReadFile(file)
			if err != nil {
				continue // not yet rendered
			}
			seen[string(token)] = true
			known := w.sim.Token(t, string(token))
			if now, _ := os.ReadFile(file); !known.Active && string(now) == string(token) {
				t.Fatalf("%s holds a dead token: %+v", file, known)
			}
		}
	}
	if len(seen) < 2*(lives-1) {
		t.Errorf("the agent has rendered %d tokens in %d lives of two accounts", len(seen), lives)
	}
	// min_ttl is 2s of these 4s, and more than the refresh window
	most := int(time.Since(begun)/(lifetime-2*time.Second)) + 1
	for name, counts := range w.sim.State(t).Providers[sinch.provider].Accounts {
		if mints := counts.LoginsSucceeded + counts.RefreshesSucceeded; mints > most {
			t.Errorf("%d mints of account %s, want at most %d", mints, name, most)
		}
	}
}
