// SPDX-License-Identifier: MPL-2.0

package messaging

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hashicorp/vault/sdk/logical"

	"vault-plugin-secrets-messaging/providers"
)

// witness has two servers: the operator's provider, and an attacker's server that records its
// requests. Each server's tokens begin with its name. The attacker may rotate, and may write and
// delete configs and definitions. The attacker cannot read creds and knows no secret.
type witness struct {
	honest, evil *httptest.Server
	minted       atomic.Int64

	mu   sync.Mutex
	seen []string
}

func newWitness(t testing.TB) *witness {
	w := &witness{}
	serve := func(prefix string, accepts func(request string) bool) *httptest.Server {
		s := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
			body, _ := io.ReadAll(r.Body)
			user, password, _ := r.BasicAuth()
			decoded, _ := url.QueryUnescape(string(body) + " " + user + " " + password)
			rw.Header().Set("Content-Type", "application/json")
			if !accepts(fmt.Sprintf("%s %v %s %s", r.URL, r.Header, body, decoded)) {
				rw.WriteHeader(http.StatusUnauthorized)
				_, _ = io.WriteString(rw, `{"error": "invalid_client"}`)
				return
			}
			n := w.minted.Add(1)
			_ = json.NewEncoder(rw).Encode(fields{
				"access_token": fmt.Sprintf("%stoken-%d", prefix, n), "token_type": "Bearer", "expires_in": 3600,
				"refresh_token": fmt.Sprintf("%srefresh-%d", prefix, n), "refresh_expires_in": 7200,
			})
		}))
		t.Cleanup(s.Close)
		return s
	}
	w.honest = serve("honest-", func(request string) bool {
		return slices.ContainsFunc(append([]string{"honest-", "open-to-all"}, secrets...), func(s string) bool { return strings.Contains(request, s) })
	})
	w.evil = serve("evil-", func(request string) bool {
		w.mu.Lock()
		defer w.mu.Unlock()
		w.seen = append(w.seen, request)
		return true
	})
	return w
}

// relocated replaces the endpoints of a provider, and lets the provider's logins run in parallel.
type relocated struct {
	providers.Provider
	endpoints []providers.Endpoint
}

func (r relocated) Spec() providers.Spec {
	spec := r.Provider.Spec()
	spec.Endpoints, spec.SerialFields = r.endpoints, nil
	return spec
}

// operatorConfigs are configs that the operator writes.
func (w *witness) operatorConfigs() []fields {
	return []fields{
		{"provider": "sinch-india", "username": "acme", "password": "correct-horse", "revocation_url": w.honest.URL + "/revoke"},
		{"provider": "oauth2", "client_id": "generic-client", "client_secret": "generic-secret", "token_url": w.honest.URL, "revocation_url": w.honest.URL + "/revoke"},
		{"provider": "oauth2", "client_id": "generic-client", "client_secret": "generic-secret", "token_url": w.honest.URL, "grant_type": "password", "username": "alice", "password": "wonderland"},
		{"provider": "oauth2", "client_id": "public-client", "token_url": w.honest.URL, "grant_type": "password", "username": "alice", "password": "wonderland", "share": false, "revocation_url": w.honest.URL + "/revoke"},
		{"provider": "acme", "api_user": "alice", "api_password": "correct-horse"},
	}
}

// definitions returns definitions of the provider acme. The first belongs to the operator. The
// others are an attacker's attempts to get secrets.
func (w *witness) definitions() []string {
	paths := strings.NewReplacer("/data/token", "/access_token", "/data/expires_in", "/expires_in")
	honest := paths.Replace((&acme{url: w.honest.URL}).definition("Acme"))
	evil := paths.Replace((&acme{url: w.evil.URL}).definition("Evil"))
	return []string{
		honest,
		evil,
		strings.Replace(honest, "    secret: true\n", "", 1),
		strings.Replace(evil, "    secret: true\n", "", 1),
		strings.Replace(evil, `region: "{region}"`, `region: "{api_password}"`, 1),
	}
}

// digests returns the digests of the definitions.
func (w *witness) digests(t testing.TB) []string {
	t.Helper()
	var digests []string
	for _, text := range w.definitions() {
		d, err := providers.ParseDefinition("acme", []byte(text))
		if err != nil {
			t.Fatal(err)
		}
		digests = append(digests, d.Digest())
	}
	return digests
}

