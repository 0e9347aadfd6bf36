// SPDX-License-Identifier: MPL-2.0

package acceptance

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"testing"
	"time"

	"vault-plugin-secrets-messaging/acceptance/harness"
)

// The engine recognizes refusals in several forms and shows the provider's words. A refused config
// write returns the status 400, so that clients do not retry.
func TestRefusalsOfAnyShape(t *testing.T) {
	t.Parallel() // the test mostly waits
	w := newWorld(t)
	for name, refusal := range map[string]struct{ body, words string }{
		"nested":  {`{"error":{"message":"bad key"}}`, "bad key"},
		"summary": {`{"errorCode":"E0001","errorSummary":"bad key"}`, "bad key"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var logins atomic.Int32
			provider := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, _ *http.Request) {
				logins.Add(1)
				rw.Header().Set("Content-Type", "application/json")
				rw.WriteHeader(http.StatusBadRequest)
				_, _ = io.WriteString(rw, refusal.body)
			}))
			t.Cleanup(provider.Close)
			config := harness.Fields{"provider": "oauth2", "client_id": "c", "client_secret": "s", "token_url": provider.URL + "/t"}
			w.Write(t, "messaging/config/"+name, config).Refused(t, 400, "credentials refused", refusal.words)
			if n := logins.Load(); n != 1 {
				t.Errorf("a refused config write: got %d logins, want 1", n)
			}
			config["verify_connection"] = false
			w.Write(t, "messaging/config/"+name, config).OK(t)
			for end := time.Now().Add(15 * time.Second); time.Now().Before(end); {
				w.Read(t, "messaging/creds/"+name).Refused(t, 400, refusal.words)
			}
			if n := logins.Load(); n != 2 {
				t.Errorf("reads for 15 s: got %d logins, want 1", n-1)
			}
		})
	}
}

// hangingServer returns a server that never answers.
func hangingServer(t *testing.T) *httptest.Server {
	release := make(chan struct{})
	s := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		select {
		case <-release:
		case <-r.Context().Done():
		}
	}))
	t.Cleanup(func() { close(release); s.Close() })
	return s
}

// Many revocation endpoints hang. Revoking all leases, moving the mount and disabling the mount
// still take only seconds. Meanwhile, apps get tokens.
func TestHangingRevocationEndpoints(t *testing.T) {
	w := newWorld(t)
	hanging := hangingServer(t)
	w.writeConfig(t, sinch)
	const configs = 15
	unshared := func(i int) string { return fmt.Sprintf("unshared-%d", i) }
	read := func(mount string) {
		t.Helper()
		for i := range configs {
			w.Read(t, mount+"/creds/"+unshared(i)).OK(t)
		}
	}
	for i := range configs {
		w.Write(t, "messaging/config/"+unshared(i), generic.body(w.sim, harness.Fields{
			"share": false, "revocation_url": hanging.URL, "verify_connection": false})).OK(t)
	}
	// timed fails the test if f takes longer than limit.
	timed := func(what string, limit time.Duration, f func()) {
		t.Helper()
		began := time.Now()
		f()
		if took := time.Since(began); took > limit {
			t.Errorf("%s with %d hanging endpoints: got it done after %s, want at most %s", what, configs, took, limit)
		}
	}
	const limit = 30 * time.Second // the engine waits at most 5 s in any 30 s; the rest is for Vault on a busy machine
	read("messaging")
	timed("revoking by prefix", limit, func() {
		w.Write(t, "sys/leases/revoke-prefix/messaging/creds", harness.Fields{"sync": true}).OK(t)
	})
	read("messaging")
	timed("moving the mount", limit, func() {
		w.move(t, "messaging", "moved")
	})
	w.Read(t, "moved/creds/"+sinch.config).OK(t)
	read("moved")
	timed("disabling the mount", limit, func() { w.Delete(t, "sys/mounts/moved").OK(t) })
}

// One read waits for a provider that never answers. A reload of the plugin and other reads still
// end within seconds.
func TestReloadWhileAReadWaits(t *testing.T) {
	w := newWorld(t)
	hanging := hangingServer(t)
	w.writeConfig(t, sinch)
	w.Write(t, "messaging/config/hangs", harness.Fields{"provider": "oauth2", "client_id": "c", "client_secret": "s",
		"token_url": hanging.URL, "request_timeout": "60s", "verify_connection": false}).OK(t)
	waits := make(chan time.Duration, 1)
	go func() {
		began := time.Now()
		_, _ = w.Do(http.MethodGet, "messaging/creds/hangs", nil)
		waits <- time.Since(began)
	}()
	harness.Until(t, "the read waits", func() bool {
		return w.Read(t, "messaging/status/hangs").OK(t).Text("state") == "refreshing"
	})
	began := time.Now()
	w.Write(t, "sys/plugins/reload/backend", harness.Fields{"mounts": []string{"messaging/"}}).OK(t)
	w.Read(t, "messaging/creds/"+sinch.config).OK(t)
	const limit = 30 * time.Second // about 3 s each; the rest is for Vault on a busy machine
	if took := time.Since(began); took > limit {
		t.Errorf("reload and a read of another config: got %s, want at most %s", took, limit)
	}
	if took := <-waits; took > limit {
		t.Errorf("read that waits for the hanging provider: got %s, want at most %s", took, limit)
	}
}
