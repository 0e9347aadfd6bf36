// SPDX-License-Identifier: MPL-2.0

package acceptance

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"vault-plugin-secrets-messaging/acceptance/harness"
	"vault-plugin-secrets-messaging/internal/simulator"
)

// unshared are the fields that give each reader of an account a token of its own,
// which ends with its lease.
func unshared(w world, a account, more harness.Fields) harness.Fields {
	return a.write(w.sim, harness.Fields{"share": false, "revocation_url": revocationURL(w.sim, a.provider)}, more)
}

// owned is a lease with a token of its own.
type owned struct{ lease, token string }

// own reads a token of one's own so many times.
func (w world) own(t *testing.T, c *harness.Client, path string, n int) []owned {
	t.Helper()
	var all []owned
	for range n {
		r := c.Read(t, path).OK(t)
		all = append(all, owned{r.LeaseID, r.Text("access_token")})
	}
	return all
}

// revoke ends leases, as Vault has it: each is gone when it returns.
func (w world) revoke(t *testing.T, leases ...owned) {
	t.Helper()
	for _, o := range leases {
		w.Write(t, "sys/leases/revoke", harness.Fields{"lease_id": o.lease, "sync": true}).OK(t)
	}
}

// wantEnded fails the test unless the tokens, and the leases, come to their end.
func (w world) wantEnded(t *testing.T, within time.Duration, all ...owned) {
	t.Helper()
	harness.Within(t, within, "the tokens are ended at the provider, and the leases with them", func() error {
		for i, o := range all {
			if w.sim.Token(t, o.token).Active {
				return fmt.Errorf("token %d of %d is alive", i+1, len(all))
			}
			if r := w.Write(t, "sys/leases/lookup", harness.Fields{"lease_id": o.lease}); r.Status != 400 {
				return fmt.Errorf("lease %d of %d: status %d: %s", i+1, len(all), r.Status, r.Raw)
			}
		}
		return nil
	})
}

// wantAlive fails the test unless the provider takes the tokens.
func (w world) wantAlive(t *testing.T, all ...owned) {
	t.Helper()
	for i, o := range all {
		if known := w.sim.Token(t, o.token); !known.Active {
			t.Errorf("token %d of %d is not alive: %+v", i+1, len(all), known)
		}
	}
}

// wantNoIrrevocable fails the test if Vault has given up on the revocation of a lease.
func (w world) wantNoIrrevocable(t *testing.T) {
	t.Helper()
	if r := w.Read(t, "sys/leases/count?type=irrevocable").OK(t); r.Text("lease_count") != "0" {
		t.Errorf("irrevocable leases: %s", r.Raw)
	}
}

const (
	// hang has the provider take revocations and neither act on them nor answer,
	// and be as slow with all else.
	hang = `{"latency": "10m", "faults": [{"kind": "close-before", "on": "revoke"}]}`
	heal = `{"latency": null, "faults": null}`
)

// Each read has a token of its own, that ends with its lease however that ends, and
// no other does.
func TestUnsharedTokensEndWithTheirLeases(t *testing.T) {
	w := newWorld(t)
	const app = `path "messaging/creds/*" { capabilities = ["read"] }`
	for _, a := range []account{sinch, generic, genericUser} {
		t.Run(a.config, func(t *testing.T) {
			w.Write(t, a.path(), unshared(w, a, nil)).OK(t)
			logins := w.sim.Logins(t, a.provider)
			first := w.Read(t, a.creds()).OK(t)
			known := w.sim.Token(t, first.Text("access_token"))
			if short := known.ExpiresIn - float64(first.LeaseDuration); short < 0 || short > 2 || first.Renewable {
				t.Errorf("lease_duration is %d, %.2f s short; renewable: %t", first.LeaseDuration, short, first.Renewable)
			}
			all := append(w.own(t, &w.Client, a.creds(), 3), owned{first.LeaseID, first.Text("access_token")})
			if n := w.sim.Logins(t, a.provider) - logins; n != len(all) {
				t.Errorf("%d logins for %d reads", n, len(all))
			}
			w.wantAlive(t, all...)
			w.revoke(t, all[0])
			w.wantEnded(t, 0, all[0])
			w.wantAlive(t, all[1:]...)
			w.CLI(t, "lease", "revoke", "-sync", "-prefix", a.creds()).OK(t)
			w.wantEnded(t, 0, all...)

			w.Write(t, "messaging/rotate/"+a.config, nil).Refused(t, 400, "share=false")
			w.Patch(t, a.path(), harness.Fields{"lease": false}).Refused(t, 400, "share=false")
		})
	}
	t.Run("the end of the Vault token", func(t *testing.T) {
		token := w.AppToken(t, app)
		lives, dies := w.own(t, &w.Client, sinch.creds(), 1), w.own(t, w.As(token), sinch.creds(), 2)
		w.Write(t, "auth/token/revoke", harness.Fields{"token": token}).OK(t)
		w.wantEnded(t, 10*time.Second, dies...)
		w.wantAlive(t, lives...)
	})
	t.Run("the expiry of the Vault token", func(t *testing.T) {
		w.Write(t, "sys/policies/acl/app", harness.Fields{"policy": app}).OK(t)
		token := w.Write(t, "auth/token/create", harness.Fields{"policies": []string{"app"}, "ttl": "2s", "explicit_max_ttl": "2s"}).OK(t).Auth.ClientToken
		dies := w.own(t, w.As(token), sinch.creds(), 2)
		w.wantAlive(t, dies...)
		w.wantEnded(t, 20*time.Second, dies...)
	})
	t.Run("the expiry of the lease", func(t *testing.T) {
		a := sinch.with("brief", nil)
		w.Write(t, a.path(), unshared(w, a, harness.Fields{"max_ttl": "4s"})).OK(t)
		dies := w.own(t, &w.Client, a.creds(), 2)
		w.wantAlive(t, dies...)
		w.wantEnded(t, 20*time.Second, dies...)
	})
	w.wantNoIrrevocable(t)
	if v := w.sim.State(t).Violations; len(v) > 0 {
		t.Errorf("requests that are not as the providers' documentation has them: %+v", v)
	}
}

