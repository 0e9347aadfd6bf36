// SPDX-License-Identifier: MPL-2.0

package acceptance

import (
	"fmt"
	"testing"
	"time"

	"vault-plugin-secrets-messaging/acceptance/harness"
	"vault-plugin-secrets-messaging/internal/simulator"
)

// world is a Vault server with the plugin at messaging/, and a simulator of the providers.
type world struct {
	*harness.Server
	sim *harness.Simulator
}

// Policies of apps.
const (
	appPolicy   = `path "messaging/creds/*" { capabilities = ["read"] }`
	sinchPolicy = `path "messaging/creds/sinch" { capabilities = ["read"] }`
)

// newWorld returns a world with a dev server.
func newWorld(t *testing.T) world {
	t.Helper()
	return newWorldOn(t, harness.StartDev)
}

func newWorldOn(t *testing.T, start func(testing.TB) *harness.Server) world {
	t.Helper()
	w := world{sim: harness.StartSimulator(t), Server: start(t)}
	w.InstallPlugin(t)
	return w
}

func (w world) writeConfig(t *testing.T, a account, changes ...harness.Fields) {
	t.Helper()
	w.Write(t, a.path(), a.body(w.sim, changes...)).OK(t)
}

// readCreds reads a token of the account.
func (w world) readCreds(t *testing.T, a account) harness.Response {
	t.Helper()
	return w.Read(t, a.creds()).OK(t)
}

func (w world) token(t *testing.T, a account) string {
	t.Helper()
	return w.readCreds(t, a).Text("access_token")
}

// wantToken checks that the account still has the same token.
func (w world) wantToken(t *testing.T, a account, want, state string) {
	t.Helper()
	if w.token(t, a) != want {
		t.Errorf("%s %s: got another token, want the same one", a.creds(), state)
	}
}

// wantNewToken checks that reads no longer return the old token.
func (w world) wantNewToken(t *testing.T, a account, old, state string) {
	t.Helper()
	if w.token(t, a) == old {
		t.Errorf("%s %s: got the old token, want a new one", a.creds(), state)
	}
}

func (w world) wantLogins(t *testing.T, a account, want int) {
	t.Helper()
	if got := w.sim.Logins(t, a.provider); got != want {
		t.Errorf("%s: got %d logins, want %d", a.provider, got, want)
	}
}

// wantNoViolations fails the test if any request contradicts the provider's documentation.
func (w world) wantNoViolations(t *testing.T) {
	t.Helper()
	for _, v := range w.sim.State(t).Violations {
		t.Errorf("got a request that violates the provider's documentation: %+v", v)
	}
}

func (w world) waitForRequest(t *testing.T, before int) {
	t.Helper()
	harness.Until(t, "a provider receives a request", func() bool { return w.sim.State(t).Total.Requests > before })
}

// wantLease checks that the token is active. Call wantLease right after the simulator has described
// the token. The lease must end before the token, but at most 5 s before. A difference of up to 3 s
// is normal, because the exp claim and the lease are whole seconds and the engine ends the lease a
// second early. A slow login adds to the difference, because the engine counts from its request.
func wantLease(t *testing.T, state string, known simulator.Introspection, r harness.Response) {
	t.Helper()
	// The lease began after the request was sent, but before the simulator described the token.
	early, elapsed := known.ExpiresIn-float64(r.LeaseDuration), time.Since(r.Sent).Seconds()
	if !known.Active || early+elapsed < 0 || early > 5 || r.Renewable {
		t.Errorf("%s: got lease_duration %d, renewable %t, %.1f s before the token was %+v, want an active token and a lease that ends 0 to 5 s earlier and is not renewable",
			state, r.LeaseDuration, r.Renewable, elapsed, known)
	}
}

// forProvider returns simulator settings for a single provider.
func forProvider(provider, knobs string) string {
	return fmt.Sprintf(`{"providers": {%q: %s}}`, provider, knobs)
}

// failed returns an error if a request failed or the status is not 200.
func failed(r harness.Response, err error) error {
	if err == nil && r.Status != 200 {
		err = fmt.Errorf("status %d: %s", r.Status, r.Raw)
	}
	return err
}
