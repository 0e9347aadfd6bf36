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

// Script is a script that runs until it is interrupted.
type Script struct {
	proc *process
}

// StartScript starts an executable file as a user would, with the server under
// test for what it may start itself.
func StartScript(t testing.TB, file string) *Script {
	t.Helper()
	cmd := exec.Command(file)
	cmd.Env = append(os.Environ(), vaultEnv+"="+programs.vault)
	return startScript(t, cmd)
}

// StartShell is Shell for a script that does not end by itself.
func (c *Client) StartShell(t testing.TB, dir, script string) *Script {
	t.Helper()
	cmd := exec.Command("sh", "-euc", script)
	cmd.Dir, cmd.Env = dir, c.Env(t)
	return startScript(t, cmd)
}

func startScript(t testing.TB, cmd *exec.Cmd) *Script {
	t.Helper()
	s := &Script{proc: start(t, filepath.Base(cmd.Path), filepath.Join(t.TempDir(), "output"), cmd)}
	endWith(t, &s.proc)
	return s
}

// WaitFor returns the output up to now, once it holds the text.
func (s *Script) WaitFor(t testing.TB, text string) string {
	t.Helper()
	var out string
	Within(t, 2*patience, s.proc.name+" says: "+text, func() error {
		b, err := os.ReadFile(s.proc.log)
		if out = string(b); err != nil || strings.Contains(out, text) {
			return err
		}
		if !s.proc.running() {
			t.Fatalf("%s has ended:\n%s", s.proc.name, out)
		}
		return fmt.Errorf("not yet")
	})
	return out
}

// Descendants returns the process ids of all that the script has running.
func (s *Script) Descendants() []int { return descendants(s.proc.pid()) }

// Interrupt does what Ctrl-C does, and fails the test unless the script then
// ends with success.
func (s *Script) Interrupt(t testing.TB) {
	t.Helper()
	if err := s.proc.cmd.Process.Signal(syscall.SIGINT); err != nil {
		t.Fatal(err)
	}
	select {
	case <-s.proc.done:
	case <-time.After(patience):
		t.Fatalf("%s does not end when interrupted", s.proc.name)
	}
	if code := s.proc.cmd.ProcessState.ExitCode(); code != 0 {
		t.Errorf("%s ended with exit code %d", s.proc.name, code)
	}
}
