// SPDX-License-Identifier: MPL-2.0

package messaging

import (
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

// Storage keeps a definition as long as a provider or a config uses the definition.
func TestUnusedDefinitionsAreRemoved(t *testing.T) {
	m, acme, first := newAcmeMount(t)
	m.write("providers/same", fields{"definition": acme.definition("Acme")}).want(t, http.StatusOK)
	m.wantDefinitions("with two names", first)
	second := m.define(acme.definition("Second"))
	m.wantDefinitions("after an edit", first, second)
	third := m.define(acme.definition("Third"))
	m.wantDefinitions("after an edit of an unused definition", first, third)
	m.delete("providers/same").wantWarning(t, "1 config keeps the definition that it was written with")
	m.wantDefinitions("with a config", first, third)
	m.delete("config/a").want(t, http.StatusNoContent)
	m.wantDefinitions("after the config is deleted", third)
	m.write("config/a", maps.Clone(acmeConfig)).want(t, http.StatusNoContent)
	m.delete("providers/acme").want(t, http.StatusOK)
	m.wantDefinitions("after the name is deleted", third)
	m.delete("config/a").want(t, http.StatusNoContent)
	m.wantDefinitions("after all is deleted")
	for _, prefix := range []string{"pin/", "provider/", "definition/"} {
		if keys, err := m.storage.InmemStorage.List(t.Context(), prefix); err != nil || len(keys) > 0 {
			t.Errorf("%s: got %q, %v in storage, want nothing", prefix, keys, err)
		}
	}
}

// A config keeps its definition even if somebody deletes the definition during the write.
func TestDefinitionRemovedDuringAWrite(t *testing.T) {
	m := newMount(t)
	var during func()
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		during()
		_, _ = io.WriteString(w, `{"data": {"token": "t-1", "expires_in": 3600}}`)
	}))
	t.Cleanup(s.Close)
	acme := &acme{url: s.URL}
	digest := m.define(acme.definition("Acme"))
	during = func() { m.delete("providers/acme") }
	m.write("config/a", maps.Clone(acmeConfig)).want(t, http.StatusNoContent)
	m.wantDefinitions("after the write", digest)
	m.restart().token("a")
}

// Other nodes follow what this node stores.
func TestDefinitionsOnOtherNodes(t *testing.T) {
	m, acme, first := newAcmeMount(t)
	other := m.restart()
	other.token("a")
	second := m.define(acme.definition("Second"))
	m.write("config/a", fields{"adopt_definition": second, "api_password": "correct-horse"}).want(t, http.StatusNoContent)
	for _, key := range []string{"definition/" + strings.TrimPrefix(first, "sha256:"), "pin/x/a", "provider/acme", "config/a", "token/a"} {
		other.InvalidateKey(t.Context(), key)
	}
	other.read("config/a").wantData(t, fields{"definition": second, "definition_current": true})
	equal(t, "token", other.token("a"), m.token("a"))
	equal(t, "title", other.read("providers/acme").data["title"], "Second")
}

