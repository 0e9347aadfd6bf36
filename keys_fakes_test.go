// SPDX-License-Identifier: MPL-2.0

package messaging

import (
	"cmp"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"maps"
	"math/big"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hashicorp/vault/sdk/logical"
)

// authority is a fake authorization server that knows public keys of its client. It verifies
// assertions without the engine's JWT library.
type authority struct {
	t   testing.TB
	url string

	mu      sync.Mutex
	keys    map[string]crypto.PublicKey // by key ID
	down    bool
	asked   []string // the key ID of each request
	tokens  int
	invalid string // the error for an unknown key; "" means invalid_client
}

func newAuthority(t testing.TB) *authority {
	a := &authority{t: t, keys: map[string]crypto.PublicKey{}}
	server := httptest.NewServer(a)
	t.Cleanup(server.Close)
	a.url = server.URL
	return a
}

func (a *authority) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if err := r.ParseForm(); err != nil {
		a.t.Error(err)
	}
	id, ok := a.verify(r.PostForm.Get("client_assertion"))
	a.asked = append(a.asked, id)
	w.Header().Set("Content-Type", "application/json")
	switch {
	case a.down:
		w.WriteHeader(http.StatusServiceUnavailable)
	case !ok:
		w.WriteHeader(http.StatusUnauthorized)
		fmt.Fprintf(w, `{"error":%q,"error_description":"unknown key in %s"}`, cmp.Or(a.invalid, "invalid_client"), r.PostForm.Get("client_assertion"))
	default:
		a.tokens++
		fmt.Fprintf(w, `{"access_token":"token-%d-%s","expires_in":60}`, a.tokens, id)
	}
}

// verify returns the key ID of a JWT. ok is true if the authority knows the key that signed the
// JWT.
func (a *authority) verify(jwt string) (id string, ok bool) {
	parts := strings.Split(jwt, ".")
	if len(parts) != 3 {
		a.t.Errorf("got the assertion %q, want a JWT", jwt)
		return "", false
	}
	var header struct{ Kid string }
	text, _ := base64.RawURLEncoding.DecodeString(parts[0])
	if err := json.Unmarshal(text, &header); err != nil {
		a.t.Error(err)
	}
	signature, err := base64.RawURLEncoding.DecodeString(parts[2])
	if err != nil {
		a.t.Error(err)
	}
	signed := []byte(parts[0] + "." + parts[1])
	sum := sha256.Sum256(signed)
	switch key := a.keys[header.Kid].(type) {
	case *rsa.PublicKey:
		ok = rsa.VerifyPKCS1v15(key, crypto.SHA256, sum[:], signature) == nil
	case *ecdsa.PublicKey:
		ok = len(signature) == 64 && ecdsa.Verify(key, sum[:], new(big.Int).SetBytes(signature[:32]), new(big.Int).SetBytes(signature[32:]))
	case ed25519.PublicKey:
		ok = ed25519.Verify(key, signed, signature)
	}
	return header.Kid, ok
}

// learn makes the authority know exactly these keys of the account. A role is current, next or
// previous.
func (a *authority) learn(m *mount, name string, roles ...string) {
	a.t.Helper()
	data := m.read("keys/" + name).data
	published := m.jwks(name)
	a.mu.Lock()
	defer a.mu.Unlock()
	clear(a.keys)
	for _, role := range roles {
		key := data
		if role != "current" {
			key, _ = data[role].(map[string]any)
		}
		id, _ := key["key_id"].(string)
		text, _ := key["public_key"].(string)
		block, _ := pem.Decode([]byte(text))
		if block == nil || published[id] == nil {
			a.t.Fatalf("got no %s key in %v, or jwks/%s without it: %v", role, data, name, published)
		}
		public, err := x509.ParsePKIXPublicKey(block.Bytes)
		if err != nil {
			a.t.Fatal(err)
		}
		a.keys[id] = public
	}
}

// set changes the authority.
func (a *authority) set(f func()) {
	a.mu.Lock()
	defer a.mu.Unlock()
	f()
}

// takeAsked returns the key IDs in the requests that came since the previous call.
func (a *authority) takeAsked() []string {
	a.mu.Lock()
	defer a.mu.Unlock()
	asked := a.asked
	a.asked = nil
	return asked
}

// jwks returns the keys that jwks/<name> publishes, by ID.
func (m *mount) jwks(name string) map[string]fields {
	m.t.Helper()
	a := m.read("jwks/"+name).want(m.t, http.StatusOK)
	a.wantData(m.t, fields{logical.HTTPContentType: "application/jwk-set+json", logical.HTTPCacheControlHeader: "max-age=300"})
	body, _ := a.data[logical.HTTPRawBody].([]byte)
	var set struct{ Keys []fields }
	if err := json.Unmarshal(body, &set); err != nil || set.Keys == nil {
		m.t.Fatalf("got %s, want a JWK Set", body)
	}
	keys := map[string]fields{}
	for _, key := range set.Keys {
		if key["d"] != nil || key["p"] != nil || key["use"] != "sig" {
			m.t.Errorf("got the JWK %v, want the public part of a key that signs", key)
		}
		keys[key["kid"].(string)] = key
	}
	return keys
}

