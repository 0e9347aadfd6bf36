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

// Script is a script or program that runs until it is interrupted.
type Script struct {
	proc *process
}

// StartScript starts an executable file. The variable VAULT_BIN is the path of the server's
// program.
func StartScript(t testing.TB, file string) *Script {
	t.Helper()
	cmd := exec.Command(file)
	cmd.Env = append(os.Environ(), vaultEnv+"="+programs.vault)
	return StartProgram(t, cmd)
}

// StartShell is Shell for a script that keeps running.
func (c *Client) StartShell(t testing.TB, dir, script string) *Script {
	t.Helper()
	cmd := exec.Command("sh", "-euc", script)
	cmd.Dir, cmd.Env = dir, c.Env(t)
	return StartProgram(t, cmd)
}

// StartProgram starts a program that runs until the end of the test.
func StartProgram(t testing.TB, cmd *exec.Cmd) *Script {
	t.Helper()
	s := &Script{proc: start(t, filepath.Base(cmd.Path), filepath.Join(t.TempDir(), "output"), cmd)}
	stopAfter(t, &s.proc)
	return s
}

// WaitFor waits until the script has printed the text. It returns all output so far.
func (s *Script) WaitFor(t testing.TB, text string) string {
	t.Helper()
	var out string
	Within(t, 2*Timeout, s.proc.name+" prints "+text, func() error {
		if out = s.Output(t); strings.Contains(out, text) {
			return nil
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
	return ReadFile(t, s.proc.log)
}

// Running reports whether the script has not ended yet.
func (s *Script) Running() bool { return s.proc.running() }

// Descendants returns the ids of the script's running children, grandchildren and so on.
func (s *Script) Descendants() []int { return descendants(s.proc.pid()) }

// Interrupt interrupts the script as Ctrl-C does. The script must then end with exit code 0.
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
