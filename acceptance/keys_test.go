// SPDX-License-Identifier: MPL-2.0

package acceptance

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"math/big"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"

	"vault-plugin-secrets-messaging/acceptance/harness"
)

// fetcher is an authorization server that fetches the keys of its client from jwks/<name> when it
// is told to, and verifies assertions itself.
type fetcher struct {
	t    *testing.T
	jwks func() (harness.Response, error)
	url  string

	mu   sync.Mutex
	keys map[string]*ecdsa.PublicKey
	last string // the key ID of the last assertion that was good
	n    int
}

func startFetcher(t *testing.T, w world) *fetcher {
	t.Helper()
	nobody := w.As("")
	f := &fetcher{t: t, jwks: func() (harness.Response, error) { return nobody.Do(http.MethodGet, "messaging/jwks/acme", nil) }}
	server := httptest.NewServer(f)
	t.Cleanup(server.Close)
	f.url = server.URL
	return f
}

// fetch learns the keys that Vault publishes, and returns their IDs.
func (f *fetcher) fetch() (ids []string) {
	f.t.Helper()
	r, err := f.jwks()
	if err != nil || r.Status != 200 || r.Header.Get("Content-Type") != "application/jwk-set+json" || r.Header.Get("Cache-Control") != "max-age=300" {
		f.t.Fatalf("jwks without a Vault token: got status %d, header %v, error %v; want a JWK Set that may be cached", r.Status, r.Header, err)
	}
	var set struct {
		Keys []struct{ Kid, Kty, Crv, X, Y, D string }
	}
	if err := json.Unmarshal([]byte(r.Raw), &set); err != nil {
		f.t.Fatalf("%v in %s", err, r.Raw)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.keys = map[string]*ecdsa.PublicKey{}
	for _, k := range set.Keys {
		if k.Kty != "EC" || k.Crv != "P-256" || k.D != "" {
			f.t.Errorf("got the JWK %+v, want the public part of an EC key", k)
		}
		key, err := ecdsa.ParseUncompressedPublicKey(elliptic.P256(), slices.Concat([]byte{4}, decoded(k.X), decoded(k.Y)))
		if err != nil {
			f.t.Fatalf("%v in %s", err, r.Raw)
		}
		f.keys[k.Kid] = key
		ids = append(ids, k.Kid)
	}
	return ids
}

func decoded(text string) []byte {
	b, _ := base64.RawURLEncoding.DecodeString(text)
	return b
}

func (f *fetcher) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	_ = r.ParseForm()
	parts := strings.Split(r.PostForm.Get("client_assertion"), ".")
	var header struct{ Kid string }
	_ = json.Unmarshal(decoded(parts[0]), &header)
	f.mu.Lock()
	defer f.mu.Unlock()
	w.Header().Set("Content-Type", "application/json")
	sum := sha256.Sum256([]byte(strings.Join(parts[:len(parts)-1], ".")))
	signature := decoded(parts[len(parts)-1])
	key := f.keys[header.Kid]
	if key == nil || len(signature) != 64 || !ecdsa.Verify(key, sum[:], new(big.Int).SetBytes(signature[:32]), new(big.Int).SetBytes(signature[32:])) {
		w.WriteHeader(http.StatusUnauthorized)
		fmt.Fprint(w, `{"error":"invalid_client","error_description":"no such key"}`)
		return
	}
	f.last = header.Kid
	f.n++
	fmt.Fprintf(w, `{"access_token":"token-%d-of-the-fetcher","expires_in":600}`, f.n)
}

// A key rotation outlives kills of the plugin after each step. The provider learns of the new key
// late, so the engine steps back to the key that the provider knows, and no read fails.
func TestKeyRotationOutlivesPluginKills(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	f := startFetcher(t, w)
	config := harness.Fields{"provider": "oauth2", "token_url": f.url + "/token", "client_id": "acme", "auth_style": "private_key_jwt", "generate_key": "ec-p256"}
	if r := w.Write(t, "messaging/config/acme", config).OK(t); len(r.Warnings) != 1 || !strings.Contains(r.Warnings[0], "the engine made a key") {
		t.Errorf("got the warnings %q, want one about the key", r.Warnings)
	}
	step := func(after, key string) {
		t.Helper()
		w.KillPlugin(t)
		w.Write(t, "messaging/rotate/acme", nil).OK(t) // a login
		f.mu.Lock()
		defer f.mu.Unlock()
		if f.last != key {
			t.Errorf("after %s and a kill: got a login with the key %s, want %s", after, f.last, key)
		}
	}
	w.KillPlugin(t)
	first := f.fetch()[0]
	step("the key was made", first)

	next := w.Write(t, "messaging/keys/acme/rotate", nil).OK(t).Data["next"].(map[string]any)["key_id"].(string)
	step("the next key was made", first)
	if ids := f.keysOf(t); len(ids) != 2 {
		t.Errorf("got the keys %v in the JWK Set, want the current and the next key", ids)
	}
	w.Write(t, "messaging/keys/acme/activate", nil).OK(t)
	step("the activation of a key that the provider does not know", first)
	harness.Within(t, harness.Timeout, "the engine steps back to the key that works", func() error {
		if got := w.Read(t, "messaging/keys/acme").OK(t).Text("key_id"); got != first {
			return errors.New("the current key is " + got)
		}
		return nil
	})
	f.fetch() // late
	w.Write(t, "messaging/keys/acme/activate", harness.Fields{"key_id": next}).OK(t)
	step("the activation of a key that the provider knows", next)
	status := w.Read(t, "messaging/status/acme").OK(t)
	if status.Text("key_id") != next || status.Text("failures_in_row") != "0" {
		t.Errorf("got %v, want the new key and no failures", status.Data)
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
	w.Shell(t, t.TempDir(), fenced(t, file(t, "../docs/keys.md"), "sh")[2]).OK(t) // the quota
	limited := false
	for range 30 {
		limited = limited || nobody.Read(t, "messaging/jwks/acme").Status == http.StatusTooManyRequests
	}
	if !limited {
		t.Error("got no request limited, want the quota of docs/keys.md to limit jwks")
	}
}

// keysOf returns the IDs in the JWK Set without learning the keys.
func (f *fetcher) keysOf(t *testing.T) (ids []string) {
	t.Helper()
	f.mu.Lock()
	known := f.keys
	f.mu.Unlock()
	ids = f.fetch()
	f.mu.Lock()
	defer f.mu.Unlock()
	f.keys = known
	return ids
}
