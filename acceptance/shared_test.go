// SPDX-License-Identifier: MPL-2.0

package acceptance

import (
	"errors"
	"sync"
	"testing"
	"time"

	"vault-plugin-secrets-messaging/acceptance/harness"
)

// However many ask at once, an account that has no token costs one login.
func TestManyReadersOneLogin(t *testing.T) {
	w := newWorld(t)
	w.sim.Configure(t, `{"latency": 1}`)
	w.Write(t, sinch.path(), sinch.write(w.sim, harness.Fields{"verify_connection": false})).OK(t)

	var readers sync.WaitGroup
	for range 500 {
		readers.Go(func() {
			if r, err := w.Do("GET", sinch.creds(), nil); failed(r, err) != nil {
				t.Errorf("a read: %v", failed(r, err))
			}
		})
	}
	readers.Wait()
	if n := w.sim.Logins(t, sinch.provider); n != 1 {
		t.Errorf("%d logins, want 1", n)
	}
}

func TestReadWithoutLease(t *testing.T) {
	w := newWorld(t)
	w.Write(t, sinch.path(), sinch.write(w.sim, harness.Fields{"lease": false})).OK(t)
	r := w.Read(t, sinch.creds()).OK(t)
	if r.LeaseID != "" || r.LeaseDuration != 0 {
		t.Errorf("it made lease %q of %d s", r.LeaseID, r.LeaseDuration)
	}
	// an hour, of which min_ttl is 30s
	if ttl, ok := r.Data["ttl"].(float64); !ok || ttl < 3560 || ttl > 3570 || ttl != float64(int(ttl)) {
		t.Errorf("ttl is %v", r.Data["ttl"])
	}
	if r.Data["rotation_period"] != 3600.0 {
		t.Errorf("rotation_period is %v", r.Data["rotation_period"])
	}
	if at, err := time.Parse(time.RFC3339, r.Text("last_vault_rotation")); err != nil || time.Since(at) > time.Minute {
		t.Errorf("last_vault_rotation is %q", r.Text("last_vault_rotation"))
	}
}

func TestRotateReplacesTheToken(t *testing.T) {
	w := newWorld(t)
	w.Write(t, sinch.path(), sinch.write(w.sim)).OK(t)
	first := w.Read(t, sinch.creds()).OK(t)
	// a rotate within 10 s of a mint shares it
	harness.Within(t, 20*time.Second, "there is a new token", func() error {
		w.Write(t, "messaging/rotate/sinch", nil).OK(t)
		if w.Read(t, sinch.creds()).OK(t).Text("access_token") == first.Text("access_token") {
			return errors.New("it is the old one")
		}
		return nil
	})
	w.Write(t, "messaging/rotate/none", nil).Refused(t, 400, "none")
}

func TestStatus(t *testing.T) {
	w := newWorld(t)
	for _, a := range accounts {
		w.Write(t, a.path(), a.write(w.sim)).OK(t)
		r := w.Read(t, a.creds()).OK(t)
		status := w.Read(t, "messaging/status/"+a.config).OK(t)
		if status.Text("state") != "fresh" || status.Text("provider") != a.provider || status.Text("mints") != "1" {
			t.Errorf("status: %s", status.Raw)
		}
		if status.Text("expire_time") != r.Text("expire_time") {
			t.Errorf("expire_time is %q, and of the token %q", status.Text("expire_time"), r.Text("expire_time"))
		}
	}
	w.Write(t, sinch.path(), sinch.write(w.sim, harness.Fields{"password": "wrong", "verify_connection": false})).OK(t)
	w.Read(t, sinch.creds()).Refused(t, 400)
	status := w.Read(t, "messaging/status/sinch").OK(t)
	if status.Text("state") != "backing_off" || status.Text("next_attempt") == "" || status.Text("last_error") == "" {
		t.Errorf("status after a failure: %s", status.Raw)
	}
	info, _ := w.List(t, "messaging/status").OK(t).Data["key_info"].(map[string]any)
	if len(info) != len(accounts) {
		t.Errorf("the list tells of %d accounts", len(info))
	}
}
