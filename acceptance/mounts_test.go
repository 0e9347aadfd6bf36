// SPDX-License-Identifier: MPL-2.0

package acceptance

import (
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"vault-plugin-secrets-messaging/acceptance/harness"
)

// Two mounts share a process. What befalls one is not felt at the other.
func TestMountsDoNotDisturbEachOther(t *testing.T) {
	w := newWorld(t)
	w.Write(t, sinch.path(), sinch.write(w.sim)).OK(t)
	enable := func() {
		w.Write(t, "sys/mounts/other", harness.Fields{"type": harness.PluginName}).OK(t)
		w.Write(t, "other/config/sinch", sinch.write(w.sim)).OK(t)
	}
	enable()
	if pids := w.PluginPIDs(); len(pids) != 1 {
		t.Errorf("the mounts have %d processes, want 1", len(pids))
	}
	token := w.Read(t, sinch.creds()).OK(t).Text("access_token")
	if w.Read(t, "other/creds/sinch").OK(t).Text("access_token") == token {
		t.Error("the mounts share a token")
	}

	var reading atomic.Bool
	reading.Store(true)
	var readers sync.WaitGroup
	for range 4 {
		readers.Go(func() {
			for reading.Load() {
				begun := time.Now()
				r, err := w.Do("GET", sinch.creds(), nil)
				if err != nil || r.Status != 200 || r.Text("access_token") != token {
					t.Errorf("a read: %v, status %d: %s", err, r.Status, r.Raw)
					return
				}
				if took := time.Since(begun); took > 2*time.Second {
					t.Errorf("a read took %s", took)
				}
			}
		})
	}
	w.sim.Configure(t, `{"latency": 3}`) // a mint of the mount that goes is under way
	go func() { _, _ = w.Do("POST", "other/rotate/sinch", nil) }()
	w.Delete(t, "sys/mounts/other").OK(t)
	w.sim.Configure(t, `{"latency": 0}`)
	enable()
	w.Delete(t, "sys/mounts/other").OK(t)
	reading.Store(false)
	readers.Wait()
}

// Reloading the plugin ends its process; the next reads have the stored token.
func TestReloadKeepsTheToken(t *testing.T) {
	w := newWorld(t)
	w.Write(t, sinch.path(), sinch.write(w.sim)).OK(t)
	token := w.Read(t, sinch.creds()).OK(t).Text("access_token")
	for range 3 {
		w.CLI(t, "plugin", "reload", "-plugin="+harness.PluginName).OK(t)
		if got := w.Read(t, sinch.creds()).OK(t).Text("access_token"); got != token {
			t.Error("there is another token after a reload")
		}
	}
	if n := w.sim.Logins(t, sinch.provider); n != 1 {
		t.Errorf("%d logins, want 1", n)
	}
}
