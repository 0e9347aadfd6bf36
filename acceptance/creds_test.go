// SPDX-License-Identifier: MPL-2.0

package acceptance

import (
	"encoding/json"
	"testing"
	"time"

	"vault-plugin-secrets-messaging/acceptance/harness"
)

func TestEachProviderWriteAndReadTwice(t *testing.T) {
	w := newWorld(t)
	for _, a := range accounts {
		t.Run(a.provider, func(t *testing.T) {
			w.Write(t, a.path(), a.write(w.sim)).OK(t)
			first := w.Read(t, a.creds()).OK(t)
			known := w.sim.Token(t, first.Text("access_token"))
			second := w.Read(t, a.creds()).OK(t)

			if !known.Active || known.Kind != "access" || known.Provider != a.provider {
				t.Errorf("the provider does not take the token: %+v", known)
			}
			if got := known.ExpiresIn - float64(first.LeaseDuration); got < 0 || got > 2 {
				t.Errorf("lease_duration is %d, which is %.2f s short of the token's life", first.LeaseDuration, got)
			}
			if first.Renewable {
				t.Error("the lease is renewable")
			}
			if first.LeaseID == "" || first.LeaseID == second.LeaseID {
				t.Errorf("lease ids %q and %q", first.LeaseID, second.LeaseID)
			}
			if got, want := second.Text("access_token"), first.Text("access_token"); got != want {
				t.Error("the second read has another token")
			}
			if first.Text("token_type") != "Bearer" || first.Text("provider") != a.provider {
				t.Errorf("data: token_type %q, provider %q", first.Text("token_type"), first.Text("provider"))
			}
			end, err := time.Parse(time.RFC3339, first.Text("expire_time"))
			if left := time.Until(end).Seconds(); err != nil || left > known.ExpiresIn+1 || left < known.ExpiresIn-3 {
				t.Errorf("expire_time %q, which is %.1f s from now, of a token with %.1f s left (%v)",
					first.Text("expire_time"), left, known.ExpiresIn, err)
			}
			if n := w.sim.Logins(t, a.provider); n != 1 {
				t.Errorf("%d logins, want 1", n)
			}
		})
	}
	if v := w.sim.State(t).Violations; len(v) > 0 {
		t.Errorf("requests that are not as the providers' documentation has them: %+v", v)
	}
}

func TestCredsOfNoConfig(t *testing.T) {
	w := newWorld(t)
	w.Read(t, "messaging/creds/none").Refused(t, 400, "no config", "none")
}

func TestPolicyOfAnApp(t *testing.T) {
	w := newWorld(t)
	for _, a := range accounts {
		w.Write(t, a.path(), a.write(w.sim)).OK(t)
	}
	app := w.As(w.AppToken(t, `path "messaging/creds/sinch" { capabilities = ["read"] }`))

	app.Read(t, "messaging/creds/sinch").OK(t)
	for _, path := range []string{"messaging/creds/whatsapp", "messaging/creds/rcs", "messaging/config/sinch", "messaging/providers/sinch-india"} {
		app.Read(t, path).Refused(t, 403, "permission denied")
	}
	for _, path := range []string{"messaging/config", "messaging/providers"} {
		app.List(t, path).Refused(t, 403, "permission denied")
	}
	app.Write(t, "messaging/config/sinch", sinch.write(w.sim)).Refused(t, 403, "permission denied")
	app.Patch(t, "messaging/config/sinch", harness.Fields{"min_ttl": "10s"}).Refused(t, 403, "permission denied")
	app.Delete(t, "messaging/config/sinch").Refused(t, 403, "permission denied")
}

func TestResponseWrapping(t *testing.T) {
	w := newWorld(t)
	w.Write(t, sinch.path(), sinch.write(w.sim)).OK(t)
	token := w.Read(t, sinch.creds()).OK(t).Text("access_token")

	wrapping := w.CLI(t, "read", "-wrap-ttl=60s", "-field=wrapping_token", sinch.creds()).OK(t).Stdout
	out := w.CLI(t, "unwrap", "-format=json", wrapping).OK(t).Stdout
	var unwrapped harness.Response
	if err := json.Unmarshal([]byte(out), &unwrapped); err != nil {
		t.Fatal(err)
	}
	if unwrapped.Text("access_token") != token {
		t.Error("the wrapped response has another token")
	}
	if unwrapped.LeaseID == "" || unwrapped.LeaseDuration == 0 {
		t.Errorf("the wrapped response has no lease: %+v", unwrapped.LeaseID)
	}
	if w.CLI(t, "unwrap", wrapping).Code == 0 {
		t.Error("it could be unwrapped twice")
	}
}
