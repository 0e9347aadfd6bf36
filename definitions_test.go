// SPDX-License-Identifier: MPL-2.0

package messaging

import (
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// acme is the server of a provider that operators add by a definition. It records requests.
type acme struct {
	url string

	mu   sync.Mutex
	seen []string // the bodies of the requests
}

func newAcme(t testing.TB) *acme {
	a := &acme{}
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		a.mu.Lock()
		defer a.mu.Unlock()
		a.seen = append(a.seen, string(body))
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(fields{"data": fields{
			"token": fmt.Sprintf("acme-token-%d", len(a.seen)), "expires_in": 3600, "base_url": "https://eu.acme.example"}})
	}))
	t.Cleanup(s.Close)
	a.url = s.URL + "/v1/login"
	return a
}

// requests returns the bodies of the requests since the previous call.
func (a *acme) requests() []string {
	a.mu.Lock()
	defer a.mu.Unlock()
	seen := a.seen
	a.seen = nil
	return seen
}

// definition returns a definition of acme with the given title.
func (a *acme) definition(title string) string {
	return fmt.Sprintf(`title: %s
docs: https://docs.acme.example/auth
known: reported
fields:
  api_user:
    description: User name of the API account (Acme console, Settings, API).
    required: true
  api_password:
    description: Password of the API account.
    required: true
    secret: true
  region:
    description: Region of the account.
    allowed: [eu, us]
    default: eu
  labels: {description: Labels of the token., kind: map}
endpoints: {production: %q}
http:
  json: {user: "{api_user}", password: "{api_password}", region: "{region}"}
  token: /data/token
  lifetime: {seconds: /data/expires_in}
  outputs: {base_url: /data/base_url}
usage: "X-Acme-Token: {token}"
`, title, a.url)
}

// acmeConfig is the data of a config of acme.
var acmeConfig = fields{"provider": "acme", "api_user": "alice", "api_password": "correct-horse"}

// define writes a definition of acme and returns its digest.
func (m *mount) define(text string) string {
	m.t.Helper()
	a := m.write("providers/acme", fields{"definition": text})
	a.want(m.t, http.StatusOK)
	return a.data["digest"].(string)
}

// newAcmeMount makes a mount, defines acme and writes config/a.
func newAcmeMount(t *testing.T) (m *mount, a *acme, digest string) {
	t.Helper()
	m, a = newMount(t), newAcme(t)
	digest = m.define(a.definition("Acme"))
	m.write("config/a", maps.Clone(acmeConfig)).want(t, http.StatusNoContent)
	return m, a, digest
}

// wantDefinitions fails the test unless exactly the definitions with these digests are stored.
func (m *mount) wantDefinitions(when string, digests ...string) {
	m.t.Helper()
	keys, err := m.storage.InmemStorage.List(m.t.Context(), "definition/")
	if err != nil {
		m.t.Fatal(err)
	}
	slices.Sort(digests)
	got, want := strings.Join(keys, " "), strings.ReplaceAll(strings.Join(digests, " "), "sha256:", "")
	equal(m.t, "definitions "+when, got, want)
}

// An operator adds an unknown provider with three commands.
func TestDefinitionInThreeCommands(t *testing.T) {
	m, acme := newMount(t), newAcme(t)
	m.write("providers/acme", fields{"definition": acme.definition("Acme")}).want(t, http.StatusOK)
	m.write("config/a", maps.Clone(acmeConfig)).want(t, http.StatusNoContent)
	want := fields{"access_token": "acme-token-1", "provider": "acme", "base_url": "https://eu.acme.example"}
	m.read("creds/a").wantData(t, want)
	if got := acme.requests(); len(got) != 1 || !strings.Contains(got[0], `"password":"correct-horse"`) || !strings.Contains(got[0], `"region":"eu"`) {
		t.Errorf("got the requests %q, want one with the password and the default region", got)
	}
	m.restart().read("creds/a").wantData(t, want)
}

