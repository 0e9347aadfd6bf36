// SPDX-License-Identifier: MPL-2.0

// Package clients tests the plugin with third-party Vault clients, and the programs in
// docs/recipes. "make test-clients" runs the tests.
package clients

import (
	"encoding/json"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/vault/api"

	"vault-plugin-secrets-messaging/acceptance/harness"
	"vault-plugin-secrets-messaging/internal/simulator"
)

func TestMain(m *testing.M) { harness.Main(m) }

// result holds Vault's answers to a program that does an operator's work. See operateInGo for the
// steps of the program.
type result struct {
	Config map[string]any
	Names  []string
	Creds  harness.Response
	Lease  struct {
		ID        string
		TTL       int
		Renewable bool
	}
	Gone    string // the error of looking up the lease after its revocation
	Refused string // the error of reading the creds of a config that does not exist
}

func TestClients(t *testing.T) {
	server, sim := start(t)
	check := func(t *testing.T, name string, r result) {
		token := r.Creds.Text("access_token")
		if !sim.Token(t, token).Active { // revoking the lease of a shared token does not end the token
			t.Errorf("got token %q, want an active token", token)
		}
		if r.Config["username"] != "acme" || r.Config["password"] != nil {
			t.Errorf("got config %v, want username acme and no password", r.Config)
		}
		if !slices.Contains(r.Names, name) {
			t.Errorf("got configs %q, want %q among them", r.Names, name)
		}
		if r.Creds.LeaseID == "" || r.Creds.LeaseDuration < 3500 || r.Creds.Renewable {
			t.Errorf("got creds %+v, want a non-renewable lease of at least 3500 s", r.Creds)
		}
		if r.Lease.ID != r.Creds.LeaseID || r.Lease.TTL > r.Creds.LeaseDuration || r.Lease.TTL < r.Creds.LeaseDuration-60 || r.Lease.Renewable {
			t.Errorf("lookup of the lease: got %+v, want the id of %+v, non-renewable, and a ttl at most 60 s shorter", r.Lease, r.Creds)
		}
		if want := "invalid lease"; !strings.Contains(r.Gone, want) {
			t.Errorf("lookup of the revoked lease: got %q, want %q in the error", r.Gone, want)
		}
		if want := "no config"; !strings.Contains(r.Refused, want) {
			t.Errorf("read of messaging/creds/none: got %q, want %q in the error", r.Refused, want)
		}
	}
	for _, rt := range runtimes {
		if rt.vault == "" {
			continue
		}
		t.Run(rt.vault, func(t *testing.T) {
			_, program := rt.ready(t)
			if program == nil {
				check(t, rt.config(), operateInGo(t, server, sinch(sim), rt.config()))
			} else {
				check(t, rt.config(), operate(t, server, program, sinch(sim), rt.config()))
			}
		})
	}
}

// operate runs an operator's program.
func operate(t *testing.T, server *harness.Server, program []string, config harness.Fields, name string) (r result) {
	t.Helper()
	content, err := json.Marshal(config)
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), program[0], append(program[1:], string(content), name)...)
	cmd.Env = server.Env(t)
	var stderr strings.Builder
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%q: got error %v, want success\n%s", program, err, stderr.String())
	}
	if err := json.Unmarshal(out, &r); err != nil {
		t.Fatalf("%q: got output %q, want JSON: %v", program, out, err)
	}
	return r
}

