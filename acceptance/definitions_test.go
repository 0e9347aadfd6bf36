// SPDX-License-Identifier: MPL-2.0

package acceptance

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"vault-plugin-secrets-messaging/acceptance/harness"
)

// strangers simulates the provider in docs/adding-a-provider.md. It records each request's body.
type strangers struct {
	mu   sync.Mutex
	seen []string
}

func (s *strangers) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.seen = append(s.seen, string(body))
	var login struct{ ID, Secret string }
	w.Header().Set("Content-Type", "application/json")
	if r.Method != http.MethodPost || json.Unmarshal(body, &login) != nil || login.ID != "shop-1" || login.Secret != "correct-horse" {
		w.WriteHeader(http.StatusBadRequest)
		_, _ = io.WriteString(w, `{"reason": "bad_key", "text": "No such key"}`)
		return
	}
	_ = json.NewEncoder(w).Encode(map[string]any{"data": map[string]any{
		"token": fmt.Sprintf("pb-%d", len(s.seen)), "valid_for": 900, "base_url": "https://eu.parcelbird.example"}})
}

// requests returns the recorded bodies and clears the record.
func (s *strangers) requests() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	seen := s.seen
	s.seen = nil
	return seen
}

// acmeDefinition defines the provider strangers at this URL.
func acmeDefinition(url string) string {
	return fmt.Sprintf(`title: Acme
fields:
  api_user: {description: The user., required: true}
  api_password: {description: The password., required: true, secret: true}
endpoints: {production: %q}
http:
  json: {id: "{api_user}", secret: "{api_password}"}
  token: /data/token
  lifetime: {seconds: /data/valid_for}
  outputs: {base_url: /data/base_url}
  errors: {code: [/reason], message: [/text], refused: {code: [bad_key]}}
`, url)
}

// Three commands define a provider and get a token. If the definition changes, the config keeps the
// old endpoint.
func TestOwnDefinitions(t *testing.T) {
	honest, evil := &strangers{}, &strangers{}
	var urls []string
	for _, s := range []*strangers{honest, evil} {
		server := httptest.NewServer(s)
		t.Cleanup(server.Close)
		urls = append(urls, server.URL)
	}
	dir := t.TempDir()
	harness.WriteFile(t, dir, "acme.yaml", acmeDefinition(urls[0]))
	harness.WriteFile(t, dir, "evil.yaml", acmeDefinition(urls[1]))
	s := harness.StartDev(t)
	s.InstallPlugin(t)
	out := s.Shell(t, dir, `
vault write messaging/providers/acme definition=@acme.yaml
vault write messaging/config/a provider=acme api_user=shop-1 api_password=correct-horse
vault read messaging/creds/a`).OK(t).Stdout
	if !strings.Contains(out, "pb-1") || !strings.Contains(out, "https://eu.parcelbird.example") {
		t.Errorf("got the output\n%s\nwant the token pb-1 and its base_url", out)
	}
	whole := harness.Fields{"provider": "acme", "api_user": "shop-1", "api_password": "correct-horse", "verify_connection": true}
	check := func(when string) {
		t.Helper()
		honest.requests()
		if r := s.Write(t, "messaging/config/a", whole).OK(t); len(r.Warnings) > 0 {
			t.Errorf("%s: got the warnings %q, want none", when, r.Warnings)
		}
		s.Patch(t, "messaging/config/a", harness.Fields{"min_ttl": 5}).OK(t)
		s.Read(t, "messaging/creds/a").OK(t)
		if got := honest.requests(); len(got) != 1 {
			t.Errorf("%s: got %q at the old endpoint, want one login", when, got)
		}
		if got := evil.requests(); len(got) > 0 {
			t.Errorf("%s: got %q at the new endpoint, want nothing", when, got)
		}
	}
	check("before")
	s.Shell(t, dir, "vault write messaging/providers/acme definition=@evil.yaml").OK(t)
	check("after the edit")
	s.KillPlugin(t)
	check("after a restart of the plugin")
	digest := s.Read(t, "messaging/providers/acme").OK(t).Text("digest")
	s.Write(t, "messaging/config/a", harness.Fields{"adopt_definition": digest}).Refused(t, 400, "adopt_definition: ", "write api_password again")
	s.Delete(t, "messaging/providers/acme").OK(t)
	check("after the deletion")
	s.Shell(t, dir, "vault write messaging/providers/acme definition=@evil.yaml").OK(t)
	s.Write(t, "messaging/config/a", harness.Fields{"adopt_definition": digest, "api_password": "correct-horse"}).OK(t)
	if got := evil.requests(); len(got) != 1 {
		t.Errorf("after the adoption: got %q at the new endpoint, want one login", got)
	}
	s.Write(t, "messaging/config/a", harness.Fields{"nickname": "x"}).Refused(t, 400, "nickname: is not a field of acme, which takes api_user, api_password")
	if help := s.CLI(t, "path-help", "messaging/providers/acme").OK(t).Stdout; !strings.Contains(help, "definition=@acme.yaml") {
		t.Errorf("path-help: got\n%s\nwant definition=@acme.yaml in it", help)
	}
}

// The commands of docs/adding-a-provider.md work as written. The answers look like the page's
// samples.
func TestAddingAProvider(t *testing.T) {
	parcelbird := &strangers{}
	s := harness.StartDevWith(t, harness.Options{Env: harness.Internet(t, parcelbird, "api.parcelbird.example", "sandbox.parcelbird.example")})
	s.InstallPlugin(t)
	page := harness.ReadFile(t, "../docs/adding-a-provider.md")
	dir := t.TempDir()
	harness.WriteFile(t, dir, "key.txt", "correct-horse\n")
	var outputs []string
	for _, block := range harness.CodeBlocks(t, page, "sh") {
		t.Log("$ " + block)
		outputs = append(outputs, s.Shell(t, dir, block).OK(t).Stdout)
	}
	if len(outputs) != 3 {
		t.Fatalf("docs/adding-a-provider.md: got %d blocks of commands, want 3", len(outputs))
	}
	for _, name := range outputNames(page) {
		if !strings.Contains(outputs[1], "\n"+name+" ") {
			t.Errorf("got the output\n%s\nwant %s as in the sample", outputs[1], name)
		}
	}
	if got := strings.Fields(outputs[2]); len(got) < 2 || got[len(got)-1] != "true" || !strings.Contains(outputs[2], "false") {
		t.Errorf("got the output\n%s\nwant definition_current false, and at last true", outputs[2])
	}
	if got := parcelbird.requests(); len(got) != 2 {
		t.Errorf("got %q, want one login of the first write and one of the adoption", got)
	}
	s.Write(t, "messaging/config/wrong", harness.Fields{"provider": "parcelbird", "key_id": "shop-1", "key_secret": "wrong"}).
		Refused(t, 400, `credentials refused: api.parcelbird.example/v2/tokens answered 400 Bad Request: bad_key "No such key"`)
}
