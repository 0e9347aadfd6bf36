// SPDX-License-Identifier: MPL-2.0

package clients

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"vault-plugin-secrets-messaging/acceptance/harness"
)

// springVaults are the versions of Spring Vault in docs/recipes/spring.md.
var springVaults = []string{"3.2.0", "4.0.4"}

// forEachSpringVault tests docs/recipes/spring with several versions of Spring Vault.
func forEachSpringVault(t *testing.T, test func(t *testing.T, program []string)) {
	t.Helper()
	t.Parallel()
	for _, version := range springVaults {
		t.Run(version, func(t *testing.T) {
			program := prepareSpring(t, version)
			t.Parallel() // the test mostly waits
			test(t, program)
		})
	}
}

// The recipe's program sends no expired token. It recovers from a rejected token and from a long
// outage.
func TestSpringVault(t *testing.T) { forEachSpringVault(t, testSpring) }

func testSpring(t *testing.T, program []string) {
	const creds = "messaging/creds/spring"
	server, sim := start(t)
	sim.Configure(t, `{"access_ttl": 30}`)
	server.Write(t, "messaging/config/spring", sinch(sim)).OK(t)
	const noToken = "there is no valid token"
	app, provider := startApp(t, server, sim, creds, noToken, program)
	send := app.send

	send("one")
	sim.WaitForEnd(t, provider.accepted(t, "one"))
	send("two")
	second := provider.accepted(t, "two")
	if n := provider.refused.Load(); n != 0 {
		t.Errorf("after two messages: got %d refused requests, want none with an expired token", n)
	}

	sim.WaitUntilOld(t, second)
	provider.rejected.Store(second)
	send("three")
	third := provider.accepted(t, "three")
	if n := provider.refused.Load(); n != 1 {
		t.Errorf("after a message with a rejected token: got %d refused requests, want 1", n)
	}

	sim.Configure(t, `{"faults": [{"kind": "status", "status": 503}]}`)
	// The program counts the lease from the arrival of the response. So the program may use the
	// token a little too long.
	harness.Until(t, "the token ended 2 s ago", func() bool { return sim.Token(t, third).ExpiresIn < -2 })
	send("during the outage")
	harness.Until(t, "the program has no valid token", func() bool { return strings.Contains(app.output(), noToken) })
	sim.Configure(t, `{"faults": []}`)
	// After an outage of a minute, the engine may wait for another minute.
	harness.Within(t, 3*time.Minute, "a message after the outage is accepted", func() error {
		send("four")
		if _, ok := provider.bearer.Load("four"); !ok {
			return errors.New("the API has not accepted the message")
		}
		return nil
	})
	sim.WaitForEnd(t, provider.accepted(t, "four"))
	send("five") // with the next token
	provider.accepted(t, "five")
	if n := provider.refused.Load(); n != 1 {
		t.Errorf("after the outage: got %d refused requests, want still 1", n)
	}
}

// If a secret has no lease, Spring Vault reads the secret only once. The recipe's program then
// tells the user to set lease=true.
func TestSpringVaultWithoutLeases(t *testing.T) { forEachSpringVault(t, testSpringWithoutLeases) }

func testSpringWithoutLeases(t *testing.T, program []string) {
	const creds = "messaging/creds/spring"
	server, sim := start(t)
	server.EnableAudit(t)
	sim.Configure(t, `{"access_ttl": 8}`)
	config := sinch(sim)
	config["lease"] = false
	server.Write(t, "messaging/config/spring", config).OK(t)
	app := pipe(t, server.Env(t), "set lease=true", append(program, creds, "http://127.0.0.1:1")...)

	harness.Within(t, startTime, "the program has read", func() error {
		if n := reads(t, server, creds); n != 1 {
			return fmt.Errorf("got %d reads, want 1", n)
		}
		return nil
	})
	sim.WaitForEnd(t, server.Read(t, creds).OK(t).Text("access_token"))
	if n := reads(t, server, creds) - 1; n != 1 { // without the test's own read
		t.Errorf("got %d reads of %s by the program, want 1; if Spring Vault rotates without a lease, correct docs/recipes/spring.md", n, creds)
	}
	app.send("one")
}

func prepareSpring(t *testing.T, version string) []string {
	t.Helper()
	harness.NeedPrograms(t, "Spring Vault "+version, "java", "mvn")
	pom := recipes + "/spring/pom.xml"
	dir := harness.Install(t, "spring-"+version, pom, func(dir string) {
		harness.Run(t, ".", "mvn", "-B", "-q", "-f", pom, "org.apache.maven.plugins:maven-dependency-plugin:3.8.1:copy-dependencies",
			"-Dspring-vault.version="+version, "-DoutputDirectory="+dir)
	})
	return []string{"java", "-DbeforeEnd=5", "-cp", dir + "/*", harness.Absolute(t, recipes+"/spring/Send.java")}
}
