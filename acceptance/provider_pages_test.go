// SPDX-License-Identifier: MPL-2.0

package acceptance

import (
	"path/filepath"
	"regexp"
	"testing"
)

// Every command in docs/providers runs word for word, and each page reads a token
// that works.
func TestProviderPages(t *testing.T) {
	s, sim := internetWorld(t)
	pages, err := filepath.Glob("../docs/providers/*.md")
	if err != nil || len(pages) == 0 {
		t.Fatalf("got pages %q (%v), want those of docs/providers", pages, err)
	}
	for _, path := range pages {
		page := recipe(t, "../providers/"+filepath.Base(path))
		putFile(t, page.dir, "pw.txt", sinchPassword+"\n")
		putFile(t, page.dir, "app-key.txt", enablexKey+"\n")
		putFile(t, page.dir, "key-secret.txt", conversation.fields["client_secret"].(string)+"\n")
		out := page.run(t, &s.Client)
		token := regexp.MustCompile(`(?m)^access_token +(\S+)$`).FindStringSubmatch(out)
		if token == nil {
			t.Errorf("the commands of %s print no access_token:\n%s", path, out)
		} else if known := sim.Token(t, token[1]); !known.Active {
			t.Errorf("the token of %s is %+v, want an active one", path, known)
		}
	}
}
