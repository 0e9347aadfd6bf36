// SPDX-License-Identifier: MPL-2.0

package acceptance

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"

	"vault-plugin-secrets-messaging/acceptance/harness"
)

// parrot is an authorization server that records assertions. A refusal repeats the assertion in one
// of several encodings.
type parrot struct {
	mu         sync.Mutex
	assertions []string
}

func (p *parrot) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	_ = r.ParseForm()
	assertion := r.PostForm.Get("client_assertion") + r.PostForm.Get("assertion")
	p.mu.Lock()
	p.assertions = append(p.assertions, assertion)
	n := len(p.assertions)
	p.mu.Unlock()
	w.Header().Set("Content-Type", "application/json")
	if n%5 == 0 {
		fmt.Fprintf(w, `{"access_token":"token-of-the-parrot-%d","expires_in":3}`, n)
		return
	}
	said := []string{assertion, signatureOf(assertion)}[n%2]
	said = []string{said, url.QueryEscape(said), base64.StdEncoding.EncodeToString([]byte(said)), escapeAll(said, `\u%04x`)}[n/2%4]
	body, _ := json.Marshal(map[string]string{"error": "invalid_client", "error_description": "no: " + said})
	w.WriteHeader(http.StatusUnauthorized)
	_, _ = w.Write(body)
}

// p256Prefix begins every P-256 private key in base64. The test does not know the engine's keys, so
// it searches for this prefix.
const p256Prefix = "MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQg"

// leakKeys uses accounts with right and wrong private keys. The returned maps hold secrets by name.
func leakKeys(t *testing.T, w world) (s *spy, keys, assertions, tokens map[string]string) {
	t.Helper()
	s = &spy{t: t, world: w}
	p := &parrot{}
	server := httptest.NewServer(p)
	t.Cleanup(server.Close)
	rsaPEM, ecPEM, small := newKey(t, 2048), newKey(t, 256), newKey(t, 1024)
	file, _ := json.Marshal(map[string]string{"type": "service_account", "client_email": "a@b.example", "private_key_id": "k", "private_key": rsaPEM})
	user, _ := json.Marshal(map[string]string{"type": "authorized_user", "private_key": ecPEM})
	oauth2 := harness.Fields{"provider": "oauth2", "client_id": "acme", "auth_style": "private_key_jwt", "token_url": server.URL + "/token", "revocation_url": server.URL + "/revoke", "verify_connection": false}
	configs := map[string]harness.Fields{
		"key-oauth2": union(oauth2, harness.Fields{"private_key": rsaPEM}),
		"key-made":   union(oauth2, harness.Fields{"generate_key": "ec-p256"}),
		"key-google": {"provider": "google-rcs", "service_account": string(file), "token_url": server.URL + "/token", "verify_connection": false},
		"key-vonage": {"provider": "vonage", "application_id": "a", "private_key": rsaPEM},
		"key-apns":   {"provider": "apns", "team_id": "t", "key_id": "k", "private_key": ecPEM},
	}
	tokens = map[string]string{}
	for name, config := range configs {
		if r := s.write("messaging/config/"+name, config); r.Status >= 300 {
			t.Errorf("%s: got status %d, want success: %s", name, r.Status, r.Raw)
		}
		for _, bad := range []string{small, ecPEM + rsaPEM, strings.ReplaceAll(rsaPEM, "PRIVATE", "PUBLIC"), strings.ReplaceAll(ecPEM, "PRIVATE", "ENCRYPTED PRIVATE"), ecPEM[:len(ecPEM)/2], string(user)} {
			for _, field := range []string{"private_key", "service_account", "certificate", "generate_key", "token_url", "no_such_field"} {
				s.write("messaging/config/"+name, union(config, harness.Fields{field: bad}))
			}
		}
		s.write("messaging/config/"+name, harness.Fields{"private_key": harness.Fields{"a": rsaPEM}})
		for range 8 {
			if r := s.read("messaging/creds/" + name); config["token_url"] == nil {
				tokens["token of "+name] = signatureOf(r.Text("access_token"))
			}
			s.write("messaging/config/"+name, harness.Fields{"verify_connection": true})
			s.write("messaging/rotate/"+name, nil)
			s.read("messaging/status/" + name)
		}
		for _, path := range []string{"keys/" + name, "jwks/" + name, "config/" + name} {
			s.read("messaging/" + path)
		}
		s.write("messaging/keys/"+name+"/rotate", nil)
		s.write("messaging/keys/"+name+"/activate", nil)
		s.write("messaging/rotate/"+name, nil)
		s.cli("read", "messaging/keys/"+name)
	}
	keys = map[string]string{"a key that the engine made": p256Prefix}
	for name, text := range map[string]string{"RSA key": rsaPEM, "EC key": ecPEM, "small RSA key": small} {
		for i, line := range keyLines(text) {
			if len(line) >= 24 { // the last line of an RSA key may be short
				keys[fmt.Sprintf("line %d of the %s", i+1, name)] = line
			}
		}
	}
	assertions = map[string]string{}
	p.mu.Lock()
	defer p.mu.Unlock()
	for i, a := range p.assertions {
		assertions[fmt.Sprintf("assertion %d", i+1)] = signatureOf(a)
	}
	if len(assertions) < 30 || len(tokens) != 2 {
		t.Errorf("got %d assertions and %d tokens that the engine signed, want at least 30, and 2", len(assertions), len(tokens))
	}
	return s, keys, assertions, tokens
}

func signatureOf(jwt string) string { return jwt[strings.LastIndex(jwt, ".")+1:] }

// newKey returns a private key in PEM. A key of 256 bits is an EC key.
func newKey(t *testing.T, bits int) string {
	t.Helper()
	t.Setenv("GODEBUG", "rsa1024min=0")
	var key any
	key, err := rsa.GenerateKey(rand.Reader, max(bits, 1024))
	if bits == 256 {
		key, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	}
	if err != nil {
		t.Fatal(err)
	}
	return harness.KeyPEM(t, key)
}
