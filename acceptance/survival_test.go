// SPDX-License-Identifier: MPL-2.0

package acceptance

import (
	"testing"

	"vault-plugin-secrets-messaging/acceptance/harness"
)

// A kill of the plugin process causes no login, and later reads succeed.
func TestPluginKilledBetweenReads(t *testing.T) {
	w := newWorld(t)
	for _, a := range accounts {
		w.writeConfig(t, a)
	}
	for range 20 {
		w.KillPlugin(t)
		for _, a := range accounts {
			w.readCreds(t, a)
		}
	}
	for _, a := range accounts {
		w.wantLogins(t, a, 1)
	}
}

// The engine serves the cached token after a seal, a restart or a crash of the server, even while
// the provider is down.
func TestServerRestartsKeepTheToken(t *testing.T) {
	w := newWorldOn(t, harness.StartRaft)
	tokens := map[string]string{}
	for _, a := range accounts {
		w.writeConfig(t, a)
		tokens[a.config] = w.token(t, a)
	}
	w.sim.Stop()

	check := func(after string) {
		t.Helper()
		w.WaitActive(t)
		for _, a := range accounts {
			w.wantToken(t, a, tokens[a.config], "after "+after)
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
