// SPDX-License-Identifier: MPL-2.0

package acceptance

import (
	"net"
	"net/url"
	"regexp"
	"strings"
	"testing"

	"vault-plugin-secrets-messaging/acceptance/harness"
)

// "make dev" shows three tokens and the commands to try next. Ctrl-C ends every process.
func TestMakeDev(t *testing.T) {
	harness.Need(t)
	// take port 8200, unless another process has it
	if l, err := net.Listen("tcp", "127.0.0.1:8200"); err == nil {
		defer l.Close()
	}
	dev := harness.StartScript(t, "../scripts/dev")
	out := dev.WaitFor(t, "Ctrl-C ends it.")

	for _, want := range []string{"Port 8200 is taken", "read messaging/creds/sinch ", "read messaging/config/sinch ", "path-help messaging/creds/sinch "} {
		if !strings.Contains(out, want) {
			t.Errorf("output: got no %q, want it", want)
		}
	}
	if n := len(regexp.MustCompile(`(?m)^access_token +\S+$`).FindAllString(out, -1)); n != 3 {
		t.Errorf("output: got %d tokens, want 3", n)
	}
	next := regexp.MustCompile(`export VAULT_ADDR=(\S+) VAULT_TOKEN=(\S+)`).FindStringSubmatch(out)
	if next == nil {
		t.Fatalf("output: got\n%s\nwant a command that exports VAULT_ADDR and VAULT_TOKEN", out)
	}
	left := dev.Descendants()
	if len(left) < 3 {
		t.Errorf("got %d processes, want at least Vault, the plugin and the simulator", len(left))
	}
	dev.Interrupt(t)
	for _, pid := range left {
		if !harness.WaitGone(pid) {
			t.Errorf("after Ctrl-C: got process %d running, want it ended", pid)
		}
	}
	for _, addr := range []string{next[1], regexp.MustCompile(`token_url=(\S+)`).FindStringSubmatch(out)[1]} {
		u, err := url.Parse(addr)
		if err != nil {
			t.Fatal(err)
		}
		if conn, err := net.Dial("tcp", u.Host); err == nil {
			conn.Close()
			t.Errorf("after Ctrl-C: got a process that listens on %s, want none", u.Host)
		}
	}
	if t.Failed() {
		t.Log(out)
	}
}