// keyID returns the ID of the current, next or previous key of config/a, or "" if that key does
// not exist.
func (m *mount) keyID(role string) string {
	m.t.Helper()
	data := m.read("keys/a").data
	if role != "current" {
		data, _ = data[role].(map[string]any)
	}
	id, _ := data["key_id"].(string)
	return id
}

// wantAsked fails the test unless takeAsked returns exactly these key IDs.
func (a *authority) wantAsked(when string, ids ...string) {
	a.t.Helper()
	equal(a.t, "keys of the requests "+when, a.takeAsked(), ids)
}

// wantKeys fails the test unless keys/a and jwks/a show exactly the keys with these IDs. "" means
// no key.
func (m *mount) wantKeys(when, current, next, previous string) {
	m.t.Helper()
	want := []string{current, next, previous}
	equal(m.t, "current, next and previous key "+when, []string{m.keyID("current"), m.keyID("next"), m.keyID("previous")}, want)
	slices.Sort(want)
	published := slices.Sorted(maps.Keys(m.jwks("a")))
	equal(m.t, "keys in the JWK Set "+when, published, slices.DeleteFunc(want, func(id string) bool { return id == "" }))
}

// newKeyMount makes a mount whose config/a has a generated key. The authority knows this key.
func newKeyMount(t testing.TB, more fields) (*mount, *authority) {
	t.Helper()
	m, a := newMount(t), newAuthority(t)
	data := fields{"provider": "oauth2", "token_url": a.url, "client_id": "acme", "auth_style": "private_key_jwt", "generate_key": "ec-p256"}
	m.write("config/a", with(data, more)).want(t, http.StatusOK).wantWarning(t, "the engine made a key", "keys/a", "jwks/a")
	a.learn(m, "a", "current")
	return m, a
}

// newRotatedMount makes a mount that has rotated the key of config/a. The authority does not know
// the next key yet. The results current and next are key IDs.
func newRotatedMount(t testing.TB) (m *mount, a *authority, current, next string) {
	t.Helper()
	m, a = newKeyMount(t, nil)
	m.token("a")
	current = m.keyID("current")
	m.write("keys/a/rotate", nil).want(t, http.StatusOK)
	return m, a, current, m.keyID("next")
}

// mintAfter advances the clock by d, reads creds/a, and waits until the engine has stored which
// keys worked.
func (m *mount) mintAfter(d time.Duration) string {
	m.t.Helper()
	m.clock.advance(d)
	token := m.token("a")
	m.settled()
	return token
}

// settled waits until the engine has stored which keys worked.
func (m *mount) settled() {
	m.t.Helper()
	b := m.Backend.(*backend)
	eventually(m.t, "the change of the key is stored", func() bool { return !b.registry.Keyrings().Unsettled() })
}

// keyPEM returns an RSA key, and p256PEM returns a P-256 key, both as PKCS #8. All tests share the
// two keys.
var (
	keyPEM  = sync.OnceValue(func() string { return pkcs8(rsa.GenerateKey(rand.Reader, 2048)) })
	p256PEM = sync.OnceValue(func() string { return pkcs8(ecdsa.GenerateKey(elliptic.P256(), rand.Reader)) })
)

func pkcs8(key crypto.PrivateKey, err error) string {
	der, err2 := x509.MarshalPKCS8PrivateKey(key)
	if err := errors.Join(err, err2); err != nil {
		panic(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}))
}

// serviceAccountFile returns the key file of a Google service account.
func serviceAccountFile() string {
	file, _ := json.Marshal(fields{"type": "service_account", "client_email": "a@b.example", "private_key_id": "k", "private_key": keyPEM()})
	return string(file)
}

// keyAt is the data of a config of oauth2 with a written key.
func keyAt(m *mount) fields {
	return fields{"provider": "oauth2", "token_url": m.url, "client_id": "acme", "auth_style": "private_key_jwt", "private_key": keyPEM()}
}

// googleAt is the data of a config of google-rcs.
func googleAt(m *mount) fields {
	return fields{"provider": "google-rcs", "token_url": m.url, "service_account": serviceAccountFile()}
}

// huaweiAt is the data of a config of huawei-push-v3.
func huaweiAt(*mount) fields {
	return fields{"provider": "huawei-push-v3", "sub_account": "1", "key_id": "k", "private_key": keyPEM()}
}
