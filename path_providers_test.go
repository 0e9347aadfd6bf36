// SPDX-License-Identifier: MPL-2.0

package messaging

import (
	"maps"
	"net/http"
	"slices"
	"strings"
	"testing"

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

// hasNote reports whether the help text of a field ends with brackets that contain the note.
func hasNote(text, note string) bool {
	i := strings.LastIndex(text, " (")
	return i >= 0 && slices.Contains(strings.Split(strings.TrimSuffix(text[i+2:], ")"), "; "), note)
}
