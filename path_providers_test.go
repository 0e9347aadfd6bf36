// SPDX-License-Identifier: MPL-2.0

package messaging

import (
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/hashicorp/vault/sdk/logical"

	"vault-plugin-secrets-messaging/providers"
)

func TestProvidersList(t *testing.T) {
	var want []string
	for _, p := range providers.All() {
		want = append(want, p.Spec().Name)
	}
	if got := newMount(t).list("providers/").data["keys"].([]string); !slices.Equal(got, want) || len(got) < 26 {
		t.Errorf("got %d providers %q, want at least 26: %q", len(got), got, want)
	}
}

func TestProvidersRead(t *testing.T) {
	m := newMount(t)
	m.read("providers/nobody").want(t, http.StatusNotFound)
	for _, p := range providers.All() {
		spec := p.Spec()
		got := m.read("providers/" + spec.Name).data
		shown := got["fields"].(map[string]string)
		if got["title"] != spec.Title || got["docs"] != spec.Docs || len(shown) != len(spec.Fields) {
			t.Errorf("%s: got %v, want description, docs and fields of %+v", spec.Name, got, spec)
		}
		for _, f := range spec.Fields {
			text := shown[f.Name]
			if !strings.HasPrefix(text, f.Description) || hasNote(text, "required") != f.Required || hasNote(text, "secret") != f.Secret {
				t.Errorf("%s: %s: got %q, want the description and notes of %+v", spec.Name, f.Name, text, f)
			}
		}
		endpoints := map[string]string{}
		for _, e := range spec.Endpoints {
			endpoints[e.Environment] = e.TokenURL
		}
		if !maps.Equal(got["endpoints"].(map[string]string), endpoints) {
			t.Errorf("%s: got the endpoints %v, want %v", spec.Name, got["endpoints"], endpoints)
		}
	}
}

// hasNote reports whether the parentheses at the end of a help text contain this note.
func hasNote(text, note string) bool {
	i := strings.LastIndex(text, " (")
	return i >= 0 && slices.Contains(strings.Split(strings.TrimSuffix(text[i+2:], ")"), "; "), note)
}

func TestDefinitionRead(t *testing.T) {
	m, acme, digest := newAcmeMount(t)
	m.read("providers/acme").wantData(t, fields{
		"title": "Acme", "docs": "https://docs.acme.example/auth", "known": "reported", "usage": "X-Acme-Token: {token}",
		"source": "own", "digest": digest, "definition": acme.definition("Acme"), "hides_builtin": nil,
		"endpoints": map[string]string{"production": acme.url},
		"fields": map[string]string{
			"api_user":     "User name of the API account (Acme console, Settings, API). (required)",
			"api_password": "Password of the API account. (required; secret)",
			"region":       "Region of the account. (one of eu, us; default eu)",
			"labels":       "Labels of the token.",
		},
	})
	list := m.list("providers/").data
	if keys := list["keys"].([]string); !slices.Contains(keys, "acme") || !slices.Contains(keys, "oauth2") || !slices.IsSorted(keys) {
		t.Errorf("got %q, want acme and oauth2 in a sorted list", keys)
	}
	info := list["key_info"].(map[string]any)
	if own, builtin := info["acme"].(fields), info["oauth2"].(fields); own["source"] != "own" || own["title"] != "Acme" || builtin["source"] != "built-in" {
		t.Errorf("got %v and %v, want the own Acme and a built-in oauth2", own, builtin)
	}
	m.read("config/a").wantData(t, fields{"definition": digest, "definition_current": true, "region": "eu", "api_password": nil})
	newSinchMount(t, nil).read("config/a").wantData(t, fields{"definition": nil, "definition_current": nil})
}

func TestDefinitionIsRefused(t *testing.T) {
	m, acme, digest := newAcmeMount(t)
	good := acme.definition("Acme")
	for name, test := range map[string]struct {
		path string
		data fields
		text string
	}{
		"built-in":        {"oauth2", fields{"definition": good}, "name: is the name of a built-in provider; choose another name for your definition"},
		"no definition":   {"acme", fields{}, "definition: is required"},
		"empty":           {"acme", fields{"definition": ""}, "definition: is required"},
		"null":            {"acme", fields{"definition": nil}, "definition: is required"},
		"an object":       {"acme", fields{"definition": fields{"title": "x"}}, "definition: must be a string"},
		"a list":          {"acme", fields{"definition": []string{good}}, "definition: "},
		"true":            {"acme", fields{"definition": true}, "definition: must be a string"},
		"no YAML":         {"acme", fields{"definition": "{"}, "definition: "},
		"over 16 KiB":     {"acme", fields{"definition": good + "#" + strings.Repeat("x", 16<<10)}, "definition: "},
		"unknown key":     {"acme", fields{"definition": good + "script: rm\n"}, "definition: script: "},
		"long name":       {strings.Repeat("n", 129), fields{"definition": good}, "name: must be at most 128 bytes long"},
		"two dots":        {"a..b", fields{"definition": good}, "name: must not contain two dots in a row"},
		"reserved field":  {"acme", fields{"definition": strings.Replace(good, "  region:\n", "  adopt_definition:\n", 1)}, "definition: "},
		"reserved output": {"acme", fields{"definition": strings.Replace(good, "outputs: {base_url:", "outputs: {access_token:", 1)}, "definition: "},
	} {
		a := m.write("providers/"+test.path, test.data)
		if a.status != http.StatusBadRequest || !strings.Contains(a.text, test.text) || len(a.text) > 400 {
			t.Errorf("%s: got %d %q, want 400 with %q", name, a.status, a.text, test.text)
		}
	}
	m.delete("providers/oauth2").want(t, http.StatusBadRequest, "name: is the name of a built-in provider, which cannot be deleted")
	m.delete("providers/nobody").want(t, http.StatusNoContent)
	m.wantDefinitions("after refused writes", digest)

	padded := good + "#" + strings.Repeat("x", 16<<10-len(good)-1)
	m.define(padded)
	equal(t, "definition", m.read("providers/acme").data["definition"], padded)
}

