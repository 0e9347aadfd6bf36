// SPDX-License-Identifier: MPL-2.0

package acceptance

import (
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"vault-plugin-secrets-messaging/acceptance/harness"
)

// What befalls one mount neither delays nor breaks a read of its neighbour in the
// same process: not its end, not a move, not a Cleanup of it while a mint hangs, and
// not the revocation of its leases at a provider that hangs. A reload of it ends the
// process, with which Vault itself fails the reads of that moment and no others: the
// neighbour goes on with the token that it had.
func TestNeighboursAreNotDisturbed(t *testing.T) {
	w := newWorld(t)
	w.Write(t, sinch.path(), sinch.write(w.sim)).OK(t)
	token := w.Read(t, sinch.creds()).OK(t).Text("access_token")
	other := func() {
		t.Helper()
		w.Write(t, "sys/mounts/other", harness.Fields{"type": harness.PluginName}).OK(t)
		w.Write(t, "other/config/generic", unshared(w, generic, nil)).OK(t)
		if pids := w.PluginPIDs(); len(pids) != 1 {
			t.Errorf("the mounts have %d processes, want 1", len(pids))
		}
	}
	// hanging returns when a mint of the other mount is under way, which will not end.
	hanging := func() {
		t.Helper()
		before := w.sim.State(t).Total.Requests
		w.sim.Configure(t, fmt.Sprintf(`{"providers": {%q: {"latency": "10m"}}}`, generic.provider))
		go func() { _, _ = w.Do("GET", "other/creds/generic", nil) }()
		harness.Within(t, 10*time.Second, "a mint is under way", func() error {
			if w.sim.State(t).Total.Requests == before {
				return errors.New("not yet")
			}
			return nil
		})
		w.sim.Configure(t, fmt.Sprintf(`{"providers": {%q: null}}`, generic.provider))
	}
	for _, act := range []struct {
		name    string
		reloads bool
		do      func(t *testing.T)
	}{
		{"disable", false, func(t *testing.T) {
			w.Delete(t, "sys/mounts/other").OK(t)
		}},
		{"disable while a mint hangs", false, func(t *testing.T) {
			hanging()
			w.Delete(t, "sys/mounts/other").OK(t)
		}},
		{"disable with leases of a provider that hangs", false, func(t *testing.T) {
			for range 20 {
				w.Read(t, "other/creds/generic").OK(t)
			}
			w.sim.Configure(t, fmt.Sprintf(`{"providers": {%q: %s}}`, generic.provider, hang))
			w.Delete(t, "sys/mounts/other").OK(t)
			w.sim.Configure(t, fmt.Sprintf(`{"providers": {%q: null}}`, generic.provider))
		}},
		{"move while a mint hangs", false, func(t *testing.T) {
			hanging()
			w.move(t, "other", "elsewhere")
			w.Delete(t, "sys/mounts/elsewhere").OK(t)
		}},
		{"reload", true, func(t *testing.T) {
			w.Write(t, "sys/plugins/reload/backend", harness.Fields{"mounts": []string{"other/"}}).OK(t)
			w.Read(t, "other/creds/generic").OK(t)
			w.Delete(t, "sys/mounts/other").OK(t)
		}},
		{"reload while a mint hangs", true, func(t *testing.T) {
			hanging()
			w.Write(t, "sys/plugins/reload/backend", harness.Fields{"mounts": []string{"other/"}}).OK(t)
			w.Read(t, "other/creds/generic").OK(t)
			w.Delete(t, "sys/mounts/other").OK(t)
		}},
	} {
		t.Run(act.name, func(t *testing.T) {
			other()
			stop := w.readOnAndOn(t, sinch.creds(), token)
			act.do(t)
			seen := stop()
			t.Logf("%+v", seen)
			if seen.slowest > 2*time.Second {
				t.Errorf("a read took %s", seen.slowest)
			}
			if !act.reloads && seen.failed > 0 || seen.failing > 2*time.Second {
				t.Errorf("%d reads failed, over %s", seen.failed, seen.failing)
			}
		})
	}
	if n := w.sim.Logins(t, sinch.provider); n != 1 {
		t.Errorf("%d logins of the mount that nothing befell, want 1", n)
	}
}

// seen is what became of many reads.
type seen struct {
	served, failed int
	slowest        time.Duration
	failing        time.Duration // from the first that failed to the last
}

// readOnAndOn reads a path until the function is called that it returns, and until
// 20 reads were served since. Each has to answer with the token, or fail as Vault has
// it where the process of the plugin has ended.
func (w world) readOnAndOn(t *testing.T, path, token string) (stop func() seen) {
	t.Helper()
	const readers, least = 4, 20
	var (
		mu    sync.Mutex
		sum   seen
		first time.Time // that failed
		left  = -1      // how many are still to be served; negative until stop
		all   sync.WaitGroup
	)
	note := func(begun time.Time, r harness.Response, err error) (more bool) {
		mu.Lock()
		defer mu.Unlock()
		now := time.Now()
		sum.slowest = max(sum.slowest, now.Sub(begun))
		switch err := failed(r, err); {
		case err == nil && r.Text("access_token") == token:
			sum.served++
			if left > 0 {
				left--
			}
		case err != nil && r.Status == 500 && strings.Contains(r.Raw, "rpc error: "):
			if sum.failed++; sum.failed == 1 {
				first = begun
			}
			sum.failing = now.Sub(first)
		default:
			t.Errorf("a read: %v: %s", err, r.Raw)
			return false
		}
		return left != 0
	}
	for range readers {
		all.Go(func() {
			for more := true; more; {
				begun := time.Now()
				r, err := w.Do("GET", path, nil)
				more = note(begun, r, err)
			}
		})
	}
	end := sync.OnceFunc(func() {
		mu.Lock()
		left = least
		mu.Unlock()
		all.Wait()
	})
	t.Cleanup(end)
	return func() seen { end(); return sum }
}
