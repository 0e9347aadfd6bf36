// SPDX-License-Identifier: MPL-2.0

package acceptance

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"vault-plugin-secrets-messaging/acceptance/harness"
)

// incident is a server that keeps its data on disk. A test can damage the server's plugin files.
type incident struct {
	world
	dir   string // the plugin folder
	file  string // of the plugin
	good  []byte // its content
	token string
}

func newIncident(t *testing.T) *incident {
	t.Helper()
	harness.NeedPrograms(t, "the incidents of the plugin's file", "sha256sum")
	i := &incident{dir: t.TempDir()}
	i.sim, i.Server = harness.StartSimulator(t), harness.StartRaftWith(t, i.dir)
	harness.CopyPlugin(t, i.dir)
	i.file = filepath.Join(i.dir, harness.PluginName)
	i.good = []byte(harness.ReadFile(t, i.file))
	i.shell(t, `
sum=$(sha256sum vault-plugin-secrets-messaging | cut -d' ' -f1)
version=$(./vault-plugin-secrets-messaging -version)
vault plugin register -version="$version" -command=vault-plugin-secrets-messaging -sha256="$sum" secret vault-plugin-secrets-messaging
vault secrets enable -path=messaging -plugin-version="$version" vault-plugin-secrets-messaging`).OK(t)
	i.writeConfig(t, sinch)
	i.token = i.world.token(t, sinch)
	return i
}

func (i *incident) shell(t *testing.T, script string) harness.Result {
	t.Helper()
	return i.Shell(t, i.dir, "export PLUGIN_DIR='"+i.dir+"'\n"+script)
}

// page runs the block of commands that [commands] returns.
func (i *incident) page(t *testing.T, name, heading string, block int) harness.Result {
	t.Helper()
	script := commands(t, name, heading, block)
	t.Log("$ " + script)
	return i.shell(t, script)
}

// commands returns a block of shell commands from a section of docs/<page>. The first block is 0.
func commands(t *testing.T, page, heading string, block int) string {
	t.Helper()
	blocks := harness.CodeBlocks(t, harness.Section(t, "../docs/"+page, heading), "sh")
	if block >= len(blocks) {
		t.Fatalf("docs/%s under %q: got %d blocks of commands, want block %d", page, heading, len(blocks), block)
	}
	return blocks[block]
}

// logs fails the test if the server's log lacks one of the texts. It skips the log before the byte
// offset mark.
func (i *incident) logs(t *testing.T, mark int, texts ...string) {
	t.Helper()
	log := harness.ReadFile(t, i.Log)[mark:]
	for _, text := range texts {
		if !strings.Contains(log, text) {
			t.Errorf("server's log: got no %q", text)
		}
	}
}

// The plugin's file is missing or damaged when the server becomes active. The commands of
// docs/operations.md repair the mount.
func TestPluginFileSpoiled(t *testing.T) {
	t.Parallel() // the test mostly waits
	i := newIncident(t)
	logins := i.sim.Logins(t, sinch.provider)
	for _, test := range []struct {
		name, log string
		spoil     func() error
	}{
		{"missing", "no such file or directory", func() error { return nil }},
		{"damaged", "checksums did not match", func() error { return os.WriteFile(i.file, i.good[:len(i.good)/2], 0o755) }},
		{"not executable", "permission denied", func() error { return os.WriteFile(i.file, i.good, 0o644) }},
	} {
		t.Run(test.name, func(t *testing.T) {
			mark := len(harness.ReadFile(t, i.Log))
			i.Seal(t)
			i.put(t, nil)
			if err := test.spoil(); err != nil {
				t.Fatal(err)
			}
			i.Unseal(t)
			i.WaitActive(t)

			i.Read(t, sinch.creds()).Refused(t, 404, "route entry found, but backend is nil")
			i.Read(t, "messaging/metrics").Refused(t, 404)
			if r := i.CLI(t, "read", sinch.creds()); !strings.Contains(r.Stderr, "No value found") {
				t.Errorf("got %q, want No value found, as the runbook says", r.Stderr)
			}
			i.logs(t, mark, "skipping plugin-based mount entry: path=messaging/", test.log)
			table := harness.ReadFile(t, "../docs/operations.md")
			if !strings.Contains(table, "| `"+test.log+"` |") {
				t.Errorf("docs/operations.md: got no row for %q", test.log)
			}

			i.put(t, i.good)
			out := i.page(t, "operations.md", "The plugin does not run", 0).OK(t).Stdout
			if _, hash, _ := strings.Cut(out, "sha256 "); strings.Count(out, strings.Fields(hash)[0]) != 2 {
				t.Errorf("got %q, want the hash that Vault expects and the same hash of the file", out)
			}
			i.page(t, "operations.md", "The plugin does not run", 1).OK(t)
			i.wantToken(t, sinch, i.token, "after the reload")

			// After the plugin is reloaded, the mount may refuse writes until the server becomes
			// active again.
			if r := i.Write(t, sinch.path(), harness.Fields{"min_ttl": 5}); r.Status != 204 {
				r.Refused(t, 500, "cannot write to storage during setup", `run "vault operator step-down", or restart the server`)
			}
			if test.name == "missing" {
				mark := len(harness.ReadFile(t, i.Log))
				i.page(t, "operations.md", "The plugin does not run", 2).OK(t)
				harness.Until(t, "the server has stepped down and set up its mounts again", func() bool { // the command returns before the server steps down
					return strings.Contains(harness.ReadFile(t, i.Log)[mark:], "post-unseal setup complete")
				})
			} else {
				i.Stop()
				i.Start(t)
			}
			i.WaitActive(t)
			i.Write(t, sinch.path(), harness.Fields{"min_ttl": 6}).OK(t)
			i.wantToken(t, sinch, i.token, "at the end")
		})
	}
	i.wantLogins(t, sinch, logins)
}

