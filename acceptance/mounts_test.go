// SPDX-License-Identifier: MPL-2.0

package acceptance

import (
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	"vault-plugin-secrets-messaging/acceptance/harness"
)

// Operations on a mount do not delay or break reads from another mount. Only a reload may break
// reads, because both mounts share a plugin process. Each mount always keeps its token.
func TestMountsDoNotDisturbEachOther(t *testing.T) {
	w := newWorld(t)
	w.writeConfig(t, sinch)
	token := w.token(t, sinch)
	w.enableOther(t)
	w.Write(t, "other/config/sinch", sinch.body(w.sim)).OK(t)
	if w.Read(t, "other/creds/sinch").OK(t).Text("access_token") == token {
		t.Error("the same account at two mounts: got one token, want two")
	}
	w.Delete(t, "sys/mounts/other").OK(t)

	restart := w.restartTime(t, sinch)
	disable := func(t *testing.T) { w.Delete(t, "sys/mounts/other").OK(t) }
	reload := func(t *testing.T) {
		w.Write(t, "sys/plugins/reload/backend", harness.Fields{"mounts": []string{"other/"}}).OK(t)
		w.Read(t, "other/creds/generic").OK(t)
		disable(t)
	}
	for _, act := range []struct {
		name    string
		hangs   bool // a mint at the other mount hangs meanwhile
		reloads bool
		do      func(t *testing.T)
	}{
		{"disable", false, false, disable},
		{"disable while a mint hangs", true, false, disable},
		{"disable with leases while the provider hangs", false, false, func(t *testing.T) {
			for range 20 {
				w.Read(t, "other/creds/generic").OK(t)
			}
			w.sim.Configure(t, forProvider(generic.provider, hang))
			disable(t)
			w.sim.Configure(t, forProvider(generic.provider, "null"))
		}},
		{"move while a mint hangs", true, false, func(t *testing.T) {
			w.move(t, "other", "elsewhere")
			w.Delete(t, "sys/mounts/elsewhere").OK(t)
		}},
		{"reload", false, true, reload},
		{"reload while a mint hangs", true, true, reload},
	} {
		t.Run(act.name, func(t *testing.T) {
			w.enableOther(t)
			stop := w.readRepeatedly(t, sinch, token)
			if act.hangs {
				w.startHangingMint(t)
			}
			act.do(t)
			got := stop()
			limit := slowestRead(act.hangs)
			if act.reloads { // a read may wait for the start of the plugin process
				limit += 3 * restart
			}
			if got.slowest > limit {
				t.Errorf("slowest read: got %s, want at most %s", got.slowest, limit)
			}
			if !act.reloads && got.failed > 0 || got.failing > limit {
				t.Errorf("got %d failed reads over %s, want none, or after a reload failures over at most %s", got.failed, got.failing, limit)
			}
		})
	}
	w.wantLogins(t, sinch, 2) // one for each mount
}

// slowestRead returns how long a read may take while another mount is disabled or moved. If that
// mount waits for a mint, OpenBao may block all mounts for 3 s.
func slowestRead(otherMountHangs bool) time.Duration {
	if harness.OpenBao() && otherMountHangs {
		return 5 * time.Second
	}
	return 2 * time.Second
}

// restartTime kills the plugin process, and returns how long the next read takes.
func (w world) restartTime(t *testing.T, a account) time.Duration {
	t.Helper()
	w.KillPlugin(t)
	begun := time.Now()
	w.readCreds(t, a)
	return time.Since(begun)
}

// enableOther adds the mount other/, and writes a config with unshared tokens there.
func (w world) enableOther(t *testing.T) {
	t.Helper()
	w.Write(t, "sys/mounts/other", harness.Fields{"type": harness.PluginName}).OK(t)
	w.Write(t, "other/config/generic", generic.unshared(w.sim).body(w.sim)).OK(t)
	if pids := w.PluginPIDs(); len(pids) != 1 {
		t.Errorf("two mounts: got %d plugin processes, want 1", len(pids))
	}
}

// startHangingMint starts a mint at the mount other/. The provider does not answer.
func (w world) startHangingMint(t *testing.T) {
	t.Helper()
	before := w.sim.State(t).Total.Requests
	w.sim.Configure(t, forProvider(generic.provider, `{"latency": "10m"}`))
	go func() { _, _ = w.Do("GET", "other/creds/generic", nil) }()
	w.waitForRequest(t, before)
	w.sim.Configure(t, forProvider(generic.provider, "null"))
}

// move moves a mount and waits until it is moved.
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

// readStats sums up many reads.
type readStats struct {
	failed  int
	slowest time.Duration
	failing time.Duration // from the first failed read to the last
}

// readRepeatedly reads creds until the test calls stop. Each read must return the token, unless the
// plugin process has just ended. The function stop waits for 20 more successful reads.
func (w world) readRepeatedly(t *testing.T, a account, token string) (stop func() readStats) {
	t.Helper()
	var (
		mu           sync.Mutex
		stats        readStats
		succeeded    int
		firstFailure time.Time
		stops        []func()
	)
	read := func() {
		begun := time.Now()
		r, err := w.Do("GET", a.creds(), nil)
		mu.Lock()
		defer mu.Unlock()
		stats.slowest = max(stats.slowest, time.Since(begun))
		switch err := failed(r, err); {
		case err == nil && r.Text("access_token") == token:
			succeeded++
		case r.Status == 500 && strings.Contains(r.Raw, "rpc error: "):
			if stats.failed++; stats.failed == 1 {
				firstFailure = begun
			}
			stats.failing = time.Since(firstFailure)
		case !t.Failed(): // once is enough
			t.Errorf("%s: got error %v, body %s, want the token from before", a.creds(), err, r.Raw)
		}
	}
	for range 4 {
		stops = append(stops, harness.Repeat(t, time.Millisecond, read))
	}
	return func() readStats {
		mu.Lock()
		enough := succeeded + 20
		mu.Unlock()
		harness.Until(t, "20 more reads succeed", func() bool {
			mu.Lock()
			defer mu.Unlock()
			return succeeded >= enough
		})
		for _, stop := range stops {
			stop()
		}
		return stats
	}
}

// Reads after a reload return the stored token, although the plugin process has ended.
func TestReloadKeepsTheToken(t *testing.T) {
	w := newWorld(t)
	w.writeConfig(t, sinch)
	token := w.token(t, sinch)
	for range 3 {
		w.CLI(t, "plugin", "reload", "-plugin="+harness.PluginName).OK(t)
		w.wantToken(t, sinch, token, "after a reload")
	}
	w.wantLogins(t, sinch, 1)
}
