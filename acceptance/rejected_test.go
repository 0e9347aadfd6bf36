// SPDX-License-Identifier: MPL-2.0

package acceptance

import (
	"strings"
	"sync"
	"testing"
	"time"

	"vault-plugin-secrets-messaging/acceptance/harness"
	"vault-plugin-secrets-messaging/internal/simulator"
)

// The provider ends a token early. Many apps report the token as rejected, but the engine logs in
// only once.
func TestRejectedToken(t *testing.T) {
	t.Parallel() // the test mostly waits
	w := newWorld(t)
	w.writeConfig(t, rcs)
	first := w.readCreds(t, rcs)
	app := w.As(w.AppToken(t, `path "messaging/creds/*" { capabilities = ["read"] }`))
	report := func(id string) harness.Response {
		t.Helper()
		return app.Read(t, rcs.creds()+"?rejected="+id).OK(t)
	}
	// The engine ignores reports about a token that is at most 10 s old.
	id := first.Text("token_id")
	if young := report(id); young.Text("access_token") != first.Text("access_token") || !strings.Contains(strings.Join(young.Warnings, " "), "within the last 10s") {
		t.Errorf("report of a new token: got token %s and warnings %q, want the same token and the reason", young.Text("token_id"), young.Warnings)
	}
	w.sim.WaitUntilOld(t, first.Text("access_token"))
	if _, err := w.sim.EndTokens(t.Context(), simulator.EnableXRCS, ""); err != nil {
		t.Fatal(err)
	}

	// 200 apps notice at once.
	before := w.sim.Logins(t, simulator.EnableXRCS)
	var (
		readers sync.WaitGroup
		mu      sync.Mutex
		got     = map[string]int{}
	)
	deadline := time.Now().Add(harness.Timeout)
	for range 200 {
		readers.Go(func() {
			r, err := app.Do("GET", rcs.creds()+"?rejected="+id, nil)
			for err == nil && strings.Contains(r.Raw, "the login takes long and continues; read again") && time.Now().Before(deadline) { // a slow machine needs over 3 s
				r, err = app.Do("GET", rcs.creds()+"?rejected="+id, nil)
			}
			mu.Lock()
			defer mu.Unlock()
			if err != nil || r.Status != 200 {
				t.Errorf("report: got %v, %v, want 200", r, err)
				return
			}
			got[r.Text("token_id")]++
		})
	}
	readers.Wait()
	if n := w.sim.Logins(t, simulator.EnableXRCS) - before; n != 1 || len(got) != 1 || got[id] > 0 {
		t.Errorf("200 reports at once: got %d logins and tokens %v, want 1 login and its token for all", n, got)
	}

	// One app reports every new token as rejected, ten times a second.
	before = w.sim.Logins(t, simulator.EnableXRCS)
	ticker := time.NewTicker(100 * time.Millisecond)
	defer ticker.Stop()
	for range 250 {
		<-ticker.C
		id = report(id).Text("token_id")
	}
	if n := w.sim.Logins(t, simulator.EnableXRCS) - before; n > 2 {
		t.Errorf("reports for 25 s: got %d logins, want at most 2", n)
	}
	bounded := report(id)
	if text := strings.Join(bounded.Warnings, " "); bounded.Text("token_id") != id || !strings.Contains(text, "the next report is honored after") {
		t.Errorf("a report beyond the bound: got token %s and warnings %q, want %s and when the next report is honored", bounded.Text("token_id"), text, id)
	}

	// While the provider is down, the app gets the cached token and a warning.
	w.writeConfig(t, conversation)
	old := w.readCreds(t, conversation)
	w.sim.WaitUntilOld(t, old.Text("access_token"))
	w.sim.Stop()
	down := app.Read(t, conversation.creds()+"?rejected="+old.Text("token_id")).OK(t)
	if down.Text("access_token") != old.Text("access_token") || len(down.Warnings) == 0 {
		t.Errorf("a report during an outage: got token %s and warnings %q, want the cached token and a warning", down.Text("token_id"), down.Warnings)
	}
	app.Read(t, rcs.creds()+"?rejected=no-token-id").Refused(t, 400, "rejected: must be the token_id")
}