// put replaces the plugin's file. A nil content removes the file.
func (i *incident) put(t *testing.T, content []byte) {
	t.Helper()
	if err := os.Remove(i.file); err != nil && !os.IsNotExist(err) {
		t.Fatal(err)
	}
	if content == nil {
		return
	}
	if err := os.WriteFile(i.file, content, 0o755); err != nil {
		t.Fatal(err)
	}
}

// The check in docs/upgrade.md finds a broken plugin before the mount uses the plugin.
func TestUpgradeGoesWrong(t *testing.T) {
	t.Parallel() // the test mostly waits
	i := newIncident(t)
	table := harness.ReadFile(t, "../docs/upgrade.md")
	row := func(text string) {
		t.Helper()
		if !strings.Contains(table, "`"+text+"`") {
			t.Errorf("docs/upgrade.md: got no row for %q", text)
		}
	}
	elf := "\x7fELF\x02\x01\x01" + strings.Repeat("\x00", 9) + "\x02\x00\xf3\x00\x01\x00\x00\x00" + strings.Repeat("\x00", 40) // RISC-V
	for number, test := range []struct {
		problem string
		content []byte
		mode    os.FileMode
		sum     string // the file whose hash is registered
	}{
		{"checksums did not match", i.good, 0o755, "/dev/null"},
		{"permission denied", i.good, 0o644, "next"},
		{"exec format error", []byte(elf), 0o755, "next"},
	} {
		version := fmt.Sprintf("v9.%d.0", number)
		if err := os.WriteFile(filepath.Join(i.dir, "next"), test.content, test.mode); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(filepath.Join(i.dir, "next"), test.mode); err != nil {
			t.Fatal(err)
		}
		row(test.problem)
		i.shell(t, `vault plugin register -version=`+version+` -command=next -sha256="$(sha256sum `+test.sum+` | cut -d' ' -f1)" secret vault-plugin-secrets-messaging`).OK(t)
		check := i.shell(t, "vault secrets enable -path=messaging-check -plugin-version="+version+" vault-plugin-secrets-messaging")
		if check.Code == 0 || !strings.Contains(check.Stderr, test.problem) {
			t.Errorf("%s: enabling a mount to check: got %d %q, want the problem", test.problem, check.Code, check.Stderr)
		}
		i.shell(t, "vault secrets tune -plugin-version="+version+" messaging").OK(t)
		reload := i.shell(t, "vault plugin reload -plugin=vault-plugin-secrets-messaging")
		if reload.Code == 0 || !strings.Contains(reload.Stderr, test.problem) {
			t.Errorf("%s: reload: got %d %q, want the problem", test.problem, reload.Code, reload.Stderr)
		}
		if !harness.OpenBao() { // OpenBao ends the old process before it starts the new one
			i.wantToken(t, sinch, i.token, "after the reload that failed: "+test.problem)
		}
		i.shell(t, "vault secrets tune -plugin-version=\"$(./vault-plugin-secrets-messaging -version)\" messaging && vault plugin reload -plugin=vault-plugin-secrets-messaging").OK(t)
		i.wantToken(t, sinch, i.token, "after tuning back")
	}

	outside := t.TempDir()
	harness.CopyPlugin(t, outside)
	for script, problem := range map[string]string{
		`vault plugin register -version=v9.8.0 -command=vault-plugin-secrets-messaging -sha256="$(sha256sum vault-plugin-secrets-messaging | cut -d' ' -f1)" secret vault-plugin-secrets-messaging`: "plugin version mismatch",
		`vault plugin register -version=v9.9.0 -command=nothing -sha256="$(sha256sum /dev/null | cut -d' ' -f1)" secret vault-plugin-secrets-messaging`:                                             "no such file or directory",
		`ln -s ` + filepath.Join(outside, harness.PluginName) + ` link
vault plugin register -command=link -sha256="$(sha256sum link | cut -d' ' -f1)" secret link`: "cannot execute files outside of configured plugin directory",
		`cp /dev/null vault-plugin-secrets-messaging`: "Text file busy",
	} {
		row(problem)
		if r := i.shell(t, script); r.Code == 0 || !strings.Contains(r.Stderr, problem) {
			t.Errorf("%s: got %d %q, want %q", script, r.Code, r.Stderr, problem)
		}
	}

	// A version in use is deregistered.
	row("plugin not found in the catalog")
	i.shell(t, `vault plugin deregister -version="$(./vault-plugin-secrets-messaging -version)" secret vault-plugin-secrets-messaging`).OK(t)
	i.wantToken(t, sinch, i.token, "after deregistering")
	i.KillPlugin(t)
	i.Read(t, sinch.creds()).Refused(t, 500, "plugin not found in the catalog")
	i.shell(t, `vault plugin register -version="$(./vault-plugin-secrets-messaging -version)" -command=vault-plugin-secrets-messaging -sha256="$(sha256sum vault-plugin-secrets-messaging | cut -d' ' -f1)" secret vault-plugin-secrets-messaging`).OK(t)
	harness.Within(t, harness.Timeout, "apps get the token again", func() error {
		r, err := i.Do("GET", sinch.creds(), nil)
		if err == nil && r.Text("access_token") != i.token {
			err = fmt.Errorf("got %d %s, want the token", r.Status, r.Raw)
		}
		return err
	})
}
