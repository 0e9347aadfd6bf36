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

// What a newcomer sees of "make dev", and that Ctrl-C ends all of it.
func TestMakeDev(t *testing.T) {
	harness.Need(t)
	// a port that is taken is another's business
	if l, err := net.Listen("tcp", "127.0.0.1:8200"); err == nil {
		defer l.Close()
	}
	dev := harness.StartScript(t, "../scripts/dev")
	out := dev.WaitFor(t, "Ctrl-C ends it.")

	if !strings.Contains(out, "Port 8200 is taken") {
		t.Errorf("it does not say that the port is taken")
	}
	if n := len(regexp.MustCompile(`(?m)^access_token +\S+$`).FindAllString(out, -1)); n != 3 {
		t.Errorf("it shows %d tokens, want 3", n)
	}
	next := regexp.MustCompile(`export VAULT_ADDR=(\S+) VAULT_TOKEN=(\S+)`).FindStringSubmatch(out)
	if next == nil {
		t.Fatalf("it does not say what to type next:\n%s", out)
	}
	for _, command := range []string{"read messaging/creds/sinch ", "read messaging/config/sinch ", "path-help messaging/creds/sinch "} {
		if !strings.Contains(out, command) {
			t.Errorf("it does not say to try %q", command)
		}
	}
	left := dev.Descendants()
	if len(left) < 3 {
		t.Errorf("it has %d processes running, want Vault, the plugin and the simulator at least", len(left))
	}
	dev.Interrupt(t)
	for _, pid := range left {
		if !harness.WaitGone(pid) {
			t.Errorf("process %d is still there", pid)
		}
	}
	for _, addr := range []string{next[1], regexp.MustCompile(`token_url=(\S+)`).FindStringSubmatch(out)[1]} {
		u, err := url.Parse(addr)
		if err != nil {
			t.Fatal(err)
		}
		if conn, err := net.Dial("tcp", u.Host); err == nil {
			conn.Close()
			t.Errorf("something still listens on %s", u.Host)
		}
	}
	if t.Failed() {
		t.Log(out)
	}
}
