// SPDX-License-Identifier: MPL-2.0

package clients

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"vault-plugin-secrets-messaging/acceptance/harness"
	"vault-plugin-secrets-messaging/internal/simulator"
)

// Each program in docs/recipes reuses its token, and reads a new token before the old token
// expires. If the provider rejects the token, the program gets a new token at once.
func TestRecipes(t *testing.T) {
	t.Parallel()
	server, sim := start(t)
	server.EnableAudit(t)
	sim.Configure(t, `{"access_ttl": 30}`) // long enough for a report: see WaitUntilOld
	for _, r := range runtimes {
		t.Run(r.name, func(t *testing.T) {
			recipe, _ := r.ready(t)
			t.Parallel() // the test mostly waits
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
	app, provider := startApp(t, server, sim, creds, "", recipe)
	send := app.send

	send("one")
	first := provider.accepted(t, "one")
	send("two")
	if second := provider.accepted(t, "two"); second != first {
		t.Errorf("second message: got token %q, want %q, the token of the first message", second, first)
	}
	if n := reads(t, server, creds); n != 1 {
		t.Errorf("after two messages: got %d reads of %s, want 1", n, creds)
	}

	sim.WaitForEnd(t, first)
	send("three")
	third := provider.accepted(t, "three")
	if n := provider.refused.Load(); n != 0 {
		t.Errorf("after three messages: got %d refused requests, want none with an expired token", n)
	}

	sim.WaitUntilOld(t, third)
	provider.rejected.Store(third)
	send("four")
	provider.accepted(t, "four")
	if n := provider.refused.Load(); n != 1 {
		t.Errorf("after a message with a rejected token: got %d refused requests, want 1", n)
	}
	if n := reads(t, server, creds); n != 3 {
		t.Errorf("after four messages: got %d reads of %s, want 3", n, creds)
	}
}

// startApp starts a program from docs/recipes and a message API for the program.
func startApp(t *testing.T, server *harness.Server, sim *harness.Simulator, creds, want string, program []string) (running *app, provider *messageAPI) {
	t.Helper()
	user := server.As(server.AppToken(t, fmt.Sprintf("path %q { capabilities = [\"read\"] }", creds)))
	provider = startMessageAPI(t, sim)
	return pipe(t, user.Env(t), want, slices.Concat(program, []string{creds, provider.URL})...), provider
}

// reads counts the reads of a path in the audit log.
func reads(t *testing.T, server *harness.Server, path string) (n int) {
	t.Helper()
	for line := range strings.Lines(harness.ReadFile(t, server.Audit)) {
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

// sinch returns the config of an account at the simulator.
func sinch(sim *harness.Simulator) harness.Fields {
	return harness.Fields{
		"provider": simulator.SinchIndia, "token_url": sim.TokenURL(simulator.SinchIndia),
		"username": "acme", "password": "correct-horse",
	}
}

// app is a running program.
type app struct {
	send   func(line string) // writes a line to the program's input
	output func() string     // returns what the program has printed
}

// pipe starts a program. At the end of the test, the program must succeed. Its output must contain
// the text want. If want is "", the output must be empty.
func pipe(t *testing.T, env []string, want string, args ...string) *app {
	t.Helper()
	cmd := exec.Command(args[0], args[1:]...)
	cmd.Env = env
	printed, err := os.Create(filepath.Join(t.TempDir(), "output"))
	if err != nil {
		t.Fatal(err)
	}
	cmd.Stdout, cmd.Stderr = printed, printed
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	a := &app{
		send: func(line string) {
			t.Helper()
			if _, err := io.WriteString(in, line+"\n"); err != nil {
				t.Fatal(err)
			}
		},
		output: func() string { return harness.ReadFile(t, printed.Name()) },
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	exit := make(chan error, 1)
	go func() { exit <- cmd.Wait() }()
	t.Cleanup(func() {
		defer printed.Close()
		in.Close()
		kill := time.AfterFunc(harness.Timeout, func() { _ = cmd.Process.Kill() })
		defer kill.Stop()
		err := <-exit
		if got := a.output(); err != nil || want == "" && got != "" || !strings.Contains(got, want) {
			t.Errorf("%q: got error %v and output %q, want no error and the output %q", args, err, got, want)
		}
	})
	return a
}

// messageAPI simulates a provider's message API. The API refuses inactive tokens, and the token in
// the field rejected.
type messageAPI struct {
	*httptest.Server
	bearer   sync.Map     // the tokens of accepted messages, by message
	refused  atomic.Int32 // the number of refused requests
	rejected atomic.Value
}

func startMessageAPI(t *testing.T, sim *harness.Simulator) *messageAPI {
	m := &messageAPI{}
	m.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		token, isBearer := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
		known, err := sim.Introspect(r.Context(), token)
		if err != nil || !isBearer || !known.Active || token == m.rejected.Load() || r.Header.Get("Content-Type") != "application/json" {
			m.refused.Add(1)
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		m.bearer.Store(string(body), token)
	}))
	t.Cleanup(m.Close)
	return m
}

// startTime is how long a program may take to start on a busy machine. Some programs compile
// themselves, and all tests start their programs at the same time.
const startTime = 5 * time.Minute

// accepted waits until the API accepts a message. It returns the token sent with the message.
func (m *messageAPI) accepted(t *testing.T, message string) string {
	t.Helper()
	var token any
	harness.Within(t, startTime, "message "+message+" is accepted", func() error {
		var ok bool
		if token, ok = m.bearer.Load(message); !ok {
			return fmt.Errorf("the API has refused %d requests", m.refused.Load())
		}
		return nil
	})
	return token.(string)
}
