// SPDX-License-Identifier: MPL-2.0

package messaging

import (
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
		equal(t, kind+": requests of a write that makes a key", len(a.takeAsked()), 0)
		m.token("a")
		key := m.read("keys/a").data
		m.read("keys/a").wantData(t, fields{"generated": true, "kind": kind, "algorithm": jwk["alg"],
			"created_time": "2026-11-22T08:00:00Z", "activated_time": "2026-11-22T08:00:00Z", "next": nil})
		published := m.jwks("a")[key["key_id"].(string)]
		for name, want := range jwk {
			equal(t, name+" of the JWK", published[name], want)
		}
		m.read("config/a").wantData(t, fields{"generate_key": kind, "private_key": nil})
		m.clock.advance(time.Minute)
		restarted := m.restart()
		restarted.token("a")
		restarted.wantKeys("after a restart", key["key_id"].(string), "", "")
	}
}

// The engine signs with a key that an operator wrote. keys/<name> shows the public key.
func TestWrittenKey(t *testing.T) {
	m := newMount(t)
	m.write("config/v", fields{"provider": "vonage", "application_id": "app", "private_key": keyPEM()}).want(t, http.StatusNoContent)
	m.wantStored("config/v", "token/v")
	key := m.read("keys/v")
	key.wantData(t, fields{"generated": false, "algorithm": "RS256", "activated_time": "2026-11-22T08:00:00Z"})
	if got := key.data["public_key"].(string); !strings.HasPrefix(got, "-----BEGIN PUBLIC KEY") {
		t.Errorf("got the public_key %s, want PEM", got)
	}
	equal(t, "keys in the JWK Set of a written key", len(m.jwks("v")), 0)
	m.write("keys/v/rotate", nil).want(t, http.StatusBadRequest, "the config has no generated key")
	m.write("keys/v/activate", nil).want(t, http.StatusBadRequest, "the config has no generated key")
	m.read("config/v").wantData(t, fields{"token_url": nil}) // the provider has no endpoint
	m.write("config/p", m.sinch(nil)).want(t, http.StatusNoContent)
	m.read("keys/p").want(t, http.StatusNotFound)
	m.read("keys/nobody").want(t, http.StatusNotFound)
	m.write("keys/nobody/rotate", nil).want(t, http.StatusBadRequest, `there is no config "nobody"`)
	equal(t, "keys in the JWK Set of an unknown name", len(m.jwks("nobody")), 0)
}

func TestActivateKey(t *testing.T) {
	m := newMount(t)
	m.write("config/a", fields{"provider": "vonage", "application_id": "app", "generate_key": "rsa-2048"}).want(t, http.StatusOK)
	before := m.token("a")
	first := m.keyID("current")
	m.write("keys/a/activate", nil).want(t, http.StatusBadRequest, "key_id: is required, because there is no next key")
	m.write("keys/a/rotate", nil).wantWarning(t, "register the next public key at the provider, then write keys/a/activate")
	next := m.keyID("next")
	m.mintAfter(20 * time.Minute)
	equal(t, "current key before the activation", m.keyID("current"), first)
	m.clock.advance(time.Minute)
	m.write("keys/a/activate", fields{"key_id": "nobody"}).want(t, http.StatusBadRequest, "key_id: names no key")
	m.write("keys/a/activate", nil).want(t, http.StatusOK)
	m.wantKeys("after the activation", next, "", first)
	m.read("keys/a").wantData(t, fields{"activated_time": "2026-11-22T08:21:00Z"})
	m.mintAfter(20 * time.Minute)
	m.write("keys/a/activate", fields{"key_id": first}).want(t, http.StatusOK)
	m.write("keys/a/activate", fields{"key_id": first}).want(t, http.StatusOK)
	m.wantKeys("after the activation is taken back", first, "", next)
	differ(t, "token at the end", m.mintAfter(20*time.Minute), before)
}

