// SPDX-License-Identifier: MPL-2.0

package messaging

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/vault/sdk/framework"
	"github.com/hashicorp/vault/sdk/logical"

	"vault-plugin-secrets-messaging/internal/account"
	"vault-plugin-secrets-messaging/internal/token"
)

// When Vault registers a plugin, it makes a backend without storage and system view.
func TestSetupWithNothing(t *testing.T) {
	for version, want := range map[string]string{"v1.2.3": "v1.2.3", "": "v0.0.0-dev"} {
		b, err := Factory(Options{Version: version})(t.Context(), &logical.BackendConfig{})
		if err != nil {
			t.Fatal(err)
		}
		equal(t, "type", b.Type(), logical.TypeLogical)
		equal(t, fmt.Sprintf("version with the option %q", version), b.(logical.PluginVersioner).PluginVersion().Version, want)
		if err := b.Initialize(t.Context(), &logical.InitializationRequest{}); err != nil {
			t.Error(err)
		}
		b.Cleanup(t.Context())
	}
}

func TestSetupCallsNothing(t *testing.T) {
	m := newMount(t)
	calls, _ := m.system.takeCalls()
	equal(t, "calls of the system view", calls, 0)
	m.wantCalls()
}

func TestSpecialPaths(t *testing.T) {
	p := newMount(t).SpecialPaths()
	for _, prefix := range []string{account.ConfigPrefix, account.KeyPrefix, account.TokenPrefix} {
		if !slices.Contains(p.SealWrapStorage, prefix) || slices.Contains(p.LocalStorage, prefix) != (prefix == account.TokenPrefix) {
			t.Errorf("%s: got %+v, want it seal-wrapped, and local if it is a token", prefix, p)
		}
	}
	for _, prefix := range slices.Concat(p.SealWrapStorage, p.LocalStorage) {
		if !strings.HasSuffix(prefix, "/") {
			t.Errorf("got %s, want a slash at its end, because it is no prefix otherwise", prefix)
		}
	}
	equal(t, "unauthenticated paths", p.Unauthenticated, []string{"jwks/+"})
	equal(t, "other special paths", len(p.Root)+len(p.WriteForwardedStorage), 0)
}

// Another node's write takes effect on this node when Vault invalidates the storage key.
func TestInvalidate(t *testing.T) {
	for _, key := range []string{"config/a", "token/a"} {
		m := newSinchMount(t, nil)
		m.write("config/b", m.sinch(nil)).want(t, http.StatusNoContent)
		a, b := m.token("a"), m.token("b")
		other := m.restart()
		other.clock.advance(time.Minute)
		other.rotate("a").want(t, http.StatusOK)
		for _, unrelated := range []string{"config/", "token/", "config/aa", "other/a", "a", "config/a/b"} {
			m.InvalidateKey(t.Context(), unrelated)
		}
		equal(t, "token of a before its key is invalidated", m.token("a"), a)
		m.InvalidateKey(t.Context(), key)
		equal(t, "token of a after an invalidation of "+key, m.token("a"), other.token("a"))
		equal(t, "token of b after an invalidation of "+key, m.token("b"), b)
	}
}

func TestInvalidateDeleted(t *testing.T) {
	m := newSinchMount(t, nil)
	m.token("a")
	m.restart().delete("config/a").want(t, http.StatusNoContent)
	m.InvalidateKey(t.Context(), "config/a")
	m.read("creds/a").want(t, http.StatusBadRequest, `there is no config "a"`)
}

// After a restart the engine serves the stored token, even if the provider is down.
func TestRestart(t *testing.T) {
	m := newMount(t)
	for name, data := range map[string]fields{"a": m.sinch(nil), "b": m.enablex("whatsapp", nil), "c": m.conversation(nil), "d": m.oauth2(nil)} {
		m.write("config/"+name, data).want(t, http.StatusNoContent)
		before := m.read("creds/" + name)
		m.clock.advance(time.Minute)
		m.simulate(`{"faults":[{"kind":"close-before"}]}`)
		requests := m.requests()
		n := m.restart()
		n.read("status/"+name).want(t, http.StatusOK)
		after := n.read("creds/" + name)
		equal(t, name+": answer", after.data, before.data)
		equal(t, name+": lease", after.secret.TTL, before.secret.TTL-time.Minute)
		equal(t, name+": requests to the provider", m.requests()-requests, 0)
		m.simulate(`{"faults":null}`)
	}
}