// changes are what the attacker may write.
func (w *witness) changes() []fields {
	evil, honest := w.evil.URL, w.honest.URL
	return []fields{
		{"token_url": evil}, {"token_url": evil, "verify_connection": false}, {"token_url": honest}, {"token_url": nil}, {"token_url": ""},
		{"revocation_url": evil}, {"revocation_url": evil, "verify_connection": false}, {"revocation_url": honest + "/revoke"}, {"revocation_url": nil},
		{"environment": "uat"}, {"environment": "uat", "verify_connection": false}, {"environment": "production"}, {"environment": nil},
		{"auth_style": "body"}, {"auth_style": nil}, {"grant_type": "password"}, {"grant_type": nil}, {"scopes": "all"},
		{"client_id": "evil"}, {"username": "evil"}, {"username": nil},
		{"password": nil}, {"password": ""}, {"password": "\n"}, {"password": "mine"}, {"password": "mine", "verify_connection": false},
		{"client_secret": nil}, {"client_secret": "\n"}, {"client_secret": "mine"}, {"client_secret": "mine", "verify_connection": false},
		{"token_params": fields{"client_secret": "x"}}, {"token_params": fields{"resource": evil}}, {"token_params": "redirect_uri=" + evil}, {"token_params": nil},
		{"share": false, "lease": true}, {"share": true}, {"lease": false}, {"refresh_window": 0}, {"max_ttl": 60},
		{"verify_connection": true}, {"verify_connection": false}, {"provider": "oauth2"}, {"provider": "sinch-india"}, {"provider": "acme"},
		{"api_user": "evil"}, {"api_password": nil}, {"api_password": "\n"}, {"api_password": "mine"}, {"api_password": "mine", "verify_connection": false},
		{"region": "us"}, {"region": nil}, {"labels": fields{"a": "b"}}, {"adopt_definition": nil},
	}
}

