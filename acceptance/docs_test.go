// SPDX-License-Identifier: MPL-2.0

package acceptance

import (
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"vault-plugin-secrets-messaging/acceptance/harness"
)

// docs/operations.md explains each log line and gives the line's level.
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
	page, lines := harness.ReadFile(t, "../docs/operations.md"), 0
	for _, source := range sources {
		if strings.HasSuffix(source, "_test.go") {
			continue
		}
		call := regexp.MustCompile(`(?:log|[lL]og\(\)|hclog\.New\(.*\))\.(Trace|Debug|Info|Warn|Error)\((.*)`)
		for _, m := range call.FindAllStringSubmatch(harness.ReadFile(t, source), -1) {
			lines++
			message := regexp.MustCompile(`^"([^"]+)"`).FindStringSubmatch(m[2])
			if message == nil {
				t.Errorf("%s: got the log call %s, want one with a literal message", source, m[0])
				continue
			}
			row := regexp.MustCompile("(?m)^\\| " + strings.ToLower(m[1]) + " \\|.*`" + regexp.QuoteMeta(message[1]) + "`")
			if !row.MatchString(page) {
				t.Errorf("docs/operations.md: got no row for the message %q at level %s, want one because %s logs it", message[1], m[1], source)
			}
		}
	}
	if lines < 10 {
		t.Errorf("got %d log calls in the source, want at least 10", lines)
	}
}
