// SPDX-License-Identifier: MPL-2.0

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

// did is what an operator's program did: it wrote a config and read it back,
// listed the configs, read creds, looked their lease up and revoked it, and then
// looked it up again and read the creds of a config that is not there.
type did struct {
	Config map[string]any `json:"config"`
	Names  []string       `json:"names"`
	Creds  struct {
		LeaseID       string         `json:"lease_id"`
		LeaseDuration int            `json:"lease_duration"`
		Renewable     bool           `json:"renewable"`
		Data          map[string]any `json:"data"`
	} `json:"creds"`
	Lease struct {
		ID        string `json:"id"`
		TTL       int    `json:"ttl"`
		Renewable bool   `json:"renewable"`
	} `json:"lease"`
	Gone    string `json:"gone"`    // the error of the second look-up
	Refused string `json:"refused"` // the error of the second read
}

// Go's vault/api, Node.js's node-vault and Python's hvac do all that an operator
// does.
func TestClients(t *testing.T) {
	server, sim := start(t)
	check := func(t *testing.T, name string, d did) {
		token, _ := d.Creds.Data["access_token"].(string)
		if !sim.Token(t, token).Active { // after its lease was revoked, too
			t.Errorf("it has read no token that lives: %q", token)
		}
		if d.Config["username"] != "acme" || d.Config["password"] != nil || !slices.Contains(d.Names, name) {
			t.Errorf("config %v, configs %q", d.Config, d.Names)
		}
		if d.Creds.LeaseID == "" || d.Creds.LeaseDuration < 3500 || d.Creds.Renewable {
			t.Errorf("creds: %+v", d.Creds)
		}
		if d.Lease.ID != d.Creds.LeaseID || d.Lease.TTL > d.Creds.LeaseDuration || d.Lease.TTL < d.Creds.LeaseDuration-60 || d.Lease.Renewable {
			t.Errorf("the lease was looked up as %+v, the creds have %s", d.Lease, d.Creds.LeaseID)
		}
		if !strings.Contains(d.Gone, "invalid lease") {
			t.Errorf("looking the revoked lease up: %q", d.Gone)
		}
		if !strings.Contains(d.Refused, "no config") {
			t.Errorf("reading what is not there: %q", d.Refused)
		}
	}
	for _, r := range runtimes {
		if r.vault == "" {
			continue
		}
		t.Run(r.vault, func(t *testing.T) {
			_, program := r.ready(t)
			if program == nil {
				check(t, r.config(), operateInGo(t, server, sinch(sim), r.config()))
			} else {
				check(t, r.config(), operate(t, server, program, sinch(sim), r.config()))
			}
		})
	}
}

// operate runs an operator's program.
func operate(t *testing.T, server *harness.Server, program []string, config harness.Fields, name string) (d did) {
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
		t.Fatalf("%v\n%s", err, stderr.String())
	}
	if err := json.Unmarshal(out, &d); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	return d
}

// operateInGo is the operator's program in Go.
func operateInGo(t *testing.T, server *harness.Server, config harness.Fields, name string) (d did) {
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
	d.Config = must(vault.Logical().Read("messaging/config/" + name)).Data
	for _, key := range must(vault.Logical().List("messaging/config")).Data["keys"].([]any) {
		d.Names = append(d.Names, key.(string))
	}
	creds := must(vault.Logical().Read("messaging/creds/" + name))
	d.Creds.LeaseID, d.Creds.LeaseDuration = creds.LeaseID, creds.LeaseDuration
	d.Creds.Renewable, d.Creds.Data = creds.Renewable, creds.Data
	lease := must(vault.Sys().Lookup(creds.LeaseID))
	d.Lease.ID, _ = lease.Data["id"].(string)
	ttl, _ := lease.Data["ttl"].(json.Number).Int64()
	d.Lease.TTL = int(ttl)
	if err := vault.Sys().Revoke(creds.LeaseID); err != nil {
		t.Fatal(err)
	}
	if _, err := vault.Sys().Lookup(creds.LeaseID); err != nil {
		d.Gone = err.Error()
	}
	if _, err := vault.Logical().Read("messaging/creds/none"); err != nil {
		d.Refused = err.Error()
	}
	return d
}

// An app that reads again whenever vault/api's lifetime watcher is done has a
// token that lives at all times.
func TestLifetimeWatcher(t *testing.T) {
	server, sim := start(t)
	sim.Turn(t, `{"access_ttl": 6}`)
	server.Write(t, "messaging/config/watched", sinch(sim)).OK(t)
	vault := goClient(t, server)
	seen := map[string]bool{}
	for begun := time.Now(); len(seen) < 3; {
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
		go watcher.Start()
		select {
		case err := <-watcher.DoneCh():
			if err != nil {
				t.Errorf("the watcher ends with: %v", err)
			}
		case r := <-watcher.RenewCh():
			t.Errorf("the watcher has renewed what cannot be: %+v", r)
		}
		watcher.Stop()
		if known := sim.Token(t, token); !known.Active {
			t.Errorf("the token ended before the watcher was done: %+v", known)
		}
		if time.Since(begun) > time.Minute {
			t.Fatalf("%d tokens in a minute", len(seen))
		}
	}
	if n := sim.Logins(t, simulator.SinchIndia); n > len(seen)+1 {
		t.Errorf("%d logins for %d tokens", n, len(seen))
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