// A definition cannot declare a field with the name of a standard field.
func TestReservedNames(t *testing.T) {
	m, acme, _ := newAcmeMount(t)
	m.write("config/a", fields{"lease": false}).want(t, http.StatusNoContent)
	good := acme.definition("Acme")
	own := []string{"api_user", "api_password", "region", "labels", "base_url"}
	refused := func(old, name, place string) {
		t.Helper()
		if slices.Contains(own, name) {
			return
		}
		if _, err := providers.ParseDefinition("acme", []byte(strings.Replace(good, old, name, 1))); err == nil || !strings.HasPrefix(err.Error(), place+name+": ") {
			t.Errorf("%s%s: got %v, want a refusal", place, name, err)
		}
	}
	for path, place := range map[string][2]string{"config/a": {"labels", "fields."}, "creds/a": {"base_url", "http.outputs."}} {
		for name := range m.Backend.(*backend).Route(path).Fields {
			refused(place[0], name, place[1])
		}
		for name := range m.read(path).data {
			refused(place[0], name, place[1])
		}
	}
}

// An operator's definition hides a new built-in provider of the same name, until the operator
// deletes the definition.
func TestBuiltinThatTakesAnOwnName(t *testing.T) {
	m, acme, digest := newAcmeMount(t)
	later, err := providers.ParseDefinition("acme", []byte(acme.definition("Built-in Acme")))
	if err != nil {
		t.Fatal(err)
	}
	m.options.Providers = append(slices.Clone(m.options.Providers), later)
	m = m.restart()
	acme.requests()

	a := m.read("providers/acme")
	a.wantWarning(t, "a built-in provider has the same name; delete this definition to use the built-in provider in new configs")
	a.wantData(t, fields{"title": "Acme", "source": "own", "hides_builtin": true})
	m.read("config/a").wantData(t, fields{"definition": digest, "definition_current": true})
	m.write("config/b", maps.Clone(acmeConfig)).want(t, http.StatusNoContent)
	equal(t, "definition of a new config", m.read("config/b").data["definition"], digest)
	m.write("providers/acme", fields{"definition": acme.definition("Other")}).want(t, http.StatusBadRequest, "name: is now also the name of a built-in provider")
	m.write("providers/acme", fields{"definition": acme.definition("Acme")}).want(t, http.StatusOK) // a tool repeats what it wrote

	m.write("config/b", fields{"adopt_definition": later.Digest()}).want(t, http.StatusBadRequest, "adopt_definition: ", "api_password")
	m.write("config/b", fields{"adopt_definition": later.Digest(), "api_password": "correct-horse"}).want(t, http.StatusNoContent)
	equal(t, "definition after the built-in provider was adopted", m.read("config/b").data["definition"], nil)
	m.delete("providers/acme").want(t, http.StatusOK)
	m.read("providers/acme").wantData(t, fields{"title": "Built-in Acme", "source": "built-in"})
	m.delete("providers/acme").want(t, http.StatusBadRequest)
	m.read("config/a").wantData(t, fields{"definition": digest, "definition_current": false})
	m.delete("config/a").want(t, http.StatusNoContent)
	m.wantDefinitions("after the last config is deleted")
}

// Help says how to write a definition.
func TestDefinitionHelp(t *testing.T) {
	m := newMount(t)
	a := m.request(logical.HelpOperation, "providers/acme", nil)
	for _, text := range []string{"definition=@acme.yaml", "adopt_definition", "16 KiB"} {
		if help := fmt.Sprint(a.data["help"]); !strings.Contains(help, text) {
			t.Errorf("got the help %s, want %q in it", help, text)
		}
	}
	_, example, _ := strings.Cut(providersDescription, "with this acme.yaml:\n\n")
	example, _, _ = strings.Cut(example, "\n\nConfigs keep")
	m.define(example)
}
