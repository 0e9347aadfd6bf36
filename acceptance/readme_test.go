// SPDX-License-Identifier: MPL-2.0

package acceptance

import (
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"vault-plugin-secrets-messaging/acceptance/harness"
)

// Each command in the README works, word for word and in order.
func TestREADME(t *testing.T) {
	harness.Need(t)
	if runtime.GOOS == "darwin" {
		t.Skip("Go reads no certificate file on this system, so the simulator cannot use the providers' host names")
	}
	readme := file(t, "../README.md")
	blocks := shellBlocks(readme)
	if len(blocks) < 3 || blocks[0] != "make dev\n" || blocks[1] != "make test\n" {
		t.Fatalf("README: got the commands %q, want make dev (which TestMakeDev runs) and make test (which runs this test) first", blocks)
	}

	sim := harness.StartSimulator(t)
	dir, pluginDir := t.TempDir(), realTempDir(t)
	s := harness.StartDevWith(t, harness.Options{PluginDir: pluginDir, Env: sim.AsInternet(t)})
	harness.CopyPlugin(t, filepath.Join(dir, "bin"))
	if err := os.WriteFile(filepath.Join(dir, "pw.txt"), []byte(sinchPassword+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	var output strings.Builder
	for _, block := range blocks[2:] {
		t.Log("$ " + block)
		script := "export PLUGIN_DIR='" + pluginDir + "'\n" + block
		if strings.Contains(block, "vault agent ") { // it runs until the test ends
			s.StartShell(t, dir, script)
			harness.Within(t, 30*time.Second, "the agent writes the token", func() error {
				_, err := os.Stat(filepath.Join(dir, "sinch-token"))
				return err
			})
			continue
		}
		output.WriteString(s.Shell(t, dir, script).OK(t).Stdout)
	}

	if known := sim.Token(t, file(t, filepath.Join(dir, "sinch-token"))); !known.Active {
		t.Errorf("token in the agent's file: got %+v, want an active one", known)
	}
	app := s.As(s.Write(t, "auth/token/create", harness.Fields{"policies": []string{"messaging-app"}}).OK(t).Auth.ClientToken)
	app.Read(t, "messaging/creds/sinch").OK(t)
	app.Read(t, "messaging/config/sinch").Refused(t, 403)
	app.Read(t, "messaging/creds/other").Refused(t, 403)

	for _, name := range outputNames(readme) {
		if !regexp.MustCompile(`(?m)^` + name + ` `).MatchString(output.String()) {
			t.Errorf("README: got %q in a sample, want only fields of the answers:\n%s", name, output.String())
		}
	}
}

// shellBlocks returns the blocks of shell commands of a page. Blocks in lists are indented.
func shellBlocks(readme string) []string {
	var blocks []string
	for _, m := range regexp.MustCompile("(?ms)^ *```sh\n(.*?)^ *```").FindAllStringSubmatch(readme, -1) {
		blocks = append(blocks, m[1])
	}
	return blocks
}

// outputNames returns the fields in the sample answers of the README.
func outputNames(readme string) []string {
	var names []string
	for _, m := range regexp.MustCompile("(?ms)^```\nKey +Value\n[- ]+\n(.*?)^```").FindAllStringSubmatch(readme, -1) {
		for line := range strings.Lines(m[1]) {
			names = append(names, strings.Fields(line)[0])
		}
	}
	slices.Sort(names)
	return names
}

// realTempDir returns a folder without a symbolic link in its path, as Vault requires of a
// plugin folder.
func realTempDir(t *testing.T) string {
	t.Helper()
	dir, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	return dir
}
