// SPDX-License-Identifier: MPL-2.0

package acceptance

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"vault-plugin-secrets-messaging/acceptance/harness"
)

// A firewall or proxy answers instead of the provider, or nothing answers. Apps keep their token.
// The error does not blame the credentials, and the runbook explains the error.
func TestNetworkIncidents(t *testing.T) {
	w := newWorld(t)
	rows := harness.ReadFile(t, "../docs/operations.md")
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

// While an operator changes credentials as the runbook says, apps always get a live token.
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
	harness.WriteFile(t, i.dir, "pw.txt", "changed-horse\n")
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

// After a leak, Vault Agent must restart to read a new token. Revoking leases is not enough.
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
	time.Sleep(2 * time.Second) // the test cannot observe that the agent does not read
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

// The runbook's steps end all tokens of an account, and then remove the engine.
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
	i.shell(t, "export VERSION=v0.0.0-dev\n"+commands(t, "operations.md", "Remove an account, or the engine", 2)).OK(t)
	w.Read(t, "messaging/metrics").Refused(t, 404)
}

// The runbook's command shows whether a server reaches the provider.
func TestRunbookReachesTheProvider(t *testing.T) {
	harness.NeedPrograms(t, "the runbook's request to the provider", "curl")
	w := newWorld(t)
	w.writeConfig(t, sinch)
	_, section, _ := strings.Cut(harness.ReadFile(t, "../docs/operations.md"), "run this on a Vault server.")
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
