// SPDX-License-Identifier: MPL-2.0

package acceptance

import (
	"testing"

	"vault-plugin-secrets-messaging/acceptance/harness"
)

// A plugin process that is killed costs no login and fails no read that comes
// after its end.
func TestPluginKilledBetweenReads(t *testing.T) {
	w := newWorld(t)
	for _, a := range accounts {
		w.Write(t, a.path(), a.write(w.sim)).OK(t)
	}
	for range 20 {
		w.KillPlugin(t)
		for _, a := range accounts {
			w.Read(t, a.creds()).OK(t)
		}
	}
	for _, a := range accounts {
		if n := w.sim.Logins(t, a.provider); n != 1 {
			t.Errorf("%s: %d logins, want 1", a.provider, n)
		}
	}
}

// The token that was in hand is served after a seal, a restart and a crash of the
// server, though the provider is down.
func TestServerRestartsKeepTheToken(t *testing.T) {
	harness.Need(t)
	w := world{sim: harness.StartSimulator(t), Server: harness.StartRaft(t)}
	w.InstallPlugin(t)
	tokens := map[string]string{}
	for _, a := range accounts {
		w.Write(t, a.path(), a.write(w.sim)).OK(t)
		tokens[a.config] = w.Read(t, a.creds()).OK(t).Text("access_token")
	}
	w.sim.Stop()

	check := func(after string) {
		t.Helper()
		w.WaitActive(t)
		for _, a := range accounts {
			r := w.Read(t, a.creds())
			if r.Status != 200 || r.Text("access_token") != tokens[a.config] {
				t.Errorf("%s after %s: %s", a.config, after, r.Raw)
			}
		}
	}
	w.Seal(t)
	w.Unseal(t)
	check("a seal")
	w.Stop()
	w.Start(t)
	check("a restart")
	w.Kill()
	w.Start(t)
	check("a crash")
}