// Who gives up on a read gets no lease, and so the token that was minted for it is
// ended as soon as it is there.
func TestUnsharedTokenOfAReaderThatGivesUp(t *testing.T) {
	w := newWorld(t)
	w.Write(t, generic.path(), unshared(w, generic, nil)).OK(t)
	before := w.sim.State(t).Total
	w.sim.Configure(t, `{"latency": 2}`)
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
	harness.Within(t, 10*time.Second, "the provider is asked for a token", func() error {
		if w.sim.State(t).Total.Requests == before.Requests {
			return errors.New("not yet")
		}
		return nil
	})
	w.sim.Configure(t, heal) // for what comes after it
	leave()
	if err := <-done; !errors.Is(err, context.Canceled) {
		t.Fatalf("the read: %v", err)
	}
	harness.Within(t, 10*time.Second, "the token is ended", func() error {
		now := w.sim.State(t).Total
		if minted, ended := now.LoginsSucceeded-before.LoginsSucceeded, now.RevocationsSucceeded-before.RevocationsSucceeded; minted != 1 || ended != 1 {
			return fmt.Errorf("%d minted, %d ended", minted, ended)
		}
		return nil
	})
}

// Leases end while the provider does not answer, and their tokens as soon as it
// does again: after the success of another lease's revocation, or at a tick, which
// comes each minute. That outlives the process, and a move of the mount.
func TestUnsharedRevocationsOutliveAnOutage(t *testing.T) {
	t.Parallel() // it mostly waits
	w := newWorld(t)
	w.Write(t, sinch.path(), unshared(w, sinch, nil)).OK(t)
	w.Write(t, generic.path(), unshared(w, generic, nil)).OK(t)
	soon, late := w.own(t, &w.Client, sinch.creds(), 4), w.own(t, &w.Client, generic.creds(), 3)
	const down = `{"faults": [{"kind": "close-before", "on": "revoke"}]}`
	w.sim.Configure(t, fmt.Sprintf(`{"providers": {%q: %s, %q: %s}}`, sinch.provider, down, generic.provider, hang))
	begun := time.Now()
	w.revoke(t, soon[:3]...)
	w.revoke(t, late[:2]...)
	if took := time.Since(begun); took > 15*time.Second {
		t.Errorf("five revocations took %s with the provider down", took)
	}
	for _, o := range append(soon[:3:3], late[:2]...) {
		wantGone(t, w.Server, o.lease)
	}
	begun = time.Now()
	w.move(t, "messaging", "moved")
	if took := time.Since(begun); took > 15*time.Second {
		t.Errorf("the move took %s with the provider down", took)
	}
	w.wantAlive(t, append(soon[:4:4], late...)...)

	w.sim.Configure(t, fmt.Sprintf(`{"providers": {%q: null}}`, sinch.provider))
	harness.Within(t, 45*time.Second, "another lease's revocation takes the others' tokens along", func() error {
		w.revoke(t, w.own(t, &w.Client, "moved/creds/sinch", 1)...)
		for _, o := range soon {
			if w.sim.Token(t, o.token).Active {
				return errors.New("a token is alive")
			}
		}
		return nil
	})
	w.wantAlive(t, late...)

	w.KillPlugin(t)
	w.sim.Configure(t, fmt.Sprintf(`{"providers": {%q: null}}`, generic.provider))
	harness.Within(t, 150*time.Second, "a tick ends the tokens", func() error {
		for _, o := range late {
			if w.sim.Token(t, o.token).Active {
				return errors.New("a token is alive")
			}
		}
		return nil
	})
	w.wantNoIrrevocable(t)
}