// If a stored definition is damaged or missing, paths that need the definition return a 500. The
// provider and its configs can still be deleted.
func TestStoredDefinitionOfNoUse(t *testing.T) {
	for name, spoil := range map[string]func(m *mount, key string){
		"missing":   func(m *mount, key string) { _ = m.storage.InmemStorage.Delete(t.Context(), key) },
		"damaged":   func(m *mount, key string) { m.storage.put(key, `{"version":`) },
		"newer":     func(m *mount, key string) { m.storage.put(key, `{"version":2}`) },
		"refused":   func(m *mount, key string) { m.storage.put(key, `{"version":1,"text":"{"}`) },
		"of others": func(m *mount, key string) { m.storage.put(key, `{"version":1,"text":"title: x"}`) },
		"bad name":  func(m *mount, _ string) { m.storage.put("provider/acme", `{"version":1,"digest":"sha256:../x"}`) },
	} {
		t.Run(name, func(t *testing.T) {
			m, acme, digest := newAcmeMount(t)
			spoil(m, "definition/"+strings.TrimPrefix(digest, "sha256:"))
			m = m.restart()
			m.read("providers/acme").want(t, http.StatusInternalServerError, "cannot be used: ")
			m.write("config/new", maps.Clone(acmeConfig)).want(t, http.StatusInternalServerError, "cannot be used: ")
			m.list("providers/").want(t, http.StatusOK)
			if name != "bad name" {
				for _, a := range []answer{m.read("config/a"), m.read("creds/a"), m.read("status/a"), m.rotate("a"), m.write("config/a", fields{"min_ttl": 5})} {
					a.want(t, http.StatusInternalServerError, `config "a": the stored definition/`, "cannot be used: ")
				}
				m.list("status/").want(t, http.StatusOK)
			}
			m.delete("config/a").want(t, http.StatusNoContent)
			m.delete("providers/acme").want(t, http.StatusNoContent)
			m.wantDefinitions("after all is deleted")
			m.define(acme.definition("Acme"))
			m.write("config/a", maps.Clone(acmeConfig)).want(t, http.StatusNoContent)
			m.token("a")
		})
	}
}

// After any storage fault, every config has its definition. The next change removes unused
// definitions.
func TestDefinitionStorageFaults(t *testing.T) {
	acme := newAcme(t)
	second := acme.definition("Second")
	for name, do := range map[string]func(m *mount) answer{
		"define":        func(m *mount) answer { return m.write("providers/other", fields{"definition": second}) },
		"redefine":      func(m *mount) answer { return m.write("providers/acme", fields{"definition": second}) },
		"delete":        func(m *mount) answer { return m.delete("providers/acme") },
		"read":          func(m *mount) answer { return m.read("providers/acme") },
		"list":          func(m *mount) answer { return m.list("providers/") },
		"create":        func(m *mount) answer { return m.write("config/b", maps.Clone(acmeConfig)) },
		"read config":   func(m *mount) answer { return m.read("config/a") },
		"creds":         func(m *mount) answer { return m.read("creds/a") },
		"delete config": func(m *mount) answer { return m.delete("config/a") },
		"delete outdated": func(m *mount) answer {
			if a := m.write("providers/acme", fields{"definition": second}); a.status >= 300 {
				return a
			}
			return m.delete("config/a")
		},
		"adopt": func(m *mount) answer {
			digest := m.write("providers/acme", fields{"definition": second})
			if digest.status >= 300 {
				return digest
			}
			return m.write("config/a", fields{"adopt_definition": digest.data["digest"], "api_password": "correct-horse"})
		},
	} {
		t.Run(name, func(t *testing.T) {
			for failing := 1; ; failing++ {
				m := newMount(t)
				m.define(acme.definition("Acme"))
				m.write("config/a", maps.Clone(acmeConfig)).want(t, http.StatusNoContent)
				m = m.restart()
				failed := m.storage.failCall(failing)
				a := do(m)
				m.storage.failWith(nil)
				switch {
				case *failed == "" && a.status >= 300:
					t.Errorf("without a fault: got %d %s, want success", a.status, a.text)
				case *failed != "" && a.status >= 300 && (a.status != http.StatusInternalServerError || !strings.Contains(a.text, errStorage.Error())):
					t.Errorf("%s failed: got %d %s, want success or a 500 with %q", *failed, a.status, a.text, errStorage)
				}
				for _, n := range []*mount{m, m.restart()} {
					for _, config := range []string{"a", "b"} {
						if n.read("config/"+config).status == http.StatusOK {
							n.token(config)
						}
					}
				}
				if a := do(m); *failed != "" {
					a.succeeded(t, "after "+*failed+" failed")
				}
				for _, path := range []string{"config/a", "config/b", "providers/acme", "providers/other"} {
					m.delete(path).succeeded(t, "at the end")
				}
				m.wantDefinitions("after " + *failed + " failed once and all is deleted")
				if *failed == "" {
					break
				}
			}
		})
	}
}
