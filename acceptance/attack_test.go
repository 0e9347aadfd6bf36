// SPDX-License-Identifier: MPL-2.0

package acceptance

import (
	"net/http"
	"strings"
	"testing"

	"vault-plugin-secrets-messaging/acceptance/harness"
)

// Odd names and huge inputs get a 4xx answer. They store nothing and cause no login.
func TestOddNamesAndHugeInputs(t *testing.T) {
	w := newWorld(t)
	w.writeConfig(t, sinch)
	for _, name := range []string{
		"a..b", "..", "a%2e%2eb", "%2e%2e%2fsinch", "..%2F..%2Fsys%2Fmounts", "a%2Fb", "a%00b", "a%0ab", "%1b%5b2J", "-a", "a-", "ü", "a b",
		strings.Repeat("n", 129), strings.Repeat("n", 3_000), strings.Repeat("a.", 1_000) + "a", // with longer names, Vault itself is slow at any mount
	} {
		for _, request := range []struct {
			method, path string
			body         any
		}{
			{http.MethodPut, "messaging/config/", sinch.body(w.sim)}, {http.MethodPatch, "messaging/config/", harness.Fields{"min_ttl": 5}},
			{http.MethodGet, "messaging/config/", nil}, {http.MethodGet, "messaging/creds/", nil}, {http.MethodGet, "messaging/status/", nil},
			{http.MethodPut, "messaging/rotate/", nil}, {http.MethodDelete, "messaging/config/", nil}, {http.MethodGet, "messaging/providers/", nil},
		} {
			r, err := w.Do(request.method, request.path+name, request.body)
			if err != nil || r.Status >= 500 || r.Status == 200 || strings.ContainsAny(r.Raw, "\x1b\x00") {
				t.Errorf("%s %s%.60s: got status %d, error %v, want a 4xx without control characters: %.300q", request.method, request.path, name, r.Status, err, r.Raw)
			}
		}
	}
	huge := strings.Repeat("x", 900<<10) // Vault itself refuses bodies over 1 MiB
	for _, field := range []string{"username", "password", "token_url", "ca_cert", "min_ttl", "token_params", "no_such_field"} {
		if r := w.Write(t, sinch.path(), harness.Fields{field: huge}); r.Status != 400 || len(r.Raw) > 2_000 {
			t.Errorf("%s of %d bytes: got status %d with %d bytes, want 400 with at most 2000: %.300s", field, len(huge), r.Status, len(r.Raw), r.Raw)
		}
	}
	if keys := w.List(t, "messaging/config").OK(t).Keys(); len(keys) != 1 {
		t.Errorf("after the refused writes: got configs %q, want only %q", keys, sinch.config)
	}
	w.wantLogins(t, sinch, 1)
}