// move moves a mount.
func (w world) move(t *testing.T, from, to string) {
	t.Helper()
	id := w.Write(t, "sys/remount", harness.Fields{"from": from, "to": to}).OK(t).Text("migration_id")
	harness.Within(t, time.Minute, "the mount is moved", func() error {
		r := w.Read(t, "sys/remount/status/"+id).OK(t)
		if info, _ := r.Data["migration_info"].(map[string]any); info["status"] != "success" {
			return errors.New(r.Raw)
		}
		return nil
	})
}

// Where the config is gone, or names another endpoint by now, its credentials are
// not sent to where the lease says: the token is left to expire, and the log says so.
func TestUnsharedRevocationAfterTheConfigIsGone(t *testing.T) {
	w := newWorld(t)
	other := harness.StartSimulator(t)
	deleted, moved := sinch.with("deleted", nil), sinch.with("moved", nil)
	var all []owned
	for _, a := range []account{deleted, moved} {
		w.Write(t, a.path(), unshared(w, a, nil)).OK(t)
		all = append(all, w.own(t, &w.Client, a.creds(), 2)...)
	}
	w.Delete(t, deleted.path()).OK(t)
	w.Write(t, moved.path(), unshared(w, moved, harness.Fields{"revocation_url": revocationURL(other, moved.provider), "verify_connection": false})).OK(t)
	before := w.sim.State(t).Total.Requests
	w.revoke(t, all...)
	w.wantAlive(t, all...)
	for _, o := range all {
		wantGone(t, w.Server, o.lease)
	}
	if n := w.sim.State(t).Total.Requests - before + other.State(t).Total.Requests; n != 0 {
		t.Errorf("the providers were asked %d times", n)
	}
	told := map[string]int{}
	for line := range strings.Lines(file(t, w.Log)) {
		for _, a := range []account{deleted, moved} {
			if strings.Contains(line, "a token was not revoked: ") && strings.Contains(line, "config="+a.config) {
				told[a.config]++
			}
		}
	}
	if told[deleted.config] != 2 || told[moved.config] != 2 {
		t.Errorf("the log tells of so many tokens that were not revoked: %v; want 2 each", told)
	}
	w.wantNoIrrevocable(t)
}

// A mount with a hundred such leases, of a provider that never answers, is gone in
// seconds.
func TestDisableWithUnsharedLeasesOfAProviderThatHangs(t *testing.T) {
	w := newWorld(t)
	w.Write(t, sinch.path(), unshared(w, sinch, nil)).OK(t)
	all := w.own(t, &w.Client, sinch.creds(), 100)
	w.sim.Configure(t, hang)
	begun := time.Now()
	w.Delete(t, "sys/mounts/messaging").OK(t)
	if took := time.Since(begun); took > 15*time.Second {
		t.Errorf("it took %s", took)
	}
	for _, o := range all {
		wantGone(t, w.Server, o.lease)
	}
	w.wantNoIrrevocable(t)
	// and at once there can be another in its place
	w.sim.Configure(t, heal)
	w.Write(t, "sys/mounts/messaging", harness.Fields{"type": harness.PluginName}).OK(t)
	w.Write(t, sinch.path(), unshared(w, sinch, nil)).OK(t)
	again := w.own(t, &w.Client, sinch.creds(), 1)
	w.revoke(t, again...)
	w.wantEnded(t, 0, again...)
}

// However many read with a wrong password at once, it is tried once.
func TestUnsharedWrongPasswordIsNotRepeated(t *testing.T) {
	w := newWorld(t)
	w.sim.Configure(t, fmt.Sprintf(`{"providers": {%q: {"latency": 0.5, "lockout_after": 3}}}`, simulator.SinchIndia))
	w.Write(t, sinch.path(), unshared(w, sinch, harness.Fields{"password": "wrong", "verify_connection": false})).OK(t)
	errs := make(chan error, 50)
	for range cap(errs) {
		go func() {
			r, err := w.Do("GET", sinch.creds(), nil)
			if err == nil && r.Status != 400 {
				err = fmt.Errorf("status %d: %s", r.Status, r.Raw)
			}
			errs <- err
		}()
	}
	for range cap(errs) {
		if err := <-errs; err != nil {
			t.Error(err)
		}
	}
	if n := w.sim.Logins(t, sinch.provider); n != 1 {
		t.Errorf("%d logins, want 1", n)
	}
	w.Write(t, sinch.path(), unshared(w, sinch, nil)).OK(t)
	w.own(t, &w.Client, sinch.creds(), 1)
}
