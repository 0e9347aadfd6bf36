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

// Every command in the README is run, word for word and in its order.
func TestREADME(t *testing.T) {
	harness.Need(t)
	if runtime.GOOS == "darwin" {
		t.Skip("Go trusts no certificate file on this system, so the providers cannot be played under their own names")
	}
	readme := file(t, "../README.md")
	blocks := shellBlocks(readme)
	if len(blocks) < 3 || blocks[0] != "make dev\n" || blocks[1] != "make test\n" {
		t.Fatalf("the README's first two commands are not make dev (which TestMakeDev runs) and make test (which runs this): %q", blocks)
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
		if strings.Contains(block, "vault agent ") { // which stays
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
		t.Errorf("the agent's file has no token that lives: %+v", known)
	}
	app := s.As(s.Write(t, "auth/token/create", harness.Fields{"policies": []string{"messaging-app"}}).OK(t).Auth.ClientToken)
	app.Read(t, "messaging/creds/sinch").OK(t)
	app.Read(t, "messaging/config/sinch").Refused(t, 403)
	app.Read(t, "messaging/creds/other").Refused(t, 403)

	for _, name := range outputNames(readme) {
		if !regexp.MustCompile(`(?m)^` + name + ` `).MatchString(output.String()) {
			t.Errorf("the README shows %q in an answer, and none has it:\n%s", name, output.String())
		}
	}
}

// The README's table has the providers that there are, with their fields.
func TestREADMEListsTheProviders(t *testing.T) {
	s := harness.StartDev(t)
	s.InstallPlugin(t)
	rows := map[string]string{}
	for _, row := range regexp.MustCompile("(?m)^\\| `([a-z0-9-]+)` \\|.*$").FindAllStringSubmatch(file(t, "../README.md"), -1) {
		rows[row[1]] = row[0]
	}
	delete(rows, "provider") // the table's head
	for _, name := range s.List(t, "messaging/providers").OK(t).Keys() {
		row, ok := rows[name]
		if !ok {
			t.Errorf("the README lacks provider %s", name)
		}
		delete(rows, name)
		fields, _ := s.Read(t, "messaging/providers/"+name).OK(t).Data["fields"].(map[string]any)
		if len(fields) == 0 {
			t.Errorf("provider %s names no fields", name)
		}
		for field := range fields {
			if !strings.Contains(row, "`"+field+"`") {
				t.Errorf("the README's row of %s lacks the field %s", name, field)
			}
		}
	}
	if len(rows) > 0 {
		t.Errorf("the README has providers that do not exist: %v", rows)
	}
}

// shellBlocks returns what the README gives to type.
func shellBlocks(readme string) []string {
	var blocks []string
	for _, m := range regexp.MustCompile("(?ms)^```sh\n(.*?)^```").FindAllStringSubmatch(readme, -1) {
		blocks = append(blocks, m[1])
	}
	return blocks
}

// outputNames returns the names of the fields that the README shows in answers.
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

// realTempDir is a folder without a symbolic link in its path, which is how Vault
// wants its plugin folder.
func realTempDir(t *testing.T) string {
	t.Helper()
	dir, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	return dir
}
