// SPDX-License-Identifier: MPL-2.0

package acceptance

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"vault-plugin-secrets-messaging/acceptance/harness"
	"vault-plugin-secrets-messaging/internal/simulator"
)

func readUnshared(t *testing.T, c *harness.Client, path string, n int) (all []harness.Response) {
	t.Helper()
	for range n {
		all = append(all, c.Read(t, path).OK(t))
	}
	return all
}

// revoke revokes leases and waits for each revocation.
func (w world) revoke(t *testing.T, all ...harness.Response) {
	t.Helper()
	for _, u := range all {
		w.Write(t, "sys/leases/revoke", harness.Fields{"lease_id": u.LeaseID, "sync": true}).OK(t)
	}
}

func (w world) wantRevoked(t *testing.T, within time.Duration, all ...harness.Response) {
	t.Helper()
	harness.Within(t, within, "the tokens are revoked and their leases are gone", func() error {
		for i, u := range all {
			if r := w.Write(t, "sys/leases/lookup", harness.Fields{"lease_id": u.LeaseID}); r.Status != 400 {
				return fmt.Errorf("lease %d of %d: got status %d, want 400: %s", i+1, len(all), r.Status, r.Raw)
			}
		}
		return w.noneActive(t, all)
	})
}

// noneActive returns an error if a token is still active.
func (w world) noneActive(t *testing.T, all []harness.Response) error {
	for i, u := range all {
		if w.sim.Token(t, u.Text("access_token")).Active {
			return fmt.Errorf("token %d of %d is still active", i+1, len(all))
		}
	}
	return nil
}

// wantAlive fails the test if the provider refuses a token from the responses.
func (w world) wantAlive(t *testing.T, all ...harness.Response) {
	t.Helper()
	for i, u := range all {
		if known := w.sim.Token(t, u.Text("access_token")); !known.Active {
			t.Errorf("token %d of %d: got %+v, want it active", i+1, len(all), known)
		}
	}
}

// wantNoIrrevocable fails the test if Vault has given up revoking a lease.
func (w world) wantNoIrrevocable(t *testing.T) {
	t.Helper()
	if r := w.Read(t, "sys/leases/count?type=irrevocable").OK(t); r.Text("lease_count") != "0" {
		t.Errorf("irrevocable leases: got %s, want 0", r.Raw)
	}
}

const (
	// With hang, the provider answers only after 10 minutes, and revocations never get an answer.
	hang = `{"latency": "10m", "faults": [{"kind": "close-before", "on": "revoke"}]}`
	heal = `{"latency": null, "faults": null}`
)

// Each read mints an unshared token. When the lease ends, the engine revokes the lease's token and
// no other token.
func TestUnsharedTokensEndWithTheirLeases(t *testing.T) {
	w := newWorld(t)
	for _, a := range []account{sinch, generic, genericUser} {
		t.Run(a.config, func(t *testing.T) {
			w.writeConfig(t, a.unshared(w.sim))
			logins := w.sim.Logins(t, a.provider)
			first := w.readCreds(t, a)
			wantLease(t, "first read", w.sim.Token(t, first.Text("access_token")), first)
			all := append(readUnshared(t, &w.Client, a.creds(), 3), first)
			w.wantLogins(t, a, logins+len(all))
			w.wantAlive(t, all...)
			w.revoke(t, all[0])
			w.wantRevoked(t, 0, all[0])
			w.wantAlive(t, all[1:]...)
			w.CLI(t, "lease", "revoke", "-sync", "-prefix", a.creds()).OK(t)
			w.wantRevoked(t, 0, all...)

			w.Write(t, a.rotatePath(), nil).Refused(t, 400, "share=false")
			w.Patch(t, a.path(), harness.Fields{"lease": false}).Refused(t, 400, "share=false")
		})
	}
	t.Run("the end of the Vault token", func(t *testing.T) {
		token := w.AppToken(t, appPolicy)
		lives, dies := readUnshared(t, &w.Client, sinch.creds(), 1), readUnshared(t, w.As(token), sinch.creds(), 2)
		w.Write(t, "auth/token/revoke", harness.Fields{"token": token}).OK(t)
		w.wantRevoked(t, harness.Timeout, dies...)
		w.wantAlive(t, lives...)
	})
	t.Run("the expiry of the Vault token", func(t *testing.T) {
		w.Write(t, "sys/policies/acl/app", harness.Fields{"policy": appPolicy}).OK(t)
		token := w.Write(t, "auth/token/create", harness.Fields{"policies": []string{"app"}, "ttl": "6s", "explicit_max_ttl": "6s"}).OK(t).Auth.ClientToken
		dies := readUnshared(t, w.As(token), sinch.creds(), 2)
		w.wantAlive(t, dies...)
		w.wantRevoked(t, harness.Timeout, dies...)
	})
	t.Run("the expiry of the lease", func(t *testing.T) {
		a := sinch.with("brief", nil)
		w.writeConfig(t, a.unshared(w.sim), harness.Fields{"max_ttl": "6s"})
		dies := readUnshared(t, &w.Client, a.creds(), 2)
		w.wantAlive(t, dies...)
		w.wantRevoked(t, harness.Timeout, dies...)
	})
	w.wantNoIrrevocable(t)
	w.wantNoViolations(t)
}

