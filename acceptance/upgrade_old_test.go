// SPDX-License-Identifier: MPL-2.0

package acceptance

import (
	"fmt"
	"os/exec"
	"path/filepath"
	"testing"

	"vault-plugin-secrets-messaging/acceptance/harness"
)

// beforeDefinitions is the last commit with providers in Go code instead of definitions.
const beforeDefinitions = "7cb93b1"

// buildCommit builds the plugin at a commit and returns the path of the binary.
func buildCommit(t *testing.T, commit, dir string) string {
	t.Helper()
	if err := exec.Command("git", "cat-file", "-e", commit+"^{commit}").Run(); err != nil {
		t.Skipf("the repository does not have the commit %s: %v", commit, err)
	}
	source, binary := t.TempDir(), filepath.Join(dir, harness.PluginName)
	harness.Run(t, ".", "sh", "-euc", `git -C .. archive "$1" | tar -x -C "$2" && cd "$2" && CGO_ENABLED=0 go build -o "$3" ./cmd/vault-plugin-secrets-messaging`,
		"sh", commit, source, binary)
	return binary
}

// The plugin keeps configs, tokens and leases from versions whose providers were Go code.
func TestUpgradeFromProvidersInGo(t *testing.T) {
	harness.Need(t)
	pluginDir := t.TempDir()
	old := buildCommit(t, beforeDefinitions, pluginDir)
	w := world{sim: harness.StartSimulator(t), Server: harness.StartDevWith(t, harness.Options{PluginDir: pluginDir})}
	w.Install(t, harness.PluginName, old, "messaging")

	unshared := sinch.unshared(w.sim).with("unshared", nil)
	all := []account{sinch, whatsapp, rcs, sms, conversation, generic, genericUser, publicUser,
		generic.with("detailed", harness.Fields{"scopes": "a,b", "token_params": harness.Fields{"audience": "x"}, "auth_style": "body", "lease": false, "min_ttl": "45s"})}
	tokens, configs := map[string]string{}, map[string]map[string]any{}
	var leases []string
	for _, a := range append(all, unshared) {
		w.writeConfig(t, a)
		r := w.readCreds(t, a)
		tokens[a.config], configs[a.config] = r.Text("access_token"), w.Read(t, a.path()).OK(t).Data
		if r.LeaseID != "" {
			leases = append(leases, r.LeaseID)
		}
	}
	logins := map[string]int{}
	for _, a := range all {
		logins[a.provider] = w.sim.Logins(t, a.provider)
	}

	harness.CopyPlugin(t, filepath.Join(pluginDir, "new"))
	w.Shell(t, pluginDir, fmt.Sprintf(`mv new/%[1]s new-plugin
vault plugin register -sha256="$(sha256sum new-plugin | cut -d' ' -f1)" -command=new-plugin secret %[1]s
vault plugin reload -plugin=%[1]s`, harness.PluginName)).OK(t)

	for _, a := range all {
		w.wantToken(t, a, tokens[a.config], "after the upgrade")
		got := w.Read(t, a.path()).OK(t).Data
		for name, value := range configs[a.config] {
			if fmt.Sprint(got[name]) != fmt.Sprint(value) {
				t.Errorf("%s: %s: got %v, want %v", a.path(), name, got[name], value)
			}
		}
		w.Write(t, a.path(), harness.Fields{"min_ttl": 40}).OK(t)
		w.wantToken(t, a, tokens[a.config], "after a write of min_ttl")
	}
	for provider, want := range logins {
		if got := w.sim.Logins(t, provider); got != want {
			t.Errorf("%s: got %d logins, want %d as before the upgrade", provider, got, want)
		}
	}
	for _, lease := range leases {
		w.Write(t, "sys/leases/lookup", harness.Fields{"lease_id": lease}).OK(t)
	}
	w.Write(t, "sys/leases/revoke-prefix/messaging/creds", harness.Fields{"sync": true}).OK(t)
	for _, lease := range leases {
		w.Write(t, "sys/leases/lookup", harness.Fields{"lease_id": lease}).Refused(t, 400, "invalid lease")
	}
	w.sim.WaitForEnd(t, tokens[unshared.config]) // the only token that ends with its lease
	w.Write(t, sinch.rotatePath(), nil).OK(t)
	w.wantNewToken(t, sinch, tokens[sinch.config], "after a rotate")
}
