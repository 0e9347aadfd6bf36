// SPDX-License-Identifier: MPL-2.0

package messaging

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"maps"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/vault/sdk/logical"
)

func TestGenerateKey(t *testing.T) {
	for kind, jwk := range map[string]fields{
		"rsa-2048": {"kty": "RSA", "alg": "RS256"}, "ec-p256": {"kty": "EC", "crv": "P-256", "alg": "ES256"}, "ed25519": {"kty": "OKP", "crv": "Ed25519", "alg": "EdDSA"},
	} {
		m, a := newKeyMount(t, fields{"generate_key": kind})
		if got := len(a.takeAsked()); got != 0 {
			t.Errorf("%s: got %d requests of a write that makes a key, want none", kind, got)
		}
		m.token("a")
		key := m.read("keys/a").data
		if key["generated"] != true || key["kind"] != kind || key["algorithm"] != jwk["alg"] ||
			key["created_time"] != "2026-11-22T08:00:00Z" || key["activated_time"] != "2026-11-22T08:00:00Z" || key["next"] != nil {
			t.Errorf("%s: got %v", kind, key)
		}
		published := m.jwks("a")[key["key_id"].(string)]
		for name, want := range jwk {
			if published[name] != want {
				t.Errorf("%s: got the JWK %v, want %s %v", kind, published, name, want)
			}
		}
		if config := m.read("config/a").data; config["generate_key"] != kind || config["private_key"] != nil {
			t.Errorf("%s: got %v, want generate_key and no private key", kind, config)
		}
		m.clock.advance(time.Minute)
		restarted := m.restart()
		if restarted.token("a"); len(restarted.jwks("a")) != 1 || restarted.keyID("current") != key["key_id"] {
			t.Errorf("%s: after a restart: got another key, want the same", kind)
		}
	}
}

// A key that an operator wrote signs tokens, and keys/<name> shows its public part.
func TestWrittenKey(t *testing.T) {
	m := newMount(t)
	m.write("config/v", fields{"provider": "vonage", "application_id": "app", "private_key": keyPEM()}).want(t, http.StatusNoContent)
	m.wantStored("config/v", "token/v")
	key := m.read("keys/v").data
	if key["generated"] != false || key["algorithm"] != "RS256" || !strings.HasPrefix(key["public_key"].(string), "-----BEGIN PUBLIC KEY") || key["activated_time"] != "2026-11-22T08:00:00Z" {
		t.Errorf("got %v, want the public part of the written key", key)
	}
	if got := m.jwks("v"); len(got) != 0 {
		t.Errorf("got the JWK Set %v of a written key, want it empty", got)
	}
	m.write("keys/v/rotate", nil).want(t, http.StatusBadRequest, "the engine did not make")
	m.write("keys/v/activate", nil).want(t, http.StatusBadRequest, "the engine did not make")
	if got := m.read("config/v").data; got["token_url"] != nil {
		t.Errorf("got token_url %v of a provider without an endpoint, want none", got["token_url"])
	}
	m.write("config/p", m.sinch(nil)).want(t, http.StatusNoContent)
	m.read("keys/p").want(t, http.StatusNotFound)
	m.read("keys/nobody").want(t, http.StatusNotFound)
	m.write("keys/nobody/rotate", nil).want(t, http.StatusBadRequest, `there is no config "nobody"`)
	if got := m.jwks("nobody"); len(got) != 0 {
		t.Errorf("got the JWK Set %v of an unknown name, want it empty", got)
	}
}

func TestActivateKey(t *testing.T) {
	m := newMount(t)
	m.write("config/a", fields{"provider": "vonage", "application_id": "app", "generate_key": "rsa-2048"}).want(t, http.StatusOK)
	before := m.token("a")
	first := m.keyID("current")
	m.write("keys/a/activate", nil).want(t, http.StatusBadRequest, "key_id: is required, because there is no next key")
	m.write("keys/a/rotate", nil).wantWarning(t, "register the public key that next shows at the provider, and then write keys/a/activate")
	next := m.keyID("next")
	m.mintAfter(20 * time.Minute)
	if m.keyID("current") != first {
		t.Error("got a key adopted that nobody has accepted, want it pending")
	}
	m.clock.advance(time.Minute)
	m.write("keys/a/activate", fields{"key_id": "nobody"}).want(t, http.StatusBadRequest, "key_id: names no key")
	m.write("keys/a/activate", nil).want(t, http.StatusOK)
	if m.keyID("current") != next || m.keyID("previous") != first || m.read("keys/a").data["activated_time"] != "2026-11-22T08:21:00Z" {
		t.Errorf("got %v, want the next key active since 08:21", m.read("keys/a").data)
	}
	m.mintAfter(20 * time.Minute)
	m.write("keys/a/activate", fields{"key_id": first}).want(t, http.StatusOK)
	m.write("keys/a/activate", fields{"key_id": first}).want(t, http.StatusOK)
	if m.keyID("current") != first || m.keyID("previous") != next {
		t.Errorf("got %v, want the activation taken back", m.read("keys/a").data)
	}
	if m.mintAfter(20*time.Minute) == before {
		t.Error("got the first token again")
	}
}

