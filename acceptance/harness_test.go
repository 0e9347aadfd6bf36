// SPDX-License-Identifier: MPL-2.0

package acceptance

import (
	"os"
	"strings"
	"testing"

	"vault-plugin-secrets-messaging/acceptance/harness"
)

// The harness works on a server without the plugin.
func TestHarnessDevServer(t *testing.T) {
	server := harness.StartDev(t)
	server.EnableAudit(t)

	server.CLI(t, "kv", "put", "-mount=secret", "a", "word=hello").OK(t)
	if got := server.CLI(t, "kv", "get", "-mount=secret", "-field=word", "a").OK(t).Stdout; got != "hello" {
		t.Errorf("vault kv get: got %q, want hello", got)
	}
	if r := server.CLI(t, "read", "sys/none"); r.Code == 0 || r.Stderr == "" {
		t.Errorf("vault read of an unknown path: got %+v, want a failure with an error text", r)
	}
	if got := server.Shell(t, t.TempDir(), "vault kv get -mount=secret -field=word a | tr a-z A-Z").OK(t).Stdout; got != "HELLO" {
		t.Errorf("shell: got %q, want HELLO", got)
	}

	app := server.As(server.AppToken(t, `path "secret/data/a" { capabilities = ["read"] }`))
	app.Read(t, "secret/data/a").OK(t)
	app.Read(t, "secret/data/b").Refused(t, 403, "permission denied")

	audit, err := os.ReadFile(server.Audit)
	if err != nil || !strings.Contains(string(audit), "secret/data/a") {
		t.Errorf("audit log: want the path secret/data/a in it (error %v)", err)
	}
}
