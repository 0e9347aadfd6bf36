// SPDX-License-Identifier: MPL-2.0

package clients

import (
	"errors"
	"fmt"
	"os/exec"
	"strings"
	"testing"
	"time"

	"vault-plugin-secrets-messaging/acceptance/harness"
	"vault-plugin-secrets-messaging/internal/simulator"
)

// springVaults are the versions of Spring Vault that docs/recipes/spring.md names.
var springVaults = []string{"3.2.0", "4.0.4"}

// The program in docs/recipes/spring sends no expired token. It recovers from a rejected token, and
// from an outage that is longer than the life of a token.
func TestSpringVault(t *testing.T) {
	t.Parallel()
	for _, version := range springVaults {
		t.Run(version, func(t *testing.T) {
			program := prepareSpring(t, version)
			t.Parallel() // the test mostly waits for tokens to end
			testSpring(t, program)
		})
	}
}

func testSpring(t *testing.T, program []string) {
	const creds = "messaging/creds/spring"
	server, sim := start(t)
	sim.Configure(t, `{"access_ttl": 20}`)
	server.Write(t, "messaging/config/spring", sinch(sim)).OK(t)
	app := server.As(server.AppToken(t, fmt.Sprintf("path %q { capabilities = [\"read\"] }", creds)))
	provider := startMessageAPI(t, sim)
	send := pipe(t, app.Env(t), func(err error, output string) {
		if want := "there is no valid token"; err != nil || !strings.Contains(output, want) {
			t.Errorf("program: got error %v and output %q, want %q in the output after the outage", err, output, want)
		}
	}, append(program, creds, provider.URL)...)
	untilEnd := func(token string) {
		t.Helper()
		harness.Until(t, "the token has ended", func() bool { return !sim.Token(t, token).Active })
	}

	send("one")
	untilEnd(provider.accepted(t, "one"))
	send("two")
	second := provider.accepted(t, "two")
	if n := provider.refusals(); n != 0 {
		t.Errorf("after two messages: got %d refused requests, want none with an expired token", n)
	}

	harness.Until(t, "the second token is 11 s old", func() bool {
		return time.Since(sim.Token(t, second).IssuedAt) > 11*time.Second
	})
	provider.reject(second)
	send("three")
	third := provider.accepted(t, "three")
	if n := provider.refusals(); n != 1 {
		t.Errorf("after a message with a rejected token: got %d refused requests, want 1", n)
	}

	sim.Configure(t, `{"faults": [{"kind": "status", "status": 503}]}`)
	untilEnd(third)
	send("during the outage")
	sim.Configure(t, `{"faults": []}`)
	harness.Within(t, time.Minute, "a message after the outage is accepted", func() error {
		send("four")
		if !provider.has("four") {
			return errors.New("the program has no token")
		}
		return nil
	})
	untilEnd(provider.accepted(t, "four"))
	send("five") // rotation goes on
	provider.accepted(t, "five")
	if n := provider.refusals(); n != 1 {
		t.Errorf("after the outage: got %d refused requests, want still 1", n)
	}
}

// Spring Vault reads a secret without a lease once and never again. The program says so.
func TestSpringVaultWithoutLeases(t *testing.T) {
	t.Parallel()
	for _, version := range springVaults {
		t.Run(version, func(t *testing.T) {
			program := prepareSpring(t, version)
			t.Parallel()
			testSpringWithoutLeases(t, program)
		})
	}
}

func testSpringWithoutLeases(t *testing.T, program []string) {
	const creds = "messaging/creds/spring"
	server, sim := start(t)
	server.EnableAudit(t)
	sim.Configure(t, `{"access_ttl": 8}`)
	config := sinch(sim)
	config["lease"] = false
	server.Write(t, "messaging/config/spring", config).OK(t)
	send := pipe(t, server.Env(t), func(err error, output string) {
		if want := "set lease=true"; err != nil || !strings.Contains(output, want) {
			t.Errorf("program with lease=false: got error %v and output %q, want %q in the output", err, output, want)
		}
	}, append(program, creds, "http://127.0.0.1:1")...)

	harness.Until(t, "the program has read", func() bool { return reads(t, server, creds) == 1 })
	time.Sleep(10 * time.Second) // longer than the token lives
	if n := reads(t, server, creds); n != 1 {
		t.Errorf("got %d reads of %s, want 1; if Spring Vault rotates without a lease, correct docs/recipes/spring.md", n, creds)
	}
	if n := sim.Logins(t, simulator.SinchIndia); n != 1 {
		t.Errorf("got %d logins, want 1", n)
	}
	send("one")
}

// prepareSpring installs the libraries, and returns the command of the program.
func prepareSpring(t *testing.T, version string) []string {
	t.Helper()
	for _, program := range []string{"java", "mvn"} {
		if _, err := exec.LookPath(program); err != nil {
			fmt.Printf("LEFT OUT: Spring Vault %s, because there is no %s on the PATH\n", version, program)
			t.Skipf("there is no %s on the PATH", program)
		}
	}
	pom := recipes + "/spring/pom.xml"
	dir := harness.Install(t, "spring-"+version, pom, func(dir string) {
		harness.Run(t, ".", "mvn", "-B", "-q", "-f", pom, "org.apache.maven.plugins:maven-dependency-plugin:3.8.1:copy-dependencies",
			"-Dspring-vault.version="+version, "-DoutputDirectory="+dir)
	})
	return []string{"java", "-DbeforeEnd=3", "-cp", dir + "/*", harness.Absolute(t, recipes+"/spring/Send.java")}
}
