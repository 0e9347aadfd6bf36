// SPDX-License-Identifier: MPL-2.0

package acceptance

import (
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"vault-plugin-secrets-messaging/acceptance/harness"
)

// The README lists the servers of "make test-servers". The tests that the Makefile names exist.
func TestServersOfTheREADME(t *testing.T) {
	out, err := exec.Command("../scripts/servers", "list").Output()
	if err != nil {
		t.Fatalf("scripts/servers list: %v", err)
	}
	want := map[string][]string{}
	for line := range strings.Lines(string(out)) {
		server, version, _ := strings.Cut(strings.TrimSpace(line), " ")
		want[server] = append(want[server], version)
	}
	readme := harness.ReadFile(t, "../README.md")
	for _, server := range []string{"Vault", "OpenBao"} {
		if row := "\n| " + server + " | " + strings.Join(want[server], ", ") + " |\n"; !strings.Contains(readme, row) {
			t.Errorf("README.md: got no row %q, want it", row)
		}
	}

	smoke := regexp.MustCompile(`(?m)^smoke := \^\((.*)\)\$\$$`).FindStringSubmatch(harness.ReadFile(t, "../Makefile"))
	if smoke == nil {
		t.Fatal("Makefile: got no line smoke := ^(Test...)$, want the tests that \"make test-servers\" runs")
	}
	var sources strings.Builder
	names, err := filepath.Glob("*_test.go")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range names {
		sources.WriteString(harness.ReadFile(t, name))
	}
	for name := range strings.SplitSeq(smoke[1], "|") {
		if !strings.Contains(sources.String(), "\nfunc "+name+"(t *testing.T)") {
			t.Errorf("Makefile: got no test %s in the sources, want each test of \"make test-servers\"", name)
		}
	}
}
