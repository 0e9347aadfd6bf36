// SPDX-License-Identifier: MPL-2.0

package acceptance

import (
	"crypto/ecdsa"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/go-jose/go-jose/v4"

	"vault-plugin-secrets-messaging/acceptance/harness"
)

// verifier is an authorization server that knows only the keys from the test.
type verifier struct {
	mu   sync.Mutex
	keys jose.JSONWebKeySet
	last string // the ID of the key of the last good assertion
	n    int    // good assertions
}

func (v *verifier) know(keys jose.JSONWebKeySet) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.keys = keys
}

func (v *verifier) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	v.mu.Lock()
	defer v.mu.Unlock()
	w.Header().Set("Content-Type", "application/json")
	assertion, err := jose.ParseSignedCompact(r.PostFormValue("client_assertion"), []jose.SignatureAlgorithm{jose.ES256})
	if err == nil {
		_, err = assertion.Verify(v.keys)
	}
	if err != nil {
		w.WriteHeader(http.StatusUnauthorized)
		fmt.Fprint(w, `{"error":"invalid_client","error_description":"no such key"}`)
		return
	}
	v.last = assertion.Signatures[0].Header.KeyID
	v.n++
	fmt.Fprintf(w, `{"access_token":"token-%d-of-the-verifier","expires_in":600}`, v.n)
}

// publishedKeys reads the keys that Vault publishes for the config acme, without a Vault token.
func publishedKeys(t *testing.T, w world) (set jose.JSONWebKeySet) {
	t.Helper()
	r := w.As("").Read(t, "messaging/jwks/acme").OK(t)
	if r.Header.Get("Content-Type") != "application/jwk-set+json" || r.Header.Get("Cache-Control") != "max-age=300" {
		t.Errorf("jwks without a Vault token: got header %v, want a JWK Set that may be cached for 300 s", r.Header)
	}
	if err := json.Unmarshal([]byte(r.Raw), &set); err != nil {
		t.Fatalf("jwks: got %s, want a JWK Set: %v", r.Raw, err)
	}
	for _, k := range set.Keys {
		if _, ok := k.Key.(*ecdsa.PublicKey); !ok {
			t.Errorf("jwks: got a key of type %T, want the public part of an EC key", k.Key)
		}
	}
	return set
}

// Every mint succeeds, although the test kills the plugin after each step of a key rotation.
func TestKeyRotationOutlivesPluginKills(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	v := &verifier{}
	server := httptest.NewServer(v)
	t.Cleanup(server.Close)
	config := harness.Fields{"provider": "oauth2", "token_url": server.URL + "/token", "client_id": "acme", "auth_style": "private_key_jwt", "generate_key": "ec-p256"}
	if r := w.Write(t, "messaging/config/acme", config).OK(t); len(r.Warnings) != 1 || !strings.Contains(r.Warnings[0], "the engine made a key") {
		t.Errorf("config write: got warnings %q, want one about the key", r.Warnings)
	}
	wantLogin := func(after, key string) {
		t.Helper()
		w.KillPlugin(t)
		w.Write(t, "messaging/rotate/acme", nil).OK(t) // causes a login
		v.mu.Lock()
		defer v.mu.Unlock()
		if v.last != key {
			t.Errorf("after %s and a kill: got a login with the key %s, want %s", after, v.last, key)
		}
	}
	w.KillPlugin(t)
	keys := publishedKeys(t, w)
	v.know(keys)
	first := keys.Keys[0].KeyID
	wantLogin("the first key was made", first)

	next := w.Write(t, "messaging/keys/acme/rotate", nil).OK(t).Data["next"].(map[string]any)["key_id"].(string)
	wantLogin("the next key was made", first)
	keys = publishedKeys(t, w)
	if len(keys.Keys) != 2 {
		t.Errorf("jwks: got %d keys, want the current and the next key", len(keys.Keys))
	}
	w.Write(t, "messaging/keys/acme/activate", nil).OK(t)
	wantLogin("the activation of a key that the provider does not know", first)
	harness.Until(t, "the engine goes back to the key that works", func() bool {
		return w.Read(t, "messaging/keys/acme").OK(t).Text("key_id") == first
	})
	v.know(keys)
	w.Write(t, "messaging/keys/acme/activate", harness.Fields{"key_id": next}).OK(t)
	wantLogin("the activation of a key that the provider knows", next)
	status := w.Read(t, "messaging/status/acme").OK(t)
	if status.Text("key_id") != next || status.Text("failures_in_row") != "0" {
		t.Errorf("status: got %v, want key_id %s and no failures", status.Data, next)
	}

	nobody := w.As("")
	if r := nobody.Read(t, "messaging/jwks/nobody").OK(t); r.Raw != `{"keys":[]}` {
		t.Errorf("jwks of an unknown name: got %s, want an empty set", r.Raw)
	}
	for _, path := range []string{"messaging/keys/acme", "messaging/creds/acme", "messaging/jwks", "messaging/jwks/acme/x"} {
		if r := nobody.Read(t, path); r.Status != 403 && r.Status != 404 {
			t.Errorf("%s without a Vault token: got status %d, want 403 or 404", path, r.Status)
		}
	}
	w.Shell(t, t.TempDir(), harness.CodeBlocks(t, harness.ReadFile(t, "../docs/keys.md"), "sh")[2]).OK(t) // writes a quota for jwks
	var limited atomic.Bool
	var readers sync.WaitGroup
	for range 30 { // at once, because the quota allows 10 reads a second, and a busy machine may be slower than that
		readers.Go(func() {
			r, err := nobody.Do(http.MethodGet, "messaging/jwks/acme", nil)
			if err != nil {
				t.Error(err)
			}
			if r.Status == http.StatusTooManyRequests {
				limited.Store(true)
			}
		})
	}
	readers.Wait()
	if !limited.Load() {
		t.Error("30 reads of jwks: got none with status 429, want some because of the quota of docs/keys.md")
	}
}
