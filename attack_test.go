// SPDX-License-Identifier: MPL-2.0

package messaging

import (
	"context"
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

// witness is two providers: the one that an operator configured, whose tokens all
// begin with honest-, and the host of somebody who may write configs, reset them and
// rotate, but knows no secret and may not read creds. That host remembers what it is
// sent, and plays along.
type witness struct {
	honest, evil *httptest.Server
	minted       atomic.Int64

	mu   sync.Mutex
	seen []string
}

func newWitness(t testing.TB) *witness {
	w := &witness{}
	serve := func(prefix string, takes func(request string) bool) *httptest.Server {
		s := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
			body, _ := io.ReadAll(r.Body)
			user, password, _ := r.BasicAuth()
			decoded, _ := url.QueryUnescape(string(body) + " " + user + " " + password)
			rw.Header().Set("Content-Type", "application/json")
			if !takes(fmt.Sprintf("%s %v %s %s", r.URL, r.Header, body, decoded)) {
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

// relocated is a provider with other endpoints, none if there are none, and whose
// logins need not wait for each other.
type relocated struct {
	revocable
	endpoints []providers.Endpoint
}

// revocable is what sinch-india and oauth2 can do.
type revocable interface {
	providers.Provider
	providers.Refresher
	providers.Revoker
}

func (r relocated) Spec() providers.Spec {
	spec := r.revocable.Spec()
	spec.Endpoints = r.endpoints
	return spec
}

func (r relocated) Validate(s providers.Settings) error {
	if v, ok := r.revocable.(providers.Validator); ok {
		return v.Validate(s)
	}
	return nil
}

// operators are the configs that the operator writes.
func (w *witness) operators() []fields {
	return []fields{
		{"provider": "sinch-india", "username": "acme", "password": "correct-horse", "revocation_url": w.honest.URL + "/revoke"},
		{"provider": "oauth2", "client_id": "generic-client", "client_secret": "generic-secret", "token_url": w.honest.URL, "revocation_url": w.honest.URL + "/revoke"},
		{"provider": "oauth2", "client_id": "generic-client", "client_secret": "generic-secret", "token_url": w.honest.URL, "grant_type": "password", "username": "alice", "password": "wonderland"},
		{"provider": "oauth2", "client_id": "public-client", "token_url": w.honest.URL, "grant_type": "password", "username": "alice", "password": "wonderland", "share": false, "revocation_url": w.honest.URL + "/revoke"},
	}
}

// levers are what the writer may put into a write.
func (w *witness) levers() []fields {
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
		{"verify_connection": true}, {"verify_connection": false}, {"provider": "oauth2"}, {"provider": "sinch-india"},
	}
}

// attack runs a script of writes, deletions, rotations, lease ends and honest reads
// on one config, and fails the test if the writer's host was sent a secret or a token
// of the operator's.
func (w *witness) attack(t *testing.T, kind byte, script []byte) {
	t.Helper()
	m, _ := newOffline(t, time.Hour)
	m.options.Providers = nil
	for _, p := range providers.All() {
		switch p.Spec().Name {
		case "oauth2":
			m.options.Providers = append(m.options.Providers, relocated{p.(revocable), nil})
		case "sinch-india":
			m.options.Providers = append(m.options.Providers, relocated{p.(revocable), []providers.Endpoint{
				{Environment: "production", TokenURL: w.honest.URL}, {Environment: "uat", TokenURL: w.evil.URL},
			}})
		}
	}
	m.start()
	operator, levers := w.operators()[int(kind)%4], w.levers()
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
		switch op := next() % 10; op {
		case 0, 1, 2, 3:
			data := fields{}
			for range next()%3 + 1 {
				maps.Copy(data, levers[next()%len(levers)])
			}
			write := m.write
			if op%2 == 1 {
				write = m.patch
			}
			if a := write("config/a", data); a.status >= 500 && a.status != http.StatusBadGateway {
				t.Errorf("%d %s", a.status, a.text)
			}
		case 4:
			m.delete("config/a")
		case 5:
			m.request(logical.UpdateOperation, "rotate/a", nil)
		case 6:
			if a := m.read("creds/a"); a.status == http.StatusOK && a.secret != nil {
				leases = append(leases, a)
			}
		case 7:
			if len(leases) > 0 {
				m.end(leases[0])
				leases = leases[1:]
			}
		case 8:
			m.clock.advance(time.Duration(next()) * 10 * time.Second)
			m.tick()
		case 9: // the operator begins anew
			m.delete("config/a")
			m.write("config/a", maps.Clone(operator))
		}
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, request := range w.seen {
		for _, s := range append([]string{"honest-"}, secrets...) {
			for _, form := range []string{s, base64.StdEncoding.EncodeToString([]byte(s))} {
				if strings.Contains(request, form) {
					t.Errorf("the writer's host was sent %s: %s", s, request)
				}
			}
		}
	}
	w.seen = nil
	m.sound()
}

// Who may write a config and rotate, delete and write it again, but knows neither its
// secret nor may read its token, gets neither: by scripts of chance.
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

// Whoever writes another revocation_url is not sent the token that others hold: also
// where the account has no secret that the write would have to carry.
func TestNewRevocationURLGetsNoOldToken(t *testing.T) {
	w := newWitness(t)
	for name, end := range map[string]func(*mount) answer{
		"rotate": func(m *mount) answer { m.clock.advance(time.Minute); return m.rotate("a") },
		"delete": func(m *mount) answer { return m.delete("config/a") },
	} {
		t.Run(name, func(t *testing.T) {
			m := newMount(t)
			m.write("config/a", fields{"provider": "oauth2", "client_id": "open-to-all", "token_url": w.honest.URL}).want(t, http.StatusNoContent)
			m.token("a")
			m.patch("config/a", fields{"revocation_url": w.evil.URL, "verify_connection": false}).want(t, http.StatusNoContent)
			end(m)
			if len(w.seen) > 0 {
				t.Errorf("the new endpoint was sent %q", w.seen)
			}
		})
	}
}

// What one config's revocation endpoint says to it, and whether it can be reached
// with its certificates, holds up no one else's revocations.
func TestRevocationsOfOneConfigDoNotHoldUpAnothers(t *testing.T) {
	m := newMount(t)
	m.write("config/a", m.revocable(fields{"share": false})).want(t, http.StatusNoContent)
	m.write("config/b", m.revocable(fields{"share": false})).want(t, http.StatusNoContent)
	a, b := m.read("creds/a"), m.read("creds/b")
	m.set(`{"faults": [{"kind": "invalid-client", "on": "revoke", "count": 1}]}`)
	m.end(a)
	m.end(b)
	if m.queued() != 1 || m.alive(b.data["access_token"].(string)) {
		t.Errorf("%d queued; b's token is alive: %v", m.queued(), m.alive(b.data["access_token"].(string)))
	}
}

// Who gives up while a token of their own is minted gets no lease: the token is ended,
// since nothing else would.
func TestUnsharedTokenOfAReaderWhoLeftIsEnded(t *testing.T) {
	m := newMount(t)
	m.write("config/a", m.revocable(fields{"share": false})).want(t, http.StatusNoContent)
	before := m.sim.State().Total
	m.set(`{"latency": 0.3}`)
	ctx, leave := context.WithCancel(t.Context())
	done := make(chan error)
	go func() {
		_, err := m.HandleRequest(ctx, &logical.Request{Operation: logical.ReadOperation, Path: "creds/a", Storage: m.storage})
		done <- err
	}()
	eventually(t, "the provider is asked", func() bool { return m.sim.State().Total.Requests > before.Requests })
	leave()
	if err := <-done; err == nil {
		t.Error("the read succeeded")
	}
	if got := m.sim.State().Total; got.LoginsSucceeded-before.LoginsSucceeded != 1 || got.RevocationsSucceeded == before.RevocationsSucceeded {
		t.Errorf("%+v, before it %+v", got, before)
	}
}

// A config is shown to those who read it as it is: nothing in it may make their
// terminal do anything.
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
	if keys := m.storage.keys(); len(keys) != 2 {
		t.Errorf("stored: %q", keys)
	}
}

// Vault's storage refuses keys with two dots in a row, which the pattern of names
// lets through: that is the user's to mend, and no error of the server's.
func TestNamesThatStorageRefuses(t *testing.T) {
	m := newMount(t)
	m.storage.failing(func(op, key string) error {
		if strings.Contains(key, "..") {
			return errors.New("relative paths not supported")
		}
		return nil
	})
	const text = "name: must not contain two dots in a row"
	m.write("config/a..b", m.sinch(nil)).want(t, http.StatusBadRequest, text)
	m.patch("config/a..b", m.sinch(nil)).want(t, http.StatusBadRequest, text)
	m.delete("config/a..b").want(t, http.StatusBadRequest, text)
	for _, path := range []string{"config/a..b", "creds/a..b", "status/a...b"} {
		m.read(path).want(t, http.StatusBadRequest, text)
	}
	m.rotate("a..b").want(t, http.StatusBadRequest, text)
	m.write("config/a.b", m.sinch(nil)).want(t, http.StatusNoContent)
	if m.log.String() != "" && strings.Contains(m.log.String(), "request failed") {
		t.Error("a name that is refused is logged as a failure")
	}
}

// However wide the input, an answer stays short and nothing is stored.
func TestHugeInputs(t *testing.T) {
	m := newMount(t)
	huge := strings.Repeat("x", 4<<20)
	many := fields{}
	for i := range 20_000 {
		many[fmt.Sprint("k", i)] = "v"
	}
	for field, value := range map[string]any{
		"username": huge, "password": huge, "token_url": "https://" + huge, "ca_cert": huge, "min_ttl": huge, "lease": huge, "provider": huge,
	} {
		if a := m.write("config/a", m.sinch(fields{field: value})); a.status != http.StatusBadRequest || len(a.text) > 300 {
			t.Errorf("%s: %d, %d bytes", field, a.status, len(a.text))
		}
	}
	for field, value := range map[string]any{
		"token_params": many, "scopes": slicesOf("word", 20_000), "client_secret": huge, "client_id": huge, "grant_type": huge,
	} {
		if a := m.write("config/a", m.oauth2(fields{field: value})); a.status != http.StatusBadRequest || len(a.text) > 300 {
			t.Errorf("%s: %d, %d bytes", field, a.status, len(a.text))
		}
	}
	if a := m.request(logical.ReadOperation, "creds/a", fields{"min_ttl": huge}); a.status != http.StatusBadRequest || len(a.text) > 300 {
		t.Errorf("min_ttl: %d, %d bytes", a.status, len(a.text))
	}
	if keys := m.storage.keys(); len(keys) > 0 {
		t.Errorf("stored: %q", keys)
	}
}

func slicesOf(word string, n int) []string {
	all := make([]string, n)
	for i := range all {
		all[i] = word
	}
	return all
}
