// SPDX-License-Identifier: MPL-2.0

package harness

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// Script is a running script that ends when it is interrupted.
type Script struct {
	proc *process
}

// StartScript starts an executable file. If the file starts a Vault server itself, it uses the
// server under test.
func StartScript(t testing.TB, file string) *Script {
	t.Helper()
	cmd := exec.Command(file)
	cmd.Env = append(os.Environ(), vaultEnv+"="+programs.vault)
	return startScript(t, cmd)
}

// StartShell is Shell for a script that runs until it is interrupted.
func (c *Client) StartShell(t testing.TB, dir, script string) *Script {
	t.Helper()
	cmd := exec.Command("sh", "-euc", script)
	cmd.Dir, cmd.Env = dir, c.Env(t)
	return startScript(t, cmd)
}

// StartProgram starts a program that runs until the end of the test.
func StartProgram(t testing.TB, cmd *exec.Cmd) *Script {
	t.Helper()
	return startScript(t, cmd)
}

func startScript(t testing.TB, cmd *exec.Cmd) *Script {
	t.Helper()
	s := &Script{proc: start(t, filepath.Base(cmd.Path), filepath.Join(t.TempDir(), "output"), cmd)}
	stopAfter(t, &s.proc)
	return s
}

// WaitFor waits until the output contains the text, and returns the output.
func (s *Script) WaitFor(t testing.TB, text string) string {
	t.Helper()
	var out string
	Within(t, 2*Timeout, s.proc.name+" prints "+text, func() error {
		b, err := os.ReadFile(s.proc.log)
		if out = string(b); err != nil || strings.Contains(out, text) {
			return err
		}
		if !s.proc.running() {
			t.Fatalf("%s ended before it printed %q:\n%s", s.proc.name, text, out)
		}
		return fmt.Errorf("got %q", out)
	})
	return out
}

// Output returns what the script has printed so far.
func (s *Script) Output(t testing.TB) string {
	t.Helper()
	b, err := os.ReadFile(s.proc.log)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// Descendants returns the ids of the processes that the script and its children have started.
func (s *Script) Descendants() []int { return descendants(s.proc.pid()) }

// Interrupt does what Ctrl-C does. It fails the test unless the script then ends with exit code 0.
func (s *Script) Interrupt(t testing.TB) {
	t.Helper()
	if err := s.proc.cmd.Process.Signal(syscall.SIGINT); err != nil {
		t.Fatal(err)
	}
	select {
	case <-s.proc.done:
	case <-time.After(Timeout):
		t.Fatalf("%s still runs %s after SIGINT", s.proc.name, Timeout)
	}
	if code := s.proc.cmd.ProcessState.ExitCode(); code != 0 {
		t.Errorf("%s: got exit code %d after SIGINT, want 0", s.proc.name, code)
	}
}