// If a reader disconnects during a mint, the next reader gets the unshared token.
func TestUnsharedTokenOfAReaderThatGivesUp(t *testing.T) {
	w := newWorld(t)
	w.writeConfig(t, generic.unshared(w.sim))
	before := w.sim.State(t).Total
	w.sim.Configure(t, `{"latency": 2.5}`) // a reader waits for 3 s
	ctx, leave := context.WithCancel(t.Context())
	defer leave()
	done := make(chan error)
	go func() {
		req, err := http.NewRequestWithContext(ctx, "GET", w.Addr+"/v1/"+generic.creds(), nil)
		if err == nil {
			req.Header.Set("X-Vault-Token", w.Token)
			_, err = http.DefaultClient.Do(req)
		}
		done <- err
	}()
	w.waitForRequest(t, before.Requests)
	leave()
	if err := <-done; !errors.Is(err, context.Canceled) {
		t.Fatalf("read: got error %v, want %v", err, context.Canceled)
	}
	w.sim.Configure(t, heal) // does not change the latency of the running mint
	harness.Until(t, "the token is parked", func() bool {
		return w.Read(t, generic.statusPath()).OK(t).Data["parked_tokens"] != nil
	})
	next := w.token(t, generic)
	if n := w.sim.State(t).Total.LoginsSucceeded - before.LoginsSucceeded; n != 1 || !w.sim.Token(t, next).Active {
		t.Errorf("next reader: got token %s after %d logins, want the live token of 1 login", next, n)
	}
}

// If a lease is revoked during an outage, the engine revokes the lease's token after the outage.
// Moving the mount or killing the plugin does not prevent this.
func TestUnsharedRevocationsOutliveAnOutage(t *testing.T) {
	t.Parallel() // the test mostly waits
	w := newWorld(t)
	w.writeConfig(t, sinch.unshared(w.sim))
	w.writeConfig(t, generic.unshared(w.sim))
	soon, late := readUnshared(t, &w.Client, sinch.creds(), 4), readUnshared(t, &w.Client, generic.creds(), 3)
	const down = `{"faults": [{"kind": "close-before", "on": "revoke"}]}`
	w.sim.Configure(t, forProvider(sinch.provider, down))
	w.sim.Configure(t, forProvider(generic.provider, hang))
	begun := time.Now()
	w.revoke(t, soon[:3]...)
	w.revoke(t, late[:2]...)
	if took := time.Since(begun); took > 15*time.Second {
		t.Errorf("five revocations while the provider is down: got %s, want at most 15s", took)
	}
	for _, u := range append(soon[:3:3], late[:2]...) {
		wantGone(t, w.Server, u.LeaseID)
	}
	begun = time.Now()
	w.move(t, "messaging", "moved")
	if took := time.Since(begun); took > 15*time.Second {
		t.Errorf("move while the provider is down: got %s, want at most 15s", took)
	}
	w.wantAlive(t, append(soon[:4:4], late...)...)

	w.sim.Configure(t, forProvider(sinch.provider, "null"))
	harness.Within(t, 90*time.Second, "a successful revocation revokes the queued tokens", func() error {
		w.revoke(t, readUnshared(t, &w.Client, "moved/creds/sinch", 1)...)
		return w.noneActive(t, soon)
	})
	w.wantAlive(t, late...)

	w.KillPlugin(t)
	w.sim.Configure(t, forProvider(generic.provider, "null"))
	harness.Within(t, 4*time.Minute, "a tick revokes the queued tokens", func() error { return w.noneActive(t, late) })
	w.wantNoIrrevocable(t)
}

