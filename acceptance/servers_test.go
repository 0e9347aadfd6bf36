// SPDX-License-Identifier: MPL-2.0

package acceptance

import (
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// The README lists the servers that "make test-servers" runs, and the tests that it runs exist.
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
	readme := file(t, "../README.md")
	for _, server := range []string{"Vault", "OpenBao"} {
		if row := "\n| " + server + " | " + strings.Join(want[server], ", ") + " |\n"; !strings.Contains(readme, row) {
			t.Errorf("README.md: want the row %q", row)
		}
	}

	smoke := regexp.MustCompile(`(?m)^smoke := \^\((.*)\)\$\$$`).FindStringSubmatch(file(t, "../Makefile"))
	if smoke == nil {
		t.Fatal("Makefile: want the names of the tests that make test-servers runs")
	}
	var sources strings.Builder
	names, err := filepath.Glob("*_test.go")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range names {
		sources.WriteString(file(t, name))
	}
	for name := range strings.SplitSeq(smoke[1], "|") {
		if !strings.Contains(sources.String(), "\nfunc "+name+"(t *testing.T)") {
			t.Errorf("Makefile: make test-servers names the test %s, want one that exists", name)
		}
	}
}