// operateInGo is the operator's program in Go.
func operateInGo(t *testing.T, server *harness.Server, config harness.Fields, name string) (r result) {
	t.Helper()
	vault := goClient(t, server)
	must := func(s *api.Secret, err error) *api.Secret {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	must(vault.Logical().Write("messaging/config/"+name, config))
	r.Config = must(vault.Logical().Read("messaging/config/" + name)).Data
	for _, key := range must(vault.Logical().List("messaging/config")).Data["keys"].([]any) {
		r.Names = append(r.Names, key.(string))
	}
	creds := must(vault.Logical().Read("messaging/creds/" + name))
	r.Creds = harness.Response{LeaseID: creds.LeaseID, LeaseDuration: creds.LeaseDuration, Renewable: creds.Renewable, Data: creds.Data}
	lease := must(vault.Sys().Lookup(creds.LeaseID))
	r.Lease.ID, _ = lease.Data["id"].(string)
	ttl, _ := lease.Data["ttl"].(json.Number).Int64()
	r.Lease.TTL = int(ttl)
	if err := vault.Sys().Revoke(creds.LeaseID); err != nil {
		t.Fatal(err)
	}
	if _, err := vault.Sys().Lookup(creds.LeaseID); err != nil {
		r.Gone = err.Error()
	}
	if _, err := vault.Logical().Read("messaging/creds/none"); err != nil {
		r.Refused = err.Error()
	}
	return r
}

// An app that follows the lifetime watcher of vault/api always has an active token.
func TestLifetimeWatcher(t *testing.T) {
	server, sim := start(t)
	sim.Configure(t, `{"access_ttl": 12}`)
	server.Write(t, "messaging/config/watched", sinch(sim)).OK(t)
	vault := goClient(t, server)
	seen := map[string]bool{}
	for began := time.Now(); len(seen) < 3; {
		creds, err := vault.Logical().Read("messaging/creds/watched")
		if err != nil {
			t.Fatal(err)
		}
		token, _ := creds.Data["access_token"].(string)
		seen[token] = true
		watcher, err := vault.NewLifetimeWatcher(&api.LifetimeWatcherInput{Secret: creds})
		if err != nil {
			t.Fatal(err)
		}
		lease, read := time.Duration(creds.LeaseDuration)*time.Second, time.Now()
		go watcher.Start()
		select {
		case err := <-watcher.DoneCh():
			if err != nil {
				t.Errorf("got error %v from the lifetime watcher, want none", err)
			}
			if part := time.Since(read).Seconds() / lease.Seconds(); lease >= 10*time.Second && (part < 0.7 || part > 0.95) {
				t.Errorf("got the lifetime watcher done after %.2f of the lease, want 0.70 to 0.74 and some time for a busy machine", part)
			}
		case r := <-watcher.RenewCh():
			t.Errorf("got renewal %+v from the lifetime watcher, want none of a non-renewable lease", r)
		}
		watcher.Stop()
		// A busy machine may delay the test, but must not change the result.
		known := sim.Token(t, token)
		if life := known.ExpiresIn + time.Since(read).Seconds(); life < 0.74*lease.Seconds() || known.Revoked {
			t.Errorf("got a token with %.1f s to live and a lease of %s, want a token that lives 0.74 of its lease: %+v", life, lease, known)
		}
		if time.Since(began) > 3*time.Minute {
			t.Fatalf("got %d tokens in 3 minutes, want 3", len(seen))
		}
	}
	if n := sim.Logins(t, simulator.SinchIndia); n > len(seen)+1 {
		t.Errorf("got %d logins for %d tokens, want at most %d", n, len(seen), len(seen)+1)
	}
}

// Without a lease, Vault's lifetime watcher ends at once with an error.
func TestLifetimeWatcherWithoutLease(t *testing.T) {
	server, sim := start(t)
	server.Write(t, "messaging/config/watched", sinch(sim)).OK(t)
	server.Patch(t, "messaging/config/watched", harness.Fields{"lease": false}).OK(t)
	vault := goClient(t, server)
	creds, err := vault.Logical().Read("messaging/creds/watched")
	if err != nil {
		t.Fatal(err)
	}
	watcher, err := vault.NewLifetimeWatcher(&api.LifetimeWatcherInput{Secret: creds})
	if err != nil {
		t.Fatal(err)
	}
	go watcher.Start()
	select {
	case err := <-watcher.DoneCh():
		if err == nil {
			t.Error("got no error from the lifetime watcher, want an error")
		}
	case <-time.After(harness.Timeout): // far less than the token's hour
		t.Errorf("got no end of the lifetime watcher within %s, want an error at once", harness.Timeout)
	}
	if ttl, ok := creds.Data["ttl"].(json.Number); !ok || ttl.String() == "0" {
		t.Errorf("got ttl %v, want the seconds until the next read", creds.Data["ttl"])
	}
}

func goClient(t *testing.T, server *harness.Server) *api.Client {
	t.Helper()
	c := api.DefaultConfig()
	c.Address = server.Addr
	vault, err := api.NewClient(c)
	if err != nil {
		t.Fatal(err)
	}
	vault.SetToken(server.Token)
	return vault
}
