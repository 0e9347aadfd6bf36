// SPDX-License-Identifier: MPL-2.0

package acceptance

import (
	"runtime"
	"strings"
	"testing"

	"vault-plugin-secrets-messaging/acceptance/harness"
)

// The commands of docs/upgrade.md work as written. Readers keep their token and leases through each
// upgrade.
func TestUpgrade(t *testing.T) {
	harness.Need(t)
	harness.NeedPrograms(t, "docs/upgrade.md", "sha256sum")
	downloads := map[string]string{"v1.1.0": t.TempDir(), "v1.2.0": t.TempDir()}
	for version, dir := range downloads {
		dist(t, "..", dir, version, hostPlatform())
	}

	t.Run("there and back", func(t *testing.T) {
		u := newUpgrade(t, downloads)
		u.install(t)
		read := u.reader(t)

		read("v1.1.0")
		u.installNext(t)
		u.run(t, "Upgrade", 0)
		read("v1.1.0")
		u.run(t, "Upgrade", 1)
		read("v1.2.0")
		u.run(t, "Roll back", 0)
		read("v1.1.0")
		u.run(t, "Upgrade", 1)
		read("v1.2.0")
		if out := u.run(t, "Remove the old version", 0); strings.Contains(out, "v1.1.0") || strings.Count(out, "v1.2.0") != 2 {
			t.Errorf("versions of the mounts: got %q, want v1.2.0 tuned and running", out)
		}
		u.run(t, "Remove the old version", 1)
		u.KillPlugin(t)
		read("v1.2.0")
	})

	t.Run("from a plugin that was registered without a version", func(t *testing.T) {
		u := newUpgrade(t, downloads)
		harness.CopyPlugin(t, u.pluginDir)
		u.InstallPlugin(t)
		before := u.Read(t, "sys/mounts/messaging").OK(t).Text("running_plugin_version")
		read := u.reader(t)

		u.installNext(t)
		u.run(t, "Upgrade", 0)
		read(before)
		u.run(t, "Upgrade", 1)
		read("v1.2.0")
	})

	t.Run("one mount of two", func(t *testing.T) {
		u := newUpgrade(t, downloads)
		u.install(t)
		u.CLI(t, "secrets", "enable", "-path=other", "-plugin-version=v1.1.0", harness.PluginName).OK(t)
		u.Write(t, "other/config/sinch", sinch.body(u.sim)).OK(t)
		read := u.reader(t)

		u.installNext(t)
		u.run(t, "Upgrade", 1)
		read("v1.2.0")
		u.Read(t, "other/creds/sinch").OK(t)
		if got := u.Read(t, "sys/mounts/other").OK(t).Text("running_plugin_version"); got != "v1.1.0" {
			t.Errorf("version of the mount that was not tuned: got %q, want v1.1.0", got)
		}
	})
}

// upgrade is a world with an empty plugin folder.
type upgrade struct {
	world
	pluginDir string
	downloads map[string]string // the folders of the releases, by version
}

func newUpgrade(t *testing.T, downloads map[string]string) upgrade {
	t.Helper()
	u := upgrade{pluginDir: t.TempDir(), downloads: downloads}
	u.sim = harness.StartSimulator(t)
	u.Server = harness.StartDevWith(t, harness.Options{PluginDir: u.pluginDir})
	return u
}

// run runs commands of docs/upgrade.md, with the test's platform in place of linux_amd64. The
// parameter replace alternates old and new texts.
func (u upgrade) run(t *testing.T, heading string, block int, replace ...string) (stdout string) {
	t.Helper()
	script := strings.ReplaceAll(commands(t, "upgrade.md", heading, block), "linux_amd64", strings.ReplaceAll(hostPlatform(), "/", "_"))
	script = strings.NewReplacer(replace...).Replace(script)
	dir := u.downloads["v1.2.0"]
	if strings.Contains(script, "v1.1.0") {
		dir = u.downloads["v1.1.0"]
	}
	t.Log("$ " + script)
	stdout = u.Shell(t, dir, "export PLUGIN_DIR='"+u.pluginDir+"'\n"+script).OK(t).Stdout
	t.Log(stdout)
	return stdout
}

// install installs v1.1.0 and enables the mount.
func (u upgrade) install(t *testing.T) {
	t.Helper()
	u.run(t, "Install a version", 0)
	u.wantVersion(t, "v1.1.0")
	u.run(t, "Install a version", 2)
}

// installNext installs v1.2.0 with the same commands.
func (u upgrade) installNext(t *testing.T) {
	t.Helper()
	u.run(t, "Install a version", 0, "v1.1.0", "v1.2.0")
	u.wantVersion(t, "v1.2.0")
}

// wantVersion checks the installed plugin's version with the command of docs/upgrade.md.
func (u upgrade) wantVersion(t *testing.T, version string) {
	t.Helper()
	if got := strings.TrimSpace(u.run(t, "Install a version", 1, "v1.1.0", version)); got != version {
		t.Errorf("version of the installed file: got %q, want %s", got, version)
	}
}

// reader writes a config. The function read fails the test if the token has changed, a lease is
// gone, or the plugin has the wrong version.
func (u upgrade) reader(t *testing.T) (read func(version string)) {
	t.Helper()
	u.writeConfig(t, sinch)
	token := u.token(t, sinch)
	logins := u.sim.Logins(t, sinch.provider)
	var leases []string
	return func(version string) {
		t.Helper()
		r := u.readCreds(t, sinch)
		if r.Text("access_token") != token {
			t.Errorf("version %s: got another token, want the first one", version)
		}
		u.wantLogins(t, sinch, logins)
		for _, lease := range leases {
			u.Write(t, "sys/leases/lookup", harness.Fields{"lease_id": lease}).OK(t)
		}
		leases = append(leases, r.LeaseID)
		if got := u.Read(t, "sys/mounts/messaging").OK(t).Text("running_plugin_version"); got != version {
			t.Errorf("running_plugin_version: got %q, want %q", got, version)
		}
	}
}

func hostPlatform() string { return runtime.GOOS + "/" + runtime.GOARCH }