// Cleanup does not wait for a hanging mint, and does not affect another mount.
func TestCleanupDuringAMint(t *testing.T) {
	f := newFake(minting("fake-token", time.Hour))
	m := newFakeMount(t, f, fields{"verify_connection": false})
	n := m.neighbor()
	n.write("config/a", with(fields{"verify_connection": false}, fakeConfig)).want(t, http.StatusNoContent)
	n.token("a")
	stuck, started := make(chan struct{}), make(chan struct{}, 10)
	defer close(stuck)
	f.set(func(ctx context.Context) (token.Token, error) { // ignores the end of ctx
		started <- struct{}{}
		<-stuck
		return down(ctx)
	})
	read := async(func() answer { return m.read("creds/a") })
	<-started
	m.Cleanup(t.Context())
	(<-read).want(t, http.StatusServiceUnavailable, "the mount is being closed: try again")
	n.token("a")
	n.read("status/a").want(t, http.StatusOK)
	m.Cleanup(t.Context()) // a second Cleanup does nothing
	f.set(minting("fake-token-2", time.Hour))
	n.clock.advance(time.Minute)
	n.rotate("a").want(t, http.StatusOK)
}

func TestTwoMountsShareNothing(t *testing.T) {
	n := newSinchMount(t, nil).neighbor()
	n.read("creds/a").want(t, http.StatusBadRequest, "there is no config")
	n.read("config/a").want(t, http.StatusNotFound)
}

func TestLogNamesTheMount(t *testing.T) {
	m := newSinchMount(t, fields{"verify_connection": false})
	m.simulate(`{"faults":[{"kind":"status","status":503,"count":1}]}`)
	m.read("creds/a").want(t, http.StatusBadGateway)
	m.clock.advance(time.Minute)
	m.token("a")
	for _, line := range []string{"[WARN]  messaging: minting a token failed: config=a mount=messaging/ provider=sinch-india", "kind=unavailable", "[INFO]  messaging: minted a token again: config=a mount=messaging/", "failures_before=1"} {
		m.wantLogged(line)
	}
}

// Help texts and the OpenAPI document describe every field.
func TestOpenAPI(t *testing.T) {
	m := newMount(t)
	doc := m.request(logical.HelpOperation, "", nil).want(t, http.StatusOK).data["openapi"].(*framework.OASDocument)
	for _, path := range []string{"/config/", "/config/{name}", "/creds/{name}", "/providers/", "/providers/{name}", "/rotate/{name}", "/status/", "/status/{name}"} {
		if doc.Paths[path] == nil {
			t.Errorf("got no path %s, want it in the document", path)
		}
	}
	for path, item := range doc.Paths {
		if item.Description == "" {
			t.Errorf("%s: got no description", path)
		}
		for _, op := range []*framework.OASOperation{item.Get, item.Post, item.Delete} {
			if op != nil && op.Summary == "" {
				t.Errorf("%s: got an operation without a summary", path)
			}
		}
	}
	for name, s := range doc.Components.Schemas {
		if name == "StandardListResponse" { // the framework's own
			continue
		}
		for field, p := range s.Properties {
			if p.Type == "" || p.Description == "" {
				t.Errorf("%s: %s: got %+v, want a type and a description", name, field, p)
			}
		}
	}
	for _, p := range m.Backend.(*backend).Paths {
		if strings.TrimSpace(p.HelpSynopsis) == "" || strings.TrimSpace(p.HelpDescription) == "" {
			t.Errorf("%s: got no help", p.Pattern)
		}
		for name, f := range p.Fields {
			if f.Description == "" {
				t.Errorf("%s: %s: got no description", p.Pattern, name)
			}
		}
	}
}
