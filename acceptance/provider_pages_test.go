// SPDX-License-Identifier: MPL-2.0

package acceptance

import (
	"path/filepath"
	"regexp"
	"testing"

	"vault-plugin-secrets-messaging/acceptance/harness"
)

// The commands in docs/providers work as written and read a working token.
func TestProviderPages(t *testing.T) {
	s, sim := internetWorld(t)
	pages, err := filepath.Glob("../docs/providers/*.md")
	if err != nil || len(pages) == 0 {
		t.Fatalf("got pages %q (%v), want those of docs/providers", pages, err)
	}
	for _, path := range pages {
		page := recipe(t, "../providers/"+filepath.Base(path))
		harness.WriteFile(t, page.dir, "pw.txt", sinchPassword+"\n")
		harness.WriteFile(t, page.dir, "app-key.txt", enablexKey+"\n")
		harness.WriteFile(t, page.dir, "key-secret.txt", conversation.fields["client_secret"].(string)+"\n")
		out := page.run(t, &s.Client)
		token := regexp.MustCompile(`(?m)^access_token +(\S+)$`).FindStringSubmatch(out)
		if token == nil {
			t.Errorf("%s: got no access_token from the commands, want one:\n%s", path, out)
		} else if known := sim.Token(t, token[1]); !known.Active {
			t.Errorf("%s: got the token %+v, want an active one", path, known)
		}
	}
}