// An edited or deleted definition does not change existing configs. To change a config's
// definition, a write needs adopt_definition and all secrets.
func TestDefinitionIsPinned(t *testing.T) {
	m, honest, first := newAcmeMount(t)
	m.write("config/b", maps.Clone(acmeConfig)).want(t, http.StatusNoContent)
	evil := newAcme(t)
	honest.requests()

	whole := with(maps.Clone(acmeConfig), fields{"verify_connection": true})
	a := m.write("providers/acme", fields{"definition": evil.definition("Evil")}).want(t, http.StatusOK)
	a.wantWarning(t, "2 configs keep the definition that they were written with")
	second := a.data["digest"].(string)
	m.wantDefinitions("after the edit", first, second)
	check := func(when string, current bool) {
		t.Helper()
		m.write("config/a", maps.Clone(whole)).want(t, http.StatusNoContent)
		m.patch("config/a", fields{"api_password": "correct-horse", "provider": "acme", "region": "us"}).want(t, http.StatusNoContent)
		m.clock.advance(time.Minute)
		m.rotate("a").want(t, http.StatusOK)
		n := m.restart()
		n.clock.advance(time.Minute)
		n.rotate("a").want(t, http.StatusOK)
		if got := honest.requests(); len(got) < 3 {
			t.Errorf("%s: got %d requests at the old endpoint, want all of the logins", when, len(got))
		}
		equal(t, when+": requests at the new endpoint", len(evil.requests()), 0)
		m.read("config/a").wantData(t, fields{"definition": first, "definition_current": current, "token_url": honest.url})
	}
	check("after the edit", false)
	m.delete("providers/acme").want(t, http.StatusNoContent)
	check("after the deletion", false)
	m.wantDefinitions("after the deletion", first)
	m.write("config/new", maps.Clone(acmeConfig)).want(t, http.StatusBadRequest, "provider: there is no provider of this name; list providers/ for the names")
	m.define(evil.definition("Evil"))
	check("after the name was used again", false)

	for _, data := range []fields{
		{"adopt_definition": second},
		{"adopt_definition": second, "provider": "acme", "verify_connection": false, "api_user": "alice"},
	} {
		m.write("config/a", maps.Clone(data)).want(t, http.StatusBadRequest,
			"adopt_definition: this change affects where or how api_password is sent; write api_password again in the same request")
		m.patch("config/a", maps.Clone(data)).want(t, http.StatusBadRequest, "adopt_definition: ")
		equal(t, "requests at the new endpoint", len(evil.requests()), 0)
	}
	m.write("config/a", fields{"adopt_definition": "sha256:0", "api_password": "correct-horse"}).want(t, http.StatusBadRequest,
		"adopt_definition: must be the digest of the definition that providers/acme shows, "+second)
	old := m.token("a")
	m.write("config/a", fields{"adopt_definition": second, "api_password": "hunter2-of-evil"}).want(t, http.StatusNoContent)
	differ(t, "token after the adoption", m.token("a"), old)
	if got := evil.requests(); len(got) != 1 || strings.Contains(got[0], "correct-horse") {
		t.Errorf("got %q at the new endpoint, want one request with the new password", got)
	}
	m.read("config/a").wantData(t, fields{"definition": second, "definition_current": true, "region": "us"})
	// A tool may repeat adopt_definition in each write.
	m.write("config/a", with(maps.Clone(whole), fields{"adopt_definition": second})).want(t, http.StatusNoContent)
	m.write("config/b", with(maps.Clone(whole), fields{"adopt_definition": second})).want(t, http.StatusNoContent)
	m.wantDefinitions("after both adopted", second)
}

// A secret field stays secret until the config adopts a definition that makes the field public.
func TestAdoptedDefinitionThatShowsASecret(t *testing.T) {
	m, acme, _ := newAcmeMount(t)
	shows := strings.Replace(acme.definition("Shows"), "    required: true\n    secret: true\n", "", 1)
	digest := m.define(shows)
	m.write("config/a", fields{"adopt_definition": digest, "verify_connection": false}).want(t, http.StatusBadRequest,
		"adopt_definition: this change affects where or how api_password is sent")
	m.write("config/a", fields{"adopt_definition": digest, "api_password": nil, "verify_connection": false}).want(t, http.StatusBadRequest,
		"adopt_definition: a request that removes api_password cannot change where or how secrets are sent")
	m.write("config/a", fields{"adopt_definition": digest, "api_password": "public", "verify_connection": false}).want(t, http.StatusNoContent)
	equal(t, "api_password", m.read("config/a").data["api_password"], "public")
}

// A write that adopts a new definition must repeat client_key, because the new definition can
// use the key at another host.
func TestAdoptedDefinitionNeedsTheClientKey(t *testing.T) {
	m, acme, _ := newAcmeMount(t)
	cert, key := clientCert(t, longAgo, farAway)
	m.write("config/b", with(maps.Clone(acmeConfig), fields{"token_url": "https://127.0.0.1:1/", "client_cert": cert, "client_key": key, "verify_connection": false})).
		want(t, http.StatusNoContent)
	adopt := fields{"adopt_definition": m.define(acme.definition("Other")), "api_password": "correct-horse", "verify_connection": false}
	m.write("config/b", adopt).want(t, http.StatusBadRequest, "adopt_definition: this change affects where or how client_key is sent; write client_key again in the same request")
	m.write("config/b", with(maps.Clone(adopt), fields{"client_cert": nil, "client_key": nil})).want(t, http.StatusBadRequest,
		"adopt_definition: a request that removes client_key cannot change where or how secrets are sent")
	m.write("config/b", with(adopt, fields{"client_key": key})).want(t, http.StatusNoContent)
}