// attack runs a script of requests on a config of the given kind. The test fails if the attacker's
// server gets a secret or a token of the operator.
func (w *witness) attack(t *testing.T, kind byte, script []byte) {
	t.Helper()
	m, _ := newOffline(t, time.Hour)
	m.options.Providers = nil
	for _, p := range providers.All() {
		switch p.Spec().Name {
		case "oauth2":
			m.options.Providers = append(m.options.Providers, relocated{p, nil})
		case "sinch-india":
			m.options.Providers = append(m.options.Providers, relocated{p, []providers.Endpoint{
				{Environment: "production", TokenURL: w.honest.URL}, {Environment: "uat", TokenURL: w.evil.URL},
			}})
		}
	}
	m.start()
	// In attacks of kind 5, the attacker writes only definitions, and the operator writes configs.
	kind %= 6
	applied := kind == 5
	operator, changes, definitions := w.operatorConfigs()[min(kind, 4)], w.changes(), w.definitions()
	for _, digest := range slices.Repeat(w.digests(t), 3) {
		changes = append(changes, fields{"adopt_definition": digest}, fields{"adopt_definition": digest, "verify_connection": false})
	}
	m.define(definitions[0])
	m.write("config/a", maps.Clone(operator)).want(t, http.StatusNoContent)
	var leases []answer
	next := func() int {
		if len(script) == 0 {
			return 0
		}
		b := script[0]
		script = script[1:]
		return int(b)
	}
	for len(script) > 0 {
		switch op := next() % 13; op {
		case 0, 1, 2, 3:
			data := fields{}
			for range next()%3 + 1 {
				maps.Copy(data, changes[next()%len(changes)])
			}
			write := m.write
			if op%2 == 1 {
				write = m.patch
			}
			if applied {
				data = maps.Clone(operator)
			}
			if a := write("config/a", data); a.status >= 500 && a.status != http.StatusBadGateway {
				t.Errorf("write of %v: got %d %s, want no 5xx except 502", data, a.status, a.text)
			}
			m.read("config/a")
		case 4:
			if !applied {
				m.delete("config/a")
			}
		case 5:
			m.rotate("a")
		case 6:
			if a := m.read("creds/a"); a.status == http.StatusOK && a.secret != nil {
				leases = append(leases, a)
			}
		case 7:
			if len(leases) > 0 {
				m.revokeLease(leases[0])
				leases = leases[1:]
			}
		case 8:
			m.clock.advance(time.Duration(next()) * 10 * time.Second)
			m.tick()
		case 9, 10:
			m.define(definitions[next()%len(definitions)])
		case 11:
			m.delete("providers/acme")
		case 12: // the operator starts over
			m.delete("config/a")
			m.define(definitions[0])
			m.write("config/a", maps.Clone(operator))
		}
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, request := range w.seen {
		for _, s := range append([]string{"honest-"}, secrets...) {
			for _, form := range []string{s, base64.StdEncoding.EncodeToString([]byte(s))} {
				if strings.Contains(request, form) {
					t.Errorf("the evil host got %s, want no %s in it", request, s)
				}
			}
		}
	}
	w.seen = nil
	m.wantNotLogged("panic")
}

func TestConfigWriterGetsNoSecretByAnySequence(t *testing.T) {
	w := newWitness(t)
	chance := rand.New(rand.NewPCG(1, 2))
	for i := range 200 {
		script := make([]byte, 60)
		for j := range script {
			script[j] = byte(chance.Uint32())
		}
		if w.attack(t, byte(i), script); t.Failed() {
			t.Fatalf("script %d: %x", i, script)
		}
	}
}

// A new revocation_url never gets a token of the old config.
func TestNewRevocationURLGetsNoOldToken(t *testing.T) {
	w := newWitness(t)
	for name, end := range map[string]func(*mount) answer{
		"rotate": func(m *mount) answer { m.clock.advance(time.Minute); return m.rotate("a") },
		"delete": func(m *mount) answer { return m.delete("config/a") },
	} {
		m := newMount(t)
		m.write("config/a", fields{"provider": "oauth2", "client_id": "open-to-all", "token_url": w.honest.URL}).want(t, http.StatusNoContent)
		m.token("a")
		m.patch("config/a", fields{"revocation_url": w.evil.URL, "verify_connection": false}).want(t, http.StatusNoContent)
		end(m)
		equal(t, name+": requests at the new endpoint", len(w.seen), 0)
	}
}

// Users see the fields of a config in their terminals.
func TestNothingThatIsShownHasControlCharacters(t *testing.T) {
	m := newMount(t)
	ca := newCA(t)
	for _, bad := range []string{"\x1b[2J", "\x07", "\u009b31m", "\x7f", "\x00", "a\u0085b"} {
		for field, data := range map[string]fields{
			"username":     m.sinch(fields{"username": "acme" + bad}),
			"ca_cert":      m.sinch(fields{"ca_cert": "# " + bad + "\n" + ca}),
			"token_url":    m.sinch(fields{"token_url": "https://auth.example.com/" + bad}),
			"token_params": m.oauth2(fields{"token_params": fields{"audience": "x" + bad}}),
			"scopes":       m.oauth2(fields{"scopes": []string{"x" + bad}}),
			"client_id":    m.oauth2(fields{"client_id": "x" + bad}),
		} {
			m.write("config/a", data).want(t, http.StatusBadRequest, field+": ")
		}
		m.write("config/a", m.oauth2(fields{"token_params": fields{bad: "x"}})).want(t, http.StatusBadRequest, "token_params: ")
	}
	m.write("config/a", m.sinch(fields{"ca_cert": "# our CA\r\n\tof 2026\n" + ca})).want(t, http.StatusNoContent)
	m.wantStored("config/a", "token/a")
}

// Vault's storage refuses names with two dots in a row, so the engine refuses them too.
func TestNamesThatStorageRefuses(t *testing.T) {
	m := newMount(t)
	m.storage.failWith(func(_, key string) error {
		if strings.Contains(key, "..") {
			return errors.New("relative paths not supported")
		}
		return nil
	})
	for _, a := range []answer{
		m.write("config/a..b", m.sinch(nil)), m.patch("config/a..b", m.sinch(nil)), m.delete("config/a..b"),
		m.read("config/a..b"), m.read("creds/a..b"), m.read("status/a...b"), m.rotate("a..b"),
	} {
		a.want(t, http.StatusBadRequest, "name: must not contain two dots in a row")
	}
	m.write("config/a.b", m.sinch(nil)).want(t, http.StatusNoContent)
	m.wantNotLogged("request failed")
}

// The answer to a huge input is short, and nothing is stored.
func TestHugeInputs(t *testing.T) {
	m := newMount(t)
	huge := strings.Repeat("x", 4<<20)
	many := fields{}
	for i := range 20_000 {
		many[fmt.Sprint("k", i)] = "v"
	}
	check := func(field string, a answer) {
		t.Helper()
		if a.status != http.StatusBadRequest || len(a.text) > 300 {
			t.Errorf("%s: got %d with %d bytes, want 400 with at most 300", field, a.status, len(a.text))
		}
	}
	for field, value := range map[string]any{
		"username": huge, "password": huge, "token_url": "https://" + huge, "ca_cert": huge, "min_ttl": huge, "lease": huge, "provider": huge,
	} {
		check(field, m.write("config/a", m.sinch(fields{field: value})))
	}
	for field, value := range map[string]any{
		"token_params": many, "scopes": slices.Repeat([]string{"word"}, 20_000), "client_secret": huge, "client_id": huge, "grant_type": huge,
	} {
		check(field, m.write("config/a", m.oauth2(fields{field: value})))
	}
	check("min_ttl of creds", m.request(logical.ReadOperation, "creds/a", fields{"min_ttl": huge}))
	m.wantStored()
}
