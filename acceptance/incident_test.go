// SPDX-License-Identifier: MPL-2.0

package acceptance

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"vault-plugin-secrets-messaging/acceptance/harness"
)

// incident is a server on disk whose plugin file a test can spoil. Version v1.0.0 of the plugin is
// mounted, and an app has a token of the account sinch.
type incident struct {
	world
	dir   string // the plugin folder
	file  string // of v1.0.0
	good  []byte // its content
	token string
}

func newIncident(t *testing.T) *incident {
	t.Helper()
	if _, err := exec.LookPath("sha256sum"); err != nil {
		t.Skip("the commands need sha256sum")
	}
	i := &incident{dir: realTempDir(t)}
	i.sim, i.Server = harness.StartSimulator(t), harness.StartRaftWith(t, i.dir)
	harness.CopyPlugin(t, i.dir)
	i.file = filepath.Join(i.dir, harness.PluginName)
	i.good = []byte(file(t, i.file))
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

// page runs a command block of a page.
func (i *incident) page(t *testing.T, name, heading string, block int) harness.Result {
	t.Helper()
	script := i.block(t, name, heading, block)
	t.Log("$ " + script)
	return i.shell(t, script)
}

// block returns a command block of a page, given the heading and the index of the block under
// that heading.
func (i *incident) block(t *testing.T, name, heading string, block int) string {
	t.Helper()
	_, section, found := strings.Cut(file(t, "../docs/"+name), "\n## "+heading+"\n")
	section, _, _ = strings.Cut(section, "\n## ")
	blocks := shellBlocks(section)
	if !found || block >= len(blocks) {
		t.Fatalf("docs/%s under %q: got %d blocks, want block %d", name, heading, len(blocks), block)
	}
	return blocks[block]
}

// logs fails the test unless the server has logged all of these texts since mark.
func (i *incident) logs(t *testing.T, mark int, texts ...string) {
	t.Helper()
	log := file(t, i.Log)[mark:]
	for _, text := range texts {
		if !strings.Contains(log, text) {
			t.Errorf("server's log: got no %q", text)
		}
	}
}

// The plugin's file is missing or damaged when the server becomes active. The commands of the
// runbook bring the apps their token back.
func TestPluginFileSpoiled(t *testing.T) {
	t.Parallel() // it mostly waits
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
			mark := len(file(t, i.Log))
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
			table := file(t, "../docs/operations.md")
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

			// After this fault of Vault, the mount cannot write until the server becomes active
			// again.
			if r := i.Write(t, sinch.path(), harness.Fields{"min_ttl": 5}); r.Status != 204 {
				r.Refused(t, 500, "cannot write to storage during setup", `run "vault operator step-down", or restart the server`)
			}
			if test.name == "missing" {
				i.page(t, "operations.md", "The plugin does not run", 2).OK(t)
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

// put replaces the file of the plugin. A nil content removes the file.
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

// Each failed upgrade in the table of docs/upgrade.md happens in a server. The check that the
// page recommends finds the problem while the mount still works.
func TestUpgradeGoesWrong(t *testing.T) {
	t.Parallel() // it mostly waits
	i := newIncident(t)
	table := file(t, "../docs/upgrade.md")
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
		sum     string // a file
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

	outside := realTempDir(t)
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
	harness.Within(t, 10*time.Second, "apps get the token again", func() error {
		r, err := i.Do("GET", sinch.creds(), nil)
		if err == nil && r.Text("access_token") != i.token {
			err = fmt.Errorf("got %d %s, want the token", r.Status, r.Raw)
		}
		return err
	})
}

// Instead of the provider, a device on the way answers, or nobody answers. Apps keep their token, the
// error is the one that the runbook explains, and nothing says that the credentials were refused.
func TestNetworkIncidents(t *testing.T) {
	w := newWorld(t)
	rows := file(t, "../docs/operations.md")
	for _, test := range []struct{ name, fault, answered, row string }{
		{"firewall", `{"kind": "status", "status": 403}`, "answered 403 Forbidden", "a proxy or firewall has probably blocked"},
		{"proxy", `{"kind": "status", "status": 407}`, "answered 407 Proxy Authentication Required", "a proxy or firewall has probably blocked"},
		{"portal", `{"kind": "status", "status": 511}`, "answered 511 Network Authentication Required", "answered` with 511"},
		{"redirect", `{"kind": "redirect"}`, "leads to elsewhere.invalid", "redirects are not followed"},
		{"closed", `{"kind": "close-before"}`, "unavailable", "the connection was closed"},
		{"down", "", "unavailable", "connection refused"},
	} {
		a := sinch.with(test.name, nil)
		w.writeConfig(t, a)
		token := w.token(t, a)
		if test.fault == "" {
			w.sim.Stop()
		} else {
			w.sim.Configure(t, forProvider(a.provider, `{"faults": [`+test.fault+`]}`))
		}
		w.Write(t, a.rotatePath(), nil).Refused(t, 502, test.answered)
		status := w.Read(t, a.statusPath()).OK(t)
		last, quoted := status.Text("last_error"), strings.Split(test.row, "`")[0]
		if !strings.Contains(last, quoted) || status.Text("last_error_kind") == "refused" {
			t.Errorf("%s: got last_error %q of kind %q, want %q and not refused", test.name, last, status.Text("last_error_kind"), quoted)
		}
		if !strings.Contains(rows, "`"+test.row) {
			t.Errorf("docs/operations.md: got no row for %q", test.row)
		}
		w.wantToken(t, a, token, "during the incident "+test.name)
		if test.fault != "" {
			w.sim.Configure(t, forProvider(a.provider, `{"faults": null}`))
		}
	}
}

// Credentials are changed as the runbook says. Apps always get a live token.
func TestChangeCredentials(t *testing.T) {
	w := newWorld(t)
	i := incident{world: w, dir: t.TempDir()}
	w.writeConfig(t, sinch)
	const section = "Change credentials"
	app := func(when string) (token string) {
		t.Helper()
		token = w.token(t, sinch)
		if !w.sim.Token(t, token).Active {
			t.Errorf("%s: got a dead token", when)
		}
		return token
	}
	first := app("at first")
	written := w.Read(t, sinch.statusPath()).OK(t).Text("credentials_written")
	i.page(t, "operations.md", section, 0).OK(t)
	w.sim.Configure(t, forProvider(sinch.provider, `{"accounts": {"acme": {"secret": "changed-horse"}}}`))
	if app("the password changed at the provider") != first {
		t.Error("the password changed at the provider: got another token, want the first one")
	}
	if r := i.page(t, "operations.md", section, 2); r.Code == 0 || !strings.Contains(r.Stderr, "credentials refused") {
		t.Errorf("checking the stored password: got %d %q, want credentials refused", r.Code, r.Stderr)
	}
	if app("after the check") != first {
		t.Error("after the check: got another token, want the first one")
	}
	harness.Until(t, "a second has passed since the config was written", func() bool {
		at, err := time.Parse(time.RFC3339, written)
		return err == nil && time.Since(at) > 2*time.Second
	})
	putFile(t, i.dir, "pw.txt", "changed-horse\n")
	i.page(t, "operations.md", section, 1).OK(t)
	if app("the new password is written") == first {
		t.Error("the new password is written: got the first token, want a new one")
	}
	status := w.Read(t, sinch.statusPath()).OK(t)
	if status.Text("state") != "fresh" || status.Text("credentials_written") <= written || status.Text("credentials_expire") != "2028-03-01" {
		t.Errorf("got status %v, want fresh, with a new credentials_written and the new date", status.Data)
	}
	i.page(t, "operations.md", section, 2).OK(t)
	app("after a check that succeeds")
}

// A token has leaked. Revoking leases does not make a Vault Agent read again, and restarting the
// agent does.
func TestTokenHasLeaked(t *testing.T) {
	w := newWorld(t)
	i := incident{world: w, dir: t.TempDir()}
	w.writeConfig(t, sinch)
	setUp, agent := recipe(t, "agent.md").blocks[0], recipe(t, "agent.md").blocks[1]
	i.shell(t, setUp).OK(t)
	run := func() *harness.Script {
		return w.StartShell(t, i.dir, strings.Replace(agent, "vault agent", "exec vault agent", 1))
	}
	shows := func(token string) bool {
		data, _ := os.ReadFile(filepath.Join(i.dir, "sinch-token"))
		return string(data) == token
	}
	leaked := w.token(t, sinch)
	running := run()
	harness.Until(t, "the agent's file has the token that leaks", func() bool { return shows(leaked) })

	i.page(t, "operations.md", "A token has leaked", 0).OK(t)
	w.wantNewToken(t, sinch, leaked, "after the rotate")
	w.CLI(t, "lease", "revoke", "-sync", "-prefix", sinch.creds()).OK(t)
	time.Sleep(2 * time.Second) // nothing shows that the agent does not read
	if !shows(leaked) {
		t.Error("after the revocation of the leases: got another token in the agent's file; correct docs/operations.md")
	}
	running.Interrupt(t)
	restarted := time.Now()
	run()
	next := w.token(t, sinch)
	harness.Until(t, "the agent's file has the new token", func() bool { return shows(next) })
	took := time.Since(restarted)
	i.page(t, "operations.md", "How fast readers follow", 0).OK(t)
	if r := w.readCreds(t, sinch); r.LeaseDuration != 300 || r.Text("access_token") != next {
		t.Errorf("with lease_ttl=5m: got a lease of %d s, want 300 s and the same token", r.LeaseDuration)
	}
	t.Logf("the file of the restarted agent had the new token after %.1f s", took.Seconds())
}

// The steps of the runbook end all tokens of a shared and of an unshared account, and then
// remove the engine.
func TestRemoveAnAccount(t *testing.T) {
	w := newWorld(t)
	i := incident{world: w, dir: t.TempDir()}
	for _, a := range []account{sinch.revocable(w.sim), sinch.unshared(w.sim)} {
		w.writeConfig(t, a)
		token := w.token(t, a)
		i.page(t, "operations.md", "Remove an account, or the engine", 0).OK(t)
		if a.fields["share"] == false && w.sim.Token(t, token).Active {
			t.Error("unshared token: got an active one after its lease was revoked, want it revoked")
		}
		i.page(t, "operations.md", "Remove an account, or the engine", 1).OK(t)
		if w.sim.Token(t, token).Active {
			t.Errorf("token with share=%v: got an active one after the deletion, want it revoked", a.fields["share"])
		}
		if r := w.List(t, "sys/leases/lookup/"+a.creds()); r.Status != 404 {
			t.Errorf("leases: got %v, want none", r.Keys())
		}
	}
	i.shell(t, "export VERSION=v0.0.0-dev\n"+i.block(t, "operations.md", "Remove an account, or the engine", 2)).OK(t)
	w.Read(t, "messaging/metrics").Refused(t, 404)
}

// The command of the runbook shows that a server reaches the provider.
func TestRunbookReachesTheProvider(t *testing.T) {
	if _, err := exec.LookPath("curl"); err != nil {
		t.Skip("the command needs curl")
	}
	w := newWorld(t)
	w.writeConfig(t, sinch)
	_, section, _ := strings.Cut(file(t, "../docs/operations.md"), "run this on a Vault server.")
	_, block, found := strings.Cut(section, "```sh\n")
	block, _, _ = strings.Cut(block, "```")
	if !found {
		t.Fatal("docs/operations.md: got no command to run on a Vault server")
	}
	if r := w.Shell(t, t.TempDir(), block).OK(t); !strings.Contains(r.Stderr, "< HTTP/1.1 405") {
		t.Errorf("got %q, want the status 405", r.Stderr)
	}
	w.sim.Stop()
	if r := w.Shell(t, t.TempDir(), block); r.Code == 0 {
		t.Error("with the provider down: got success, want a failure")
	}
}
