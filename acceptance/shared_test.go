// SPDX-License-Identifier: MPL-2.0

package acceptance

import (
	"strings"
	"sync"
	"testing"
	"time"

	"vault-plugin-secrets-messaging/acceptance/harness"
)

// Many readers of an account without a token cause one login.
func TestManyReadersOneLogin(t *testing.T) {
	w := newWorld(t)
	w.sim.Configure(t, `{"latency": 1}`)
	w.writeConfig(t, sinch, harness.Fields{"verify_connection": false})

	var readers sync.WaitGroup
	deadline := time.Now().Add(harness.Timeout)
	for range 500 {
		readers.Go(func() {
			r, err := w.Do("GET", sinch.creds(), nil)
			for err == nil && strings.Contains(r.Raw, "the engine keeps trying, so read again") && time.Now().Before(deadline) { // a slow machine needs over 3 s
				r, err = w.Do("GET", sinch.creds(), nil)
			}
			if failed(r, err) != nil {
				t.Error(failed(r, err))
			}
		})
	}
	readers.Wait()
	w.wantLogins(t, sinch, 1)
}

func TestReadWithoutLease(t *testing.T) {
	w := newWorld(t)
	w.writeConfig(t, sinch, harness.Fields{"lease": false})
	r := w.readCreds(t, sinch)
	if r.LeaseID != "" || r.LeaseDuration != 0 {
		t.Errorf("got lease %q of %d s, want none", r.LeaseID, r.LeaseDuration)
	}
	// the lifetime of an hour less the default min_ttl of 30 s
	if ttl, ok := r.Data["ttl"].(float64); !ok || ttl < 3560 || ttl > 3570 || ttl != float64(int(ttl)) {
		t.Errorf("ttl: got %v, want a whole number from 3560 to 3570", r.Data["ttl"])
	}
	// rotation_period is the token's lifetime of an hour. Rounding and a slow login make the value
	// smaller.
	if p, ok := r.Data["rotation_period"].(float64); !ok || p < 3590 || p > 3600 || p != float64(int(p)) {
		t.Errorf("rotation_period: got %v, want a whole number from 3590 to 3600", r.Data["rotation_period"])
	}
	if at, err := time.Parse(time.RFC3339, r.Text("last_vault_rotation")); err != nil || time.Since(at) > time.Minute {
		t.Errorf("last_vault_rotation: got %q (error %v), want a time within the last minute", r.Text("last_vault_rotation"), err)
	}
}

func TestRotateReplacesTheToken(t *testing.T) {
	w := newWorld(t)
	w.writeConfig(t, sinch)
	first := w.token(t, sinch)
	// A rotate does not replace a token that is younger than 10 s.
	harness.Until(t, "a rotate replaces the token", func() bool {
		w.Write(t, sinch.rotatePath(), nil).OK(t)
		return w.token(t, sinch) != first
	})
	w.Write(t, "messaging/rotate/none", nil).Refused(t, 400, "none")
}

func TestStatus(t *testing.T) {
	w := newWorld(t)
	for _, a := range accounts {
		w.writeConfig(t, a)
		r := w.readCreds(t, a)
		status := w.Read(t, a.statusPath()).OK(t)
		if status.Text("state") != "fresh" || status.Text("provider") != a.provider || status.Text("mints") != "1" {
			t.Errorf("%s: got %s, want state fresh, provider %s, mints 1", a.statusPath(), status.Raw, a.provider)
		}
		if status.Text("expire_time") != r.Text("expire_time") {
			t.Errorf("%s: got expire_time %q, want %q as in creds", a.statusPath(), status.Text("expire_time"), r.Text("expire_time"))
		}
	}
	w.writeConfig(t, sinch, harness.Fields{"password": "wrong", "verify_connection": false})
	w.Read(t, sinch.creds()).Refused(t, 400)
	status := w.Read(t, sinch.statusPath()).OK(t)
	if status.Text("state") != "backing_off" || status.Text("next_attempt") == "" || status.Text("last_error") == "" {
		t.Errorf("status after a failure: got %s, want state backing_off, next_attempt and last_error", status.Raw)
	}
	info, _ := w.List(t, "messaging/status").OK(t).Data["key_info"].(map[string]any)
	if len(info) != len(accounts) {
		t.Errorf("list of statuses: got key_info of %d accounts, want %d", len(info), len(accounts))
	}
}
