// SPDX-License-Identifier: MPL-2.0

package clients

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"vault-plugin-secrets-messaging/acceptance/harness"
	"vault-plugin-secrets-messaging/internal/simulator"
)

// The programs of docs/recipes read one token for many messages, another one in
// time, and another one when the provider refuses theirs, with a policy that
// allows nothing else; with leases and without.
func TestRecipes(t *testing.T) {
	server, sim := start(t)
	server.EnableAudit(t)
	sim.Turn(t, `{"access_ttl": 10}`)
	for _, r := range runtimes {
		t.Run(r.name, func(t *testing.T) {
			recipe, _ := r.ready(t)
			t.Parallel() // most of it is waiting for tokens to end
			for _, lease := range []bool{true, false} {
				t.Run(fmt.Sprintf("lease=%v", lease), func(t *testing.T) {
					t.Parallel()
					name := fmt.Sprintf("%s-%v", r.config(), lease)
					config := sinch(sim)
					config["lease"] = lease
					server.Write(t, "messaging/config/"+name, config).OK(t)
					testRecipe(t, server, sim, recipe, name)
				})
			}
		})
	}
}

func testRecipe(t *testing.T, server *harness.Server, sim *harness.Simulator, recipe []string, name string) {
	creds := "messaging/creds/" + name
	app := server.As(server.AppToken(t, fmt.Sprintf("path %q { capabilities = [\"read\"] }", creds)))
	provider := startMessages(t, sim)
	say := pipeTo(t, app.Env(t), slices.Concat(recipe, []string{creds, provider.URL})...)

	say("one")
	first := provider.accepted(t, "one")
	say("two")
	if second := provider.accepted(t, "two"); second != first {
		t.Error("the second message went with another token")
	}
	if n := reads(t, server, creds); n != 1 {
		t.Errorf("it has read %d tokens for two messages", n)
	}

	harness.Within(t, time.Minute, "the first token ends", func() error {
		if sim.Token(t, first).Active {
			return errors.New("it lives")
		}
		return nil
	})
	say("three")
	third := provider.accepted(t, "three")
	if n := provider.refusals(); n != 0 {
		t.Errorf("%d messages went with a token that had ended", n)
	}

	provider.revoke(third)
	server.Write(t, "messaging/rotate/"+name, nil).OK(t)
	say("four")
	provider.accepted(t, "four")
	if n := provider.refusals(); n != 1 {
		t.Errorf("%d messages were refused, want the one", n)
	}
	if n := reads(t, server, creds); n != 3 {
		t.Errorf("it has read %d tokens, want 3", n)
	}
}

// reads returns how often a path was read, by the audit log.
func reads(t *testing.T, server *harness.Server, path string) (n int) {
	t.Helper()
	audit, err := os.ReadFile(server.Audit)
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(audit)) {
		if strings.Contains(line, `"type":"request"`) && strings.Contains(line, `"path":"`+path+`"`) {
			n++
		}
	}
	return n
}

func start(t *testing.T) (*harness.Server, *harness.Simulator) {
	t.Helper()
	sim, server := harness.StartSimulator(t), harness.StartDev(t)
	server.InstallPlugin(t)
	return server, sim
}

// sinch is an account that the simulator knows.
func sinch(sim *harness.Simulator) harness.Fields {
	return harness.Fields{
		"provider": simulator.SinchIndia, "token_url": sim.TokenURL(simulator.SinchIndia),
		"username": "acme", "password": "correct-horse",
	}
}

// pipeTo starts a program and returns what gives it a line of input. When the
// test is over the input ends, and the program must end too, with success.
func pipeTo(t *testing.T, env []string, args ...string) (say func(line string)) {
	t.Helper()
	cmd := exec.Command(args[0], args[1:]...)
	cmd.Env = env
	var output bytes.Buffer
	cmd.Stdout, cmd.Stderr = &output, &output
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	t.Cleanup(func() {
		in.Close()
		kill := time.AfterFunc(30*time.Second, func() { _ = cmd.Process.Kill() })
		defer kill.Stop()
		if err := <-ended; err != nil || output.Len() > 0 {
			t.Errorf("the program ended with %v and said: %s", err, output.String())
		}
	})
	return func(line string) {
		t.Helper()
		if _, err := io.WriteString(in, line+"\n"); err != nil {
			t.Fatal(err)
		}
	}
}

// messages plays the API that messages are sent to. It takes the tokens that are
// alive at the simulator.
type messages struct {
	*httptest.Server

	mu      sync.Mutex
	bearer  map[string]string // message → the token that it was accepted with
	revoked string            // a token to refuse all the same
	refused int
}

func startMessages(t *testing.T, sim *harness.Simulator) *messages {
	m := &messages{bearer: map[string]string{}}
	m.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		token, isBearer := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
		known, err := sim.Introspect(r.Context(), token)
		m.mu.Lock()
		defer m.mu.Unlock()
		if err != nil || !isBearer || !known.Active || token == m.revoked || r.Header.Get("Content-Type") != "application/json" {
			m.refused++
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		m.bearer[string(body)] = token
	}))
	t.Cleanup(m.Close)
	return m
}

// accepted waits until a message has arrived, and returns the token that it came
// with.
func (m *messages) accepted(t *testing.T, message string) (token string) {
	t.Helper()
	harness.Within(t, time.Minute, "message "+message+" arrives", func() error {
		m.mu.Lock()
		defer m.mu.Unlock()
		token = m.bearer[message]
		if token == "" {
			return fmt.Errorf("not yet; %d were refused", m.refused)
		}
		return nil
	})
	return token
}

func (m *messages) refusals() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.refused
}

func (m *messages) revoke(token string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.revoked = token
}
