// SPDX-License-Identifier: MPL-2.0

package acceptance

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"vault-plugin-secrets-messaging/acceptance/harness"
)

// The commands in the README, and then in docs/recipes/agent.md, work as written.
func TestREADME(t *testing.T) {
	harness.Need(t)
	readme := harness.ReadFile(t, "../README.md")
	blocks := harness.CodeBlocks(t, readme, "sh")
	if len(blocks) < 3 || blocks[0] != "make dev\n" || blocks[1] != "make test\n" {
		t.Fatalf("README: got the commands %q, want make dev (which TestMakeDev runs) and make test (which runs this test) first", blocks)
	}

	sim := harness.StartSimulator(t)
	dir, pluginDir := t.TempDir(), t.TempDir()
	s := harness.StartDevWith(t, harness.Options{PluginDir: pluginDir, Env: sim.AsInternet(t)})
	harness.CopyPlugin(t, filepath.Join(dir, "bin"))
	harness.WriteFile(t, dir, "pw.txt", sinchPassword+"\n")
	var output strings.Builder
	for _, block := range blocks[2:] {
		t.Log("$ " + block)
		output.WriteString(s.Shell(t, dir, "export PLUGIN_DIR='"+pluginDir+"'\n"+block).OK(t).Stdout)
	}

	agent := recipe(t, "agent.md").blocks
	s.Shell(t, dir, agent[0]).OK(t)
	s.StartShell(t, dir, agent[1]) // the agent runs until the test ends
	harness.Until(t, "the agent writes the token", func() bool {
		_, err := os.Stat(filepath.Join(dir, "sinch-token"))
		return err == nil
	})
	if known := sim.Token(t, harness.ReadFile(t, filepath.Join(dir, "sinch-token"))); !known.Active {
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

// outputNames returns the field names in the README's sample output.
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
