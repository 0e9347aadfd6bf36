// SPDX-License-Identifier: MPL-2.0

package messaging

import (
	"net/http"
	"slices"
	"strings"
	"testing"

	"vault-plugin-secrets-messaging/providers"
)

func TestProvidersList(t *testing.T) {
	a := newMount(t).list("providers/")
	a.want(t, http.StatusOK)
	want := []string{"enablex-rcs", "enablex-sms", "enablex-whatsapp", "oauth2", "sinch-conversation", "sinch-india"}
	if got := a.data["keys"].([]string); !slices.Equal(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
}

// providers/<name> tells all that a config needs to know.
func TestProvidersRead(t *testing.T) {
	m := newMount(t)
	m.read("providers/nobody").want(t, http.StatusNotFound)
	for _, p := range providers.All() {
		spec := p.Spec()
		a := m.read("providers/" + spec.Name)
		a.want(t, http.StatusOK)
		if a.data["description"] != spec.Description || a.data["docs"] != spec.Docs {
			t.Errorf("%v", a.data)
		}
		shown := a.data["fields"].(map[string]string)
		if len(shown) != len(spec.Fields) {
			t.Errorf("%s: %v", spec.Name, shown)
		}
		for _, f := range spec.Fields {
			text := shown[f.Name]
			if !strings.HasPrefix(text, f.Description) ||
				notes(text, "required") != f.Required || notes(text, "secret") != f.Secret {
				t.Errorf("%s: %s: %q", spec.Name, f.Name, text)
			}
		}
		endpoints := a.data["endpoints"].(map[string]string)
		if len(endpoints) != len(spec.Endpoints) {
			t.Errorf("%s: %v", spec.Name, endpoints)
		}
		for _, e := range spec.Endpoints {
			if endpoints[e.Environment] != e.TokenURL {
				t.Errorf("%s: %v", spec.Name, endpoints)
			}
		}
	}
}

// notes reports whether a field's text has that note, in the brackets at its end.
func notes(text, note string) bool {
	i := strings.LastIndex(text, " (")
	return i >= 0 && slices.Contains(strings.Split(strings.TrimSuffix(text[i+2:], ")"), "; "), note)
}
