// SPDX-License-Identifier: MPL-2.0

package messaging

import (
	"context"
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

// Vault registers a plugin with a backend that has neither storage nor system.
func TestSetupWithNothing(t *testing.T) {
	b, err := Factory(Options{Version: "v1.2.3"})(t.Context(), &logical.BackendConfig{})
	if err != nil {
		t.Fatal(err)
	}
	if b.Type() != logical.TypeLogical {
		t.Errorf("type %s", b.Type())
	}
	if got := b.(logical.PluginVersioner).PluginVersion().Version; got != "v1.2.3" {
		t.Errorf("version %s", got)
	}
	if err := b.Initialize(t.Context(), &logical.InitializationRequest{}); err != nil {
		t.Error(err)
	}
	b.Cleanup(t.Context())
}

func TestSetupAsksNothing(t *testing.T) {
	m := newMount(t)
	if calls := m.storage.taken(); len(calls) > 0 {
		t.Errorf("storage: %v", calls)
	}
	if calls, _ := m.system.taken(); calls > 0 {
		t.Errorf("system: %d calls", calls)
	}
}

func TestDefaultVersion(t *testing.T) {
	b, err := Factory(Options{})(t.Context(), &logical.BackendConfig{})
	if err != nil {
		t.Fatal(err)
	}
	if got := b.(logical.PluginVersioner).PluginVersion().Version; got != "v0.0.0-dev" {
		t.Errorf("version %s", got)
	}
}

// A special path is a prefix only with the trailing slash.
func TestSpecialPaths(t *testing.T) {
	p := newMount(t).SpecialPaths()
	for _, prefix := range []string{account.ConfigPrefix, account.TokenPrefix} {
		if !slices.Contains(p.SealWrapStorage, prefix) || slices.Contains(p.LocalStorage, prefix) != (prefix == account.TokenPrefix) {
			t.Errorf("%s: %+v", prefix, p)
		}
	}
	for _, prefix := range slices.Concat(p.SealWrapStorage, p.LocalStorage) {
		if !strings.HasSuffix(prefix, "/") {
			t.Errorf("%s is no prefix", prefix)
		}
	}
	if len(p.Unauthenticated) > 0 || len(p.Root) > 0 || len(p.WriteForwardedStorage) > 0 {
		t.Errorf("%+v", p)
	}
}

// Another node's write is seen once Vault says so, and this node's own without.
func TestInvalidate(t *testing.T) {
	for _, key := range []string{"config/a", "token/a"} {
		m := newMount(t)
		m.write("config/a", m.sinch(nil)).want(t, http.StatusNoContent)
		m.write("config/b", m.sinch(nil)).want(t, http.StatusNoContent)
		a, b := m.token("a"), m.token("b")
		other := m.again()
		other.clock.advance(time.Minute)
		other.rotate("a").want(t, http.StatusOK)
		if m.token("a") != a {
			t.Error("the test shows nothing: there was no cache")
		}
		for _, no := range []string{"config/", "token/", "config/aa", "other/a", "a", "config/a/b"} {
			m.InvalidateKey(t.Context(), no)
		}
		if m.token("a") != a {
			t.Error("dropped by another's key")
		}
		m.InvalidateKey(t.Context(), key)
		if m.token("a") != other.token("a") {
			t.Errorf("%s: the old token is still served", key)
		}
		if m.token("b") != b {
			t.Errorf("%s: b's was dropped too", key)
		}
	}
}

func TestInvalidateDeleted(t *testing.T) {
	m := newMount(t)
	m.write("config/a", m.sinch(nil)).want(t, http.StatusNoContent)
	m.token("a")
	m.again().delete("config/a").want(t, http.StatusNoContent)
	m.InvalidateKey(t.Context(), "config/a")
	m.read("creds/a").want(t, http.StatusBadRequest, `there is no config "a"`)
}

// After a restart the token is there, and the provider need not be.
func TestRestart(t *testing.T) {
	m := newMount(t)
	for name, data := range map[string]fields{"a": m.sinch(nil), "b": m.enablex("whatsapp", nil), "c": m.conversation(nil), "d": m.oauth2(nil)} {
		m.write("config/"+name, data).want(t, http.StatusNoContent)
		token := m.read("creds/" + name)
		m.clock.advance(time.Minute)
		m.set(`{"faults":[{"kind":"close-before"}]}`)
		requests := m.sim.State().Total.Requests
		n := m.again()
		n.read("status/"+name).want(t, http.StatusOK)
		again := n.read("creds/" + name)
		if again.data["access_token"] != token.data["access_token"] || again.data["expire_time"] != token.data["expire_time"] {
			t.Errorf("%s: %v, was %v", name, again.data["expire_time"], token.data["expire_time"])
		}
		if again.secret.TTL != token.secret.TTL-time.Minute {
			t.Errorf("%s: a TTL of %s, was %s a minute ago", name, again.secret.TTL, token.secret.TTL)
		}
		if m.sim.State().Total.Requests != requests {
			t.Error("it asked the provider")
		}
		m.set(`{"faults":null}`)
	}
}

// A mount's cleanup returns at once, also with a mint that does not end, and is
// nothing to its neighbour.
func TestTwoMounts(t *testing.T) {
	f := newFake(lives("fake-token", time.Hour))
	m := newMount(t, f)
	n := m.again()
	n.storage = &storage{}
	n.start()
	for _, x := range []*mount{m, n} {
		x.write("config/a", also(fields{"verify_connection": false}, fakeConfig)).want(t, http.StatusNoContent)
	}
	n.token("a")
	stuck := make(chan struct{})
	defer close(stuck)
	asked := make(chan struct{}, 10)
	deaf := func(context.Context) (t token.Token, err error) { // to its context
		asked <- struct{}{}
		<-stuck
		return t, &token.Error{Kind: token.Unavailable}
	}
	f.mint.Store(&deaf)
	read := make(chan answer, 1)
	go func() { read <- m.read("creds/a") }()
	<-asked
	m.Cleanup(t.Context())
	(<-read).want(t, http.StatusServiceUnavailable, "the mount is being closed: try again")
	n.token("a")
	n.read("status/a").want(t, http.StatusOK)
	m.Cleanup(t.Context()) // twice does no harm
	quick := lives("fake-token-2", time.Hour)
	f.mint.Store(&quick)
	n.clock.advance(time.Minute)
	n.rotate("a").want(t, http.StatusOK)
}

func TestTwoMountsShareNothing(t *testing.T) {
	m := newMount(t)
	n := m.again()
	n.storage = &storage{}
	n.start()
	m.write("config/a", m.sinch(nil)).want(t, http.StatusNoContent)
	n.read("creds/a").want(t, http.StatusBadRequest, "there is no config")
	n.read("config/a").want(t, http.StatusNotFound)
}

func TestLogNamesTheMount(t *testing.T) {
	m := newMount(t)
	m.write("config/a", m.sinch(fields{"verify_connection": false})).want(t, http.StatusNoContent)
	m.set(`{"faults":[{"kind":"status","status":503,"count":1}]}`)
	m.read("creds/a").want(t, http.StatusBadGateway)
	m.clock.advance(time.Minute)
	m.token("a")
	for _, line := range []string{"[WARN]  messaging: minting a token failed: config=a mount=messaging/ provider=sinch-india", "kind=unavailable", "[INFO]  messaging: minted a token again: config=a mount=messaging/", "failures_before=1"} {
		eventually(t, line+" in the log", func() bool { return strings.Contains(m.log.String(), line) })
	}
}

// Help texts and the OpenAPI document say what each field is, and which are secret.
func TestOpenAPI(t *testing.T) {
	m := newMount(t)
	a := m.request(logical.HelpOperation, "", nil)
	a.want(t, http.StatusOK)
	doc := a.data["openapi"].(*framework.OASDocument)
	for _, path := range []string{"/config/", "/config/{name}", "/creds/{name}", "/providers/", "/providers/{name}", "/rotate/{name}", "/status/", "/status/{name}"} {
		if doc.Paths[path] == nil {
			t.Errorf("%s is not among the paths", path)
		}
	}
	for path, item := range doc.Paths {
		if item.Description == "" {
			t.Errorf("%s has no description", path)
		}
		for _, op := range []*framework.OASOperation{item.Get, item.Post, item.Delete} {
			if op != nil && op.Summary == "" {
				t.Errorf("%s: an operation has no summary", path)
			}
		}
	}
	secret := []string{"app_key", "client_secret", "password"}
	for name, s := range doc.Components.Schemas {
		if name == "StandardListResponse" { // the framework's own
			continue
		}
		for field, p := range s.Properties {
			if p.Type == "" || p.Description == "" {
				t.Errorf("%s: %s: %+v", name, field, p)
			}
			if sensitive := p.DisplayAttrs != nil && p.DisplayAttrs.Sensitive; sensitive != slices.Contains(secret, field) {
				t.Errorf("%s: %s: sensitive is %v", name, field, sensitive)
			}
		}
	}
	fields := m.Backend.(*backend).Route("config/a").Fields
	for _, name := range append(secret, "provider", "verify_connection", "token_url", "ca_cert", "lease", "min_ttl") {
		if fields[name] == nil {
			t.Errorf("config has no field %s", name)
		}
	}
	for _, p := range m.Backend.(*backend).Paths {
		if strings.TrimSpace(p.HelpSynopsis) == "" || strings.TrimSpace(p.HelpDescription) == "" {
			t.Errorf("%s has no help", p.Pattern)
		}
		for name, f := range p.Fields {
			if f.Description == "" {
				t.Errorf("%s: %s has no description", p.Pattern, name)
			}
		}
	}
}
