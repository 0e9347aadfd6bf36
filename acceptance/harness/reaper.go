// SPDX-License-Identifier: MPL-2.0

package harness

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"strconv"
	"sync"
	"syscall"
)

// Cleanup functions do not run when a test binary is killed, interrupted or past
// its -timeout. So a second process, the reaper, is told what runs over a pipe,
// and when the pipe closes ends what is left, and its children.

// reaperEnv, when set, makes the test binary a reaper.
const reaperEnv = "MESSAGING_ACCEPTANCE_REAPER"

var reaper struct {
	once sync.Once
	mu   sync.Mutex
	pipe io.Writer
}

// watch has the reaper end the process pid if the test binary does not live to.
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

// unwatch takes back a watch: the process has ended.
func unwatch(pid int) { tell("-", pid) }

func tell(sign string, pid int) {
	reaper.mu.Lock()
	defer reaper.mu.Unlock()
	fmt.Fprintf(reaper.pipe, "%s%d\n", sign, pid)
}

// reap is what the reaper runs: it keeps the set of processes that it is told,
// and ends them at the end of its input.
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
