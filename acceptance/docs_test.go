// SPDX-License-Identifier: MPL-2.0

package acceptance

import (
	"encoding/json"
	"maps"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// The example provider of docs/adding-a-provider.md builds and keeps the contract.
func TestAddingAProvider(t *testing.T) {
	blocks := fenced(t, file(t, "../docs/adding-a-provider.md"), "go")
	if len(blocks) != 4 {
		t.Fatalf("docs/adding-a-provider.md: got %d Go blocks, want 4", len(blocks))
	}
	dir := t.TempDir()
	replaced := map[string]string{} // file of the tree → the file that replaces it
	overlay := func(name, content string) {
		root, err := filepath.Abs("../providers")
		if err != nil {
			t.Fatal(err)
		}
		putFile(t, dir, name, content)
		replaced[filepath.Join(root, name)] = filepath.Join(dir, name)
	}
	after := func(name, line, more string) {
		text := file(t, "../providers/"+name)
		end := strings.Index(text, line)
		if end < 0 {
			t.Fatalf("%s: want the line %q in it", name, line)
		}
		end += strings.Index(text[end:], "\n") + 1
		overlay(name, text[:end]+more+text[end:])
	}
	overlay("parcelbird.go", blocks[0])
	overlay("parcelbird_test.go", blocks[1])
	after("all.go", "\t\toauth2{},", blocks[2])
	after("contract_test.go", "\t{\"oauth2\", ", blocks[3])
	content, err := json.Marshal(map[string]any{"Replace": replaced})
	if err != nil {
		t.Fatal(err)
	}
	putFile(t, dir, "overlay.json", string(content))

	files := slices.Collect(maps.Values(replaced))
	if out, err := exec.Command("gofmt", append([]string{"-l"}, files...)...).Output(); err != nil || len(out) > 0 {
		t.Errorf("gofmt -l: got %q, error %v, want no file", out, err)
	}
	cmd := exec.Command("go", "test", "-overlay="+filepath.Join(dir, "overlay.json"), "-v", "-run", "Parcelbird|Contract", "./providers")
	cmd.Dir = ".."
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	for _, test := range []string{"TestParcelbirdMint", "TestParcelbirdFailures", "TestContractSecretsAreBlanked/parcelbird", "TestContractFailures/parcelbird"} {
		if !strings.Contains(string(out), "--- PASS: "+test+" ") {
			t.Errorf("want %s to pass, got\n%s", test, out)
		}
	}
}

// docs/operations.md explains each line that the plugin logs, with its level.
func TestOperationsExplainsEveryLogLine(t *testing.T) {
	var sources []string
	for _, pattern := range []string{"../*.go", "../cmd/vault-plugin-secrets-messaging/*.go",
		"../internal/account/*.go", "../internal/revocation/*.go", "../internal/telemetry/*.go"} {
		found, err := filepath.Glob(pattern)
		if err != nil {
			t.Fatal(err)
		}
		sources = append(sources, found...)
	}
	page, lines := file(t, "../docs/operations.md"), 0
	for _, source := range sources {
		if strings.HasSuffix(source, "_test.go") {
			continue
		}
		call := regexp.MustCompile(`(?:log|[lL]og\(\)|hclog\.New\(.*\))\.(Trace|Debug|Info|Warn|Error)\((.*)`)
		for _, m := range call.FindAllStringSubmatch(file(t, source), -1) {
			lines++
			message := regexp.MustCompile(`^"([^"]+)"`).FindStringSubmatch(m[2])
			if message == nil {
				t.Errorf("%s: got the log call %s, want one with a literal message", source, m[0])
				continue
			}
			row := regexp.MustCompile("(?m)^\\| " + strings.ToLower(m[1]) + " \\|.*`" + regexp.QuoteMeta(message[1]) + "`")
			if !row.MatchString(page) {
				t.Errorf("docs/operations.md: want the message %q at level %s, from %s", message[1], m[1], source)
			}
		}
	}
	if lines < 10 {
		t.Errorf("got %d log calls in the source, want at least 10", lines)
	}
}