// Nobody can use the engine's key for another endpoint. A later config of the same name gets
// another key.
func TestGeneratedKeyGuard(t *testing.T) {
	m, a := newKeyMount(t, nil)
	first := m.keyID("current")
	changes := fields{"token_url": "https://evil.example/token", "assertion_audience": "https://evil.example", "auth_style": "header", "signing_algorithm": "ES256"}
	for name, value := range changes {
		data := fields{name: value, "generate_key": "ec-p256", "verify_connection": false}
		if name == "auth_style" {
			data["generate_key"] = ""
		}
		m.write("config/a", data).want(t, http.StatusBadRequest, name+": this change affects where or how signatures made with the engine's key are sent")
	}
	m.write("config/a", fields{"verify_connection": true, "generate_key": "rsa-2048"}).want(t, http.StatusNoContent)
	if m.keyID("current") != first {
		t.Error("got another key after a write of generate_key, want the same until a rotation")
	}
	m.write("keys/a/rotate", nil).want(t, http.StatusOK)
	if got := m.read("keys/a").data["next"].(map[string]any)["kind"]; got != "rsa-2048" {
		t.Errorf("got a next key of the kind %v, want rsa-2048", got)
	}
	orphan, err := m.storage.InmemStorage.Get(t.Context(), "key/a")
	if err != nil {
		t.Fatal(err)
	}
	m.delete("config/a").want(t, http.StatusNoContent)
	if e, _ := m.storage.InmemStorage.Get(t.Context(), "key/a"); e != nil || len(m.jwks("a")) != 0 {
		t.Error("got the key of a deleted config, want it removed")
	}
	m.storage.put("key/a", string(orphan.Value))
	m.write("config/a", fields{"provider": "oauth2", "token_url": a.url, "client_id": "eve", "auth_style": "private_key_jwt", "generate_key": "ec-p256"}).want(t, http.StatusOK)
	if m.keyID("current") == first {
		t.Error("got the key of an earlier config, want another one")
	}
	m.storage.put("key/a", string(orphan.Value))
	m.restart().read("creds/a").want(t, http.StatusBadGateway, "the stored key/a cannot be used: it belongs to an earlier config")
	m.write("config/a", fields{"generate_key": "", "auth_style": "none"}).want(t, http.StatusBadRequest, "auth_style: this change")
}

func TestVerifyOfAKeyThatIsMade(t *testing.T) {
	m := newMount(t)
	m.write("config/a", fields{"provider": "oauth2", "token_url": m.url, "client_id": "acme", "auth_style": "private_key_jwt", "generate_key": "ec-p256", "verify_connection": true}).want(t, http.StatusBadRequest, "verify_connection: cannot be true for a write that makes a key")
	m.wantStored()
}

// All readers of an account with a minimum age get one token, and nothing signs another one
// before that age: APNs refuses a provider that does.
func TestMinimumAgeOfSignedTokens(t *testing.T) {
	m := newMount(t)
	config := fields{"provider": "apns", "team_id": "DEF123GHIJ", "key_id": "ABC123DEFG", "private_key": p256PEM(t)}
	m.write("config/u", with(maps.Clone(config), fields{"share": false})).want(t, http.StatusBadRequest, "share: must be true for apns, because the provider allows no new token before the last one is 20m0s old")
	m.write("config/a", config).want(t, http.StatusNoContent)
	first := m.token("a")
	for range 19 {
		m.clock.advance(time.Minute)
		m.rotate("a").want(t, http.StatusBadGateway, "the provider allows no new token before 2026-11-22T08:20:00Z")
		m.write("config/a", with(maps.Clone(config), fields{"verify_connection": true})).want(t, http.StatusNoContent)
		m.requestWith(t.Context(), logical.ReadOperation, "creds/a", fields{"rejected": m.read("creds/a").data["token_id"], "min_ttl": "50m"}).want(t, http.StatusOK)
		if m.restart().token("a") != first {
			t.Fatal("got another token within 20 minutes, want the first one")
		}
	}
	m.clock.advance(21 * time.Minute) // in the refresh window
	m.token("a")
	eventually(t, "the token is signed anew", func() bool { return m.token("a") != first })
}

// p256PEM returns a new EC key on P-256 as PKCS #8.
func p256PEM(t *testing.T) string {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}))
}

// The JWK Set comes from memory: a stranger causes no storage call, and learns nothing of a failure.
func TestJWKSComesFromMemory(t *testing.T) {
	m, _ := newKeyMount(t, nil)
	m = m.restart()
	m.storage.failWith(func(op, key string) error { return errStorage })
	a := m.read("jwks/a")
	a.want(t, http.StatusServiceUnavailable, "the public keys cannot be read now: try again")
	if strings.Contains(a.text, errStorage.Error()) {
		t.Errorf("got %q, want nothing of the failure", a.text)
	}
	m.storage.failWith(nil)
	m.jwks("a")
	m.storage.takeCalls()
	for range 10 {
		m.jwks("a")
		m.jwks("nobody")
	}
	if calls := m.storage.takeCalls(); len(calls) > 0 {
		t.Errorf("got the storage calls %q, want none", calls)
	}
	m.Backend.(*backend).invalidate(t.Context(), "key/a")
	if len(m.jwks("a")) != 1 || len(m.storage.takeCalls()) != 1 {
		t.Error("after an invalidation: got no keys or more than one storage call, want the keys with one call")
	}
}
