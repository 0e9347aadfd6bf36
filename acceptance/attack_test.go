// SPDX-License-Identifier: MPL-2.0

package acceptance

import (
	"net/http"
	"strings"
	"testing"

	"vault-plugin-secrets-messaging/acceptance/harness"
)

// Names and inputs that no user would think of are the user's error, not the server's,
// and nothing comes of them.
func TestOddNamesAndHugeInputs(t *testing.T) {
	w := newWorld(t)
	w.Write(t, sinch.path(), sinch.write(w.sim)).OK(t)
	for _, name := range []string{
		"a..b", "..", "a%2e%2eb", "%2e%2e%2fsinch", "..%2F..%2Fsys%2Fmounts", "a%2Fb", "a%00b", "a%0ab", "%1b%5b2J", "-a", "a-", "ü", "a b",
		strings.Repeat("n", 129), strings.Repeat("n", 3_000), strings.Repeat("a.", 1_000) + "a", // longer ones take Vault itself long, on any mount
	} {
		for _, request := range []struct {
			method, path string
			body         any
		}{
			{http.MethodPut, "messaging/config/", sinch.write(w.sim)}, {http.MethodPatch, "messaging/config/", harness.Fields{"min_ttl": 5}},
			{http.MethodGet, "messaging/config/", nil}, {http.MethodGet, "messaging/creds/", nil}, {http.MethodGet, "messaging/status/", nil},
			{http.MethodPut, "messaging/rotate/", nil}, {http.MethodDelete, "messaging/config/", nil}, {http.MethodGet, "messaging/providers/", nil},
		} {
			r, err := w.Do(request.method, request.path+name, request.body)
			if err != nil || r.Status >= 500 || r.Status == 200 || strings.ContainsAny(r.Raw, "\x1b\x00") {
				t.Errorf("%s %s%.60s: %v %d %.300s", request.method, request.path, name, err, r.Status, r.Raw)
			}
		}
	}
	huge := strings.Repeat("x", 900<<10) // of texts over 1 MiB Vault says no itself
	for _, field := range []string{"username", "password", "token_url", "ca_cert", "min_ttl", "token_params", "no_such_field"} {
		if r := w.Write(t, sinch.path(), harness.Fields{field: huge}); r.Status != 400 || len(r.Raw) > 2_000 {
			t.Errorf("%d bytes of %s: %d, %.300s", len(huge), field, r.Status, r.Raw)
		}
	}
	if keys := w.List(t, "messaging/config").OK(t).Keys(); len(keys) != 1 {
		t.Errorf("configs: %q", keys)
	}
	if n := w.sim.Logins(t, sinch.provider); n != 1 {
		t.Errorf("%d logins, want 1", n)
	}
}