// A generated key is never used for another endpoint, or for a later config with the same name.
func TestGeneratedKeyGuard(t *testing.T) {
	m, a := newKeyMount(t, nil)
	first := m.keyID("current")
	changes := fields{"token_url": "https://evil.example/token", "assertion_audience": "https://evil.example", "auth_style": "header", "signing_algorithm": "ES256"}
	for name, value := range changes {
		data := fields{name: value, "generate_key": "ec-p256", "verify_connection": false}
		if name == "auth_style" {
			data["generate_key"] = ""
		}
		m.write("config/a", data).want(t, http.StatusBadRequest, name+": a config with a generated key cannot change where or how signatures are sent")
	}
	m.write("config/a", fields{"verify_connection": true, "generate_key": "rsa-2048"}).want(t, http.StatusNoContent)
	equal(t, "current key after a write of generate_key", m.keyID("current"), first)
	m.write("keys/a/rotate", nil).want(t, http.StatusOK)
	equal(t, "kind of the next key", m.read("keys/a").data["next"].(map[string]any)["kind"], "rsa-2048")
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
	differ(t, "key of a later config", m.keyID("current"), first)
	m.storage.put("key/a", string(orphan.Value))
	m.restart().read("creds/a").want(t, http.StatusBadGateway, "the stored key/a cannot be used: the key belongs to an earlier config")
	m.write("config/a", fields{"generate_key": "", "auth_style": "none"}).want(t, http.StatusBadRequest, "auth_style: a config with a generated key cannot change")
}

func TestVerifyOfAKeyThatIsMade(t *testing.T) {
	m := newMount(t)
	m.write("config/a", fields{"provider": "oauth2", "token_url": m.url, "client_id": "acme", "auth_style": "private_key_jwt", "generate_key": "ec-p256", "verify_connection": true}).want(t, http.StatusBadRequest, "verify_connection: cannot be true for a write that makes a key")
	m.wantStored()
}

// APNs refuses clients that sign tokens too often. So the engine uses each token for a minimum
// time.
func TestMinimumAgeOfSignedTokens(t *testing.T) {
	m := newMount(t)
	config := fields{"provider": "apns", "team_id": "DEF123GHIJ", "key_id": "ABC123DEFG", "private_key": p256PEM()}
	m.write("config/u", with(maps.Clone(config), fields{"share": false})).want(t, http.StatusBadRequest, "share: must be true for apns, because the provider refuses a new token until the last token is 20m0s old")
	m.write("config/a", config).want(t, http.StatusNoContent)
	first := m.token("a")
	for range 19 {
		m.clock.advance(time.Minute)
		m.rotate("a").want(t, http.StatusBadGateway, "the provider allows no new token before 2026-11-22T08:20:00Z")
		m.write("config/a", with(maps.Clone(config), fields{"verify_connection": true})).want(t, http.StatusNoContent)
		m.requestWith(t.Context(), logical.ReadOperation, "creds/a", fields{"rejected": m.read("creds/a").data["token_id"], "min_ttl": "50m"}).want(t, http.StatusOK)
		equal(t, "token within 20 minutes", m.restart().token("a"), first)
	}
	m.clock.advance(21 * time.Minute) // in the refresh window
	m.token("a")
	eventually(t, "the token is signed anew", func() bool { return m.token("a") != first })
}

// Anyone may read jwks/<name>. So reads cause no storage call once the keys are in memory, and an
// error gives no reason.
func TestJWKSComesFromMemory(t *testing.T) {
	m, _ := newKeyMount(t, nil)
	m = m.restart()
	m.storage.failOn("")
	equal(t, "error", m.read("jwks/a").want(t, http.StatusServiceUnavailable).text, "the public keys cannot be read now: try again")
	m.storage.failWith(nil)
	m.jwks("a")
	m.storage.takeCalls()
	for range 10 {
		m.jwks("a")
		m.jwks("nobody")
	}
	m.wantCalls()
	m.InvalidateKey(t.Context(), "key/a")
	equal(t, "keys after an invalidation", len(m.jwks("a")), 1)
	m.wantCalls("get key/a")
}
