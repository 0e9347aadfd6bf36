// SPDX-License-Identifier: MPL-2.0

package acceptance

import (
	"os/exec"
	"runtime"
	"strings"
	"testing"

	"vault-plugin-secrets-messaging/acceptance/harness"
)

// The commands of docs/upgrade.md, word for word, and what they do to readers:
// nothing but that another version answers them.
func TestUpgrade(t *testing.T) {
	harness.Need(t)
	if _, err := exec.LookPath("sha256sum"); err != nil {
		t.Skip("the commands are for systems with sha256sum")
	}
	downloads := map[string]string{"v1.1.0": t.TempDir(), "v1.2.0": t.TempDir()}
	for version, dir := range downloads {
		dist(t, "..", dir, version, hostPlatform())
	}

	t.Run("there and back", func(t *testing.T) {
		u := newUpgrade(t, downloads)
		u.run(t, "Install a version", 0)
		u.run(t, "Install a version", 1)
		read := u.reader(t)

		read("v1.1.0")
		u.run(t, "Upgrade", 0)
		read("v1.1.0")
		u.run(t, "Upgrade", 1)
		read("v1.2.0")
		u.run(t, "Roll back", 0)
		read("v1.1.0")
		u.run(t, "Upgrade", 1)
		read("v1.2.0")
		u.run(t, "Take the old version away", 0)
		u.KillPlugin(t)
		read("v1.2.0")
	})

	t.Run("from what the README installs", func(t *testing.T) {
		u := newUpgrade(t, downloads)
		harness.CopyPlugin(t, u.pluginDir)
		u.InstallPlugin(t)
		before := u.Read(t, "sys/mounts/messaging").OK(t).Text("running_plugin_version")
		read := u.reader(t)

		u.run(t, "Upgrade", 0)
		read(before)
		u.run(t, "Upgrade", 1)
		read("v1.2.0")
	})

	t.Run("one mount of two", func(t *testing.T) {
		u := newUpgrade(t, downloads)
		u.run(t, "Install a version", 0)
		u.run(t, "Install a version", 1)
		u.CLI(t, "secrets", "enable", "-path=other", "-plugin-version=v1.1.0", harness.PluginName).OK(t)
		u.Write(t, "other/config/sinch", sinch.write(u.sim)).OK(t)
		read := u.reader(t)

		u.run(t, "Upgrade", 0)
		u.run(t, "Upgrade", 1)
		read("v1.2.0")
		u.Read(t, "other/creds/sinch").OK(t)
		if got := u.Read(t, "sys/mounts/other").OK(t).Text("running_plugin_version"); got != "v1.1.0" {
			t.Errorf("the mount that was not tuned runs %s", got)
		}
	})
}

// upgrade is a server whose plugin folder is its own, and empty.
type upgrade struct {
	world
	pluginDir string
	downloads map[string]string // version → folder
}

func newUpgrade(t *testing.T, downloads map[string]string) upgrade {
	t.Helper()
	u := upgrade{pluginDir: realTempDir(t), downloads: downloads}
	u.sim = harness.StartSimulator(t)
	u.Server = harness.StartDevWith(t, harness.Options{PluginDir: u.pluginDir})
	return u
}

// run runs a block of docs/upgrade.md: that under a heading which has so many
// before it there. It is for linux_amd64; here it is for what this is.
func (u upgrade) run(t *testing.T, heading string, block int) {
	t.Helper()
	_, section, found := strings.Cut(file(t, "../docs/upgrade.md"), "\n## "+heading+"\n")
	section, _, _ = strings.Cut(section, "\n## ")
	blocks := shellBlocks(section)
	if !found || block >= len(blocks) {
		t.Fatalf("docs/upgrade.md has no block %d under %q", block, heading)
	}
	script := strings.ReplaceAll(blocks[block], "linux_amd64", strings.ReplaceAll(hostPlatform(), "/", "_"))
	dir := u.downloads["v1.2.0"]
	if strings.Contains(script, "v1.1.0") {
		dir = u.downloads["v1.1.0"]
	}
	t.Log("$ " + script)
	t.Log(u.Shell(t, dir, "export PLUGIN_DIR='"+u.pluginDir+"'\n"+script).OK(t).Stdout)
}

// reader writes a config, and returns what reads its token and fails the test
// unless it is the one that there was from the beginning, got with one login,
// its leases all live, and the plugin that answered is of this version.
func (u upgrade) reader(t *testing.T) (read func(version string)) {
	t.Helper()
	u.Write(t, sinch.path(), sinch.write(u.sim)).OK(t)
	token := u.Read(t, sinch.creds()).OK(t).Text("access_token")
	logins := u.sim.Logins(t, sinch.provider)
	var leases []string
	return func(version string) {
		t.Helper()
		r := u.Read(t, sinch.creds()).OK(t)
		if r.Text("access_token") != token {
			t.Error("there is another token")
		}
		if n := u.sim.Logins(t, sinch.provider); n != logins {
			t.Errorf("%d logins, want %d", n, logins)
		}
		for _, lease := range leases {
			u.Write(t, "sys/leases/lookup", harness.Fields{"lease_id": lease}).OK(t)
		}
		leases = append(leases, r.LeaseID)
		if got := u.Read(t, "sys/mounts/messaging").OK(t).Text("running_plugin_version"); got != version {
			t.Errorf("version %q is running, want %q", got, version)
		}
	}
}

func hostPlatform() string { return runtime.GOOS + "/" + runtime.GOARCH }