// If a token's config was deleted or has a new revocation URL, the engine does not revoke the
// token. The token expires, and the log says so.
func TestUnsharedRevocationAfterTheConfigIsGone(t *testing.T) {
	w := newWorld(t)
	other := harness.StartSimulator(t)
	deleted, moved := sinch.with("deleted", nil), sinch.with("moved", nil)
	var all []harness.Response
	for _, a := range []account{deleted, moved} {
		w.writeConfig(t, a.unshared(w.sim))
		all = append(all, readUnshared(t, &w.Client, a.creds(), 2)...)
	}
	w.Delete(t, deleted.path()).OK(t)
	w.writeConfig(t, moved.unshared(w.sim), harness.Fields{"revocation_url": revocationURL(other, moved.provider), "verify_connection": false})
	before := w.sim.State(t).Total.Requests
	w.revoke(t, all...)
	w.wantAlive(t, all...)
	for _, u := range all {
		wantGone(t, w.Server, u.LeaseID)
	}
	if n := w.sim.State(t).Total.Requests - before + other.State(t).Total.Requests; n != 0 {
		t.Errorf("revocations after the config is gone: got %d requests to the providers, want 0", n)
	}
	// Vault may answer a request before Vault writes the plugin's log lines.
	harness.Within(t, harness.Timeout, "the log has the tokens that were not revoked", func() error {
		logged := map[string]int{}
		for line := range strings.Lines(harness.ReadFile(t, w.Log)) {
			for _, a := range []account{deleted, moved} {
				if strings.Contains(line, "a token was not revoked: ") && strings.Contains(line, "config="+a.config) {
					logged[a.config]++
				}
			}
		}
		if logged[deleted.config] != 2 || logged[moved.config] != 2 {
			return fmt.Errorf("got log lines %v, want 2 for each config", logged)
		}
		return nil
	})
	w.wantNoIrrevocable(t)
}

// A mount with 100 unshared tokens can be disabled within seconds, although the provider never
// answers.
func TestDisableWithUnsharedLeasesOfAProviderThatHangs(t *testing.T) {
	w := newWorld(t)
	w.writeConfig(t, sinch.unshared(w.sim))
	all := readUnshared(t, &w.Client, sinch.creds(), 100)
	w.sim.Configure(t, hang)
	begun := time.Now()
	w.Delete(t, "sys/mounts/messaging").OK(t)
	if took := time.Since(begun); took > 30*time.Second {
		t.Errorf("disabling the mount: got %s, want at most 30s", took)
	}
	for _, u := range all {
		wantGone(t, w.Server, u.LeaseID)
	}
	w.wantNoIrrevocable(t)
	w.sim.Configure(t, heal)
	w.Write(t, "sys/mounts/messaging", harness.Fields{"type": harness.PluginName}).OK(t)
	w.writeConfig(t, sinch.unshared(w.sim))
	again := readUnshared(t, &w.Client, sinch.creds(), 1)
	w.revoke(t, again...)
	w.wantRevoked(t, 0, again...)
}

// Many concurrent reads try a wrong password only once.
func TestUnsharedWrongPasswordIsNotRepeated(t *testing.T) {
	w := newWorld(t)
	w.sim.Configure(t, forProvider(simulator.SinchIndia, `{"latency": 0.5, "lockout_after": 3}`))
	w.writeConfig(t, sinch.unshared(w.sim), harness.Fields{"password": "wrong", "verify_connection": false})
	var readers sync.WaitGroup
	for range 50 {
		readers.Go(func() {
			if r, err := w.Do("GET", sinch.creds(), nil); err != nil || r.Status != 400 {
				t.Errorf("read: got status %d, error %v, want 400: %s", r.Status, err, r.Raw)
			}
		})
	}
	readers.Wait()
	w.wantLogins(t, sinch, 1)
	w.writeConfig(t, sinch.unshared(w.sim))
	readUnshared(t, &w.Client, sinch.creds(), 1)
}