// When a config adopts a definition, fields that do not fit the new definition are removed.
func TestAdoptedDefinitionWithOtherFields(t *testing.T) {
	m, acme, _ := newAcmeMount(t)
	m.patch("config/a", fields{"labels": fields{"a": "b"}, "region": "us"}).want(t, http.StatusNoContent)
	text := strings.Replace(acme.definition("Other"), "kind: map", "kind: list", 1)
	digest := m.define(strings.Replace(text, "[eu, us]", "[eu, asia]", 1))
	m.write("config/a", fields{"adopt_definition": digest, "api_password": "correct-horse"}).want(t, http.StatusNoContent)
	m.read("config/a").wantData(t, fields{"labels": nil, "region": "eu", "api_user": "alice"})
}

// In the first write of a config, adopt_definition must be the digest of the current definition.
func TestAdoptDefinitionInFirstWrite(t *testing.T) {
	m, _, digest := newAcmeMount(t)
	m.write("config/b", with(maps.Clone(acmeConfig), fields{"adopt_definition": "sha256:" + strings.Repeat("0", 64)})).
		want(t, http.StatusBadRequest, "adopt_definition: must be the digest of the definition that providers/acme shows, "+digest)
	m.write("config/b", with(maps.Clone(acmeConfig), fields{"adopt_definition": digest})).want(t, http.StatusNoContent)
	m.write("config/c", m.sinch(fields{"adopt_definition": digest})).want(t, http.StatusBadRequest, "adopt_definition: ")
	m.write("config/d", fields{"provider": "nobody", "adopt_definition": digest}).want(t, http.StatusBadRequest, "adopt_definition: providers/nobody has no definition to adopt")
}

// Fields from a definition get the same checks as fields of a built-in provider.
func TestDefinitionFields(t *testing.T) {
	m, acme, _ := newAcmeMount(t)
	for _, test := range []struct {
		change fields
		text   string // "" if the change is accepted
	}{
		{fields{"nickname": "x"}, "nickname: is not a field of acme, which takes api_user, api_password, region, labels"},
		{fields{"username": "x"}, "username: is not a field of acme, which takes api_user"},
		{fields{"api_user": nil}, "api_user: is required by acme"},
		{fields{"api_user": true}, "api_user: must be a string"},
		{fields{"api_user": []string{"x"}}, "api_user: must be a string"},
		{fields{"api_user": strings.Repeat("x", 1025)}, "api_user: must be at most 1024 bytes long"},
		{fields{"api_password": strings.Repeat("hunter2", 2000)}, "api_password: must be at most 8192 bytes long"},
		{fields{"api_user": "a\x00b"}, "api_user: must not contain control characters"},
		{fields{"region": "asia"}, "region: must be one of eu, us"},
		{fields{"labels": "x"}, "labels: must be a map of strings"},
		{fields{"environment": "production"}, "environment: acme has a single environment"},
		{fields{"revocation_url": "https://acme.example/"}, "revocation_url: acme cannot revoke tokens"},
		{fields{"region": "us"}, ""},
		{fields{"region": nil}, ""},
		{fields{"labels": fields{"a": "b"}}, ""},
	} {
		a := m.patch("config/a", with(maps.Clone(test.change), fields{"verify_connection": false}))
		if test.text == "" {
			a.want(t, http.StatusNoContent)
		} else {
			a.want(t, http.StatusBadRequest, test.text)
		}
	}
	acme.requests()
	m.patch("config/a", fields{"labels": fields{"c": "d"}}).want(t, http.StatusNoContent)
	m.read("config/a").wantData(t, fields{"labels": map[string]any{"a": "b", "c": "d"}})
	equal(t, "warnings about unrecognized parameters", len(m.write("config/a", fields{"region": "us"}).warnings), 0)
}

// Some providers end the old token when they issue a new token. Their configs refresh early only
// with a refresh_window.
func TestExclusiveProvider(t *testing.T) {
	acme := newAcme(t)
	m := newMount(t)
	m.define(acme.definition("Acme") + "exclusive: true\n")
	m.write("config/a", maps.Clone(acmeConfig)).want(t, http.StatusNoContent)
	m.clock.advance(59 * time.Minute)
	equal(t, "refresh_due_time", m.status("refresh_due_time"), "")
	m.token("a")
	m.tick()
	equal(t, "token", m.token("a"), "acme-token-1")
	m.write("config/a", fields{"refresh_window": "10m"}).want(t, http.StatusNoContent)
	differ(t, "refresh_due_time with a refresh_window", m.status("refresh_due_time"), "")
}
