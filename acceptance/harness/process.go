// SPDX-License-Identifier: MPL-2.0

package harness

import (
	"bytes"
	"errors"
	"os"
	"os/exec"
	"syscall"
	"testing"
	"time"
)

// patience is how long a process may take to begin to answer, or to end when
// asked to, on a machine with other things to do.
const patience = 60 * time.Second

// process is a child process of the test.
type process struct {
	name string
	cmd  *exec.Cmd
	log  string        // the file with its stdout and stderr
	done chan struct{} // closed when it has ended
}

// start starts a program whose output is appended to the file log. Its caller has
// called endWith, or does.
func start(t testing.TB, name, log string, cmd *exec.Cmd) *process {
	t.Helper()
	out, err := os.OpenFile(log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		t.Fatalf("starting %s: %v", name, err)
	}
	defer out.Close() // the child has its own

	p := &process{name: name, cmd: cmd, log: log, done: make(chan struct{})}
	cmd.Stdout, cmd.Stderr = out, out
	if err := cmd.Start(); err != nil {
		t.Fatalf("starting %s: %v", name, err)
	}
	watch(p.pid())
	go func() {
		_ = cmd.Wait()
		unwatch(p.pid())
		close(p.done)
	}()
	return p
}

// endWith ends a process when the test t is over, and if t failed shows the end
// of its log. The process is the one that p then points to: it may have been
// started anew meanwhile, by a subtest perhaps.
func endWith(t testing.TB, p **process) {
	t.Cleanup(func() {
		if *p == nil {
			return
		}
		if t.Failed() {
			t.Logf("end of the log of %s:\n%s", (*p).name, tail((*p).log, 20))
		}
		(*p).stop()
	})
}

func (p *process) pid() int { return p.cmd.Process.Pid }

// running reports whether the process has not ended yet.
func (p *process) running() bool {
	select {
	case <-p.done:
		return false
	default:
		return true
	}
}

// stop asks the process to end, makes it if it does not, and ends the children
// that it leaves behind. It returns when all are gone.
func (p *process) stop() {
	if !p.running() {
		return
	}
	left := descendants(p.pid())
	_ = p.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-p.done:
	case <-time.After(patience / 2):
	}
	p.end(left)
}

// kill ends the process as kill -9 does, and the children that it leaves
// behind. It returns when all are gone.
func (p *process) kill() {
	if p.running() {
		p.end(descendants(p.pid()))
	}
}

// end kills the process, if it still runs, and those that were its children.
func (p *process) end(left []int) {
	_ = p.cmd.Process.Kill()
	<-p.done
	for _, pid := range left {
		_ = syscall.Kill(pid, syscall.SIGKILL)
	}
	for _, pid := range left {
		WaitGone(pid)
	}
}

// WaitGone waits until there is no process pid, and reports whether that came
// to pass.
func WaitGone(pid int) bool {
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); time.Sleep(10 * time.Millisecond) {
		if !alive(pid) {
			return true
		}
	}
	return false
}

// tail returns the last lines of a file.
func tail(file string, lines int) []byte {
	b, err := os.ReadFile(file)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return []byte(err.Error())
	}
	b = bytes.TrimRight(b, "\n")
	for i := len(b) - 1; i >= 0; i-- {
		if b[i] == '\n' {
			if lines--; lines == 0 {
				return b[i+1:]
			}
		}
	}
	return b
}
