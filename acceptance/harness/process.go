// SPDX-License-Identifier: MPL-2.0

package harness

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"slices"
	"strconv"
	"sync"
	"syscall"
	"testing"
	"time"
)

// Timeout is how long a process may take to start or to end on a busy machine.
const Timeout = 60 * time.Second

// process is a child process of the test.
type process struct {
	name string
	cmd  *exec.Cmd
	log  string        // the file that receives stdout and stderr
	done chan struct{} // closed when the process has ended
}

// start starts a program and appends the output to the file log. The caller must also call
// stopAfter.
func start(t testing.TB, name, log string, cmd *exec.Cmd) *process {
	t.Helper()
	out, err := os.OpenFile(log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		t.Fatalf("starting %s: %v", name, err)
	}
	defer out.Close()

	p := &process{name: name, cmd: cmd, log: log, done: make(chan struct{})}
	cmd.Stdout, cmd.Stderr = out, out
	if err := cmd.Start(); err != nil {
		t.Fatalf("starting %s: %v", name, err)
	}
	watch(p.pid())
	go func() {
		_ = cmd.Wait()
		tell("-", p.pid())
		close(p.done)
	}()
	return p
}

// stopAfter stops a process at the end of the test. A failed test also prints the end of the
// process's log. p is a pointer, because a restart replaces *p.
func stopAfter(t testing.TB, p **process) {
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

func (p *process) running() bool {
	select {
	case <-p.done:
		return false
	default:
		return true
	}
}

// stop sends SIGTERM, and SIGKILL after half of Timeout. It also kills the descendants, and waits
// until all processes have ended.
func (p *process) stop() {
	if !p.running() {
		return
	}
	left := descendants(p.pid())
	_ = p.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-p.done:
	case <-time.After(Timeout / 2):
	}
	p.end(left)
}

// kill kills the process and its descendants, and waits until all have ended.
func (p *process) kill() {
	if p.running() {
		p.end(descendants(p.pid()))
	}
}

// end kills the process, and then the processes with the ids in left. It returns when all have
// ended.
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

// WaitGone reports whether a process ends within Timeout.
func WaitGone(pid int) bool {
	for deadline := time.Now().Add(Timeout); time.Now().Before(deadline); time.Sleep(10 * time.Millisecond) {
		if !slices.ContainsFunc(processTable(), func(e entry) bool { return e.pid == pid }) {
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

// A test binary that is killed or times out runs no cleanup functions. So each test binary starts a
// copy of itself, the reaper. When the test binary ends, the reaper kills the child processes that
// still run.

// reaperEnv, when set, makes the test binary the reaper.
const reaperEnv = "MESSAGING_ACCEPTANCE_REAPER"

var reaper struct {
	once sync.Once
	mu   sync.Mutex
	pipe io.Writer
}

// watch makes the reaper process kill the process pid if the test binary dies. The first call
// starts the reaper.
func watch(pid int) {
	reaper.once.Do(func() {
		pipe, err := startReaper()
		if err != nil {
			panic(fmt.Sprintf("starting the reaper: %v", err))
		}
		reaper.pipe = pipe
	})
	tell("+", pid)
}

// tell reports a started ("+") or ended ("-") process to the reaper process.
func tell(sign string, pid int) {
	reaper.mu.Lock()
	defer reaper.mu.Unlock()
	fmt.Fprintf(reaper.pipe, "%s%d\n", sign, pid)
}

func startReaper() (io.Writer, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	cmd := exec.Command(self)
	cmd.Env = append(os.Environ(), reaperEnv+"=1")
	pipe, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	return pipe, cmd.Start()
}

// reap is the main function of the reaper.
func reap(in io.Reader) {
	signal.Ignore(syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP)
	running := map[int]bool{}
	for lines := bufio.NewScanner(in); lines.Scan(); {
		switch pid, err := strconv.Atoi(lines.Text()); {
		case err != nil || pid == 0:
		case pid > 0:
			running[pid] = true
		default:
			delete(running, -pid)
		}
	}
	for pid := range running {
		left := descendants(pid)
		for _, p := range append(left, pid) {
			_ = syscall.Kill(p, syscall.SIGKILL)
		}
	}
}
