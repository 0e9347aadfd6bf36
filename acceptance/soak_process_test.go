// SPDX-License-Identifier: MPL-2.0

package acceptance

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"time"

	"vault-plugin-secrets-messaging/acceptance/harness"
)

// usage is what a process uses.
type usage struct {
	rss     int // KiB
	threads int
	files   int // descriptors
}

func (u usage) String() string {
	return fmt.Sprintf("%.1f MiB resident, %d threads, %d files", float64(u.rss)/1024, u.threads, u.files)
}

// usageOf reads what Linux tells of a process; elsewhere ok is false.
func usageOf(pid int) (u usage, ok bool) {
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return u, false
	}
	for line := range strings.Lines(string(status)) {
		_, _ = fmt.Sscanf(line, "VmRSS: %d kB", &u.rss)
		_, _ = fmt.Sscanf(line, "Threads: %d", &u.threads)
	}
	files, _ := filepath.Glob(fmt.Sprintf("/proc/%d/fd/*", pid))
	u.files = len(files)
	return u, u.rss > 0
}

// split returns the medians of the first and of the last quarter of samples.
func split(samples []usage) (first, last usage) {
	if len(samples) == 0 {
		return
	}
	n := max(len(samples)/4, 1)
	return median(samples[:n]), median(samples[len(samples)-n:])
}

func median(samples []usage) (m usage) {
	of := func(f func(usage) int) int {
		var all []int
		for _, u := range samples {
			all = append(all, f(u))
		}
		slices.Sort(all)
		return all[len(all)/2]
	}
	return usage{of(func(u usage) int { return u.rss }), of(func(u usage) int { return u.threads }), of(func(u usage) int { return u.files })}
}

var goroutine = regexp.MustCompile(`goroutine \d+ .*\[`)

// goroutinesOf ends the plugin's process by SIGQUIT, on which a Go program says where
// each of its goroutines is, and counts them in the server's log. The next request
// starts a new process.
func goroutinesOf(s *harness.Server) (int, error) {
	pids := s.PluginPIDs()
	if len(pids) != 1 {
		return 0, fmt.Errorf("%d processes", len(pids))
	}
	before, err := os.ReadFile(s.Log)
	if err != nil {
		return 0, err
	}
	if err := syscall.Kill(pids[0], syscall.SIGQUIT); err != nil {
		return 0, err
	}
	said := regexp.MustCompile(fmt.Sprintf(`plugin process exited: .*\bp?id=%d\b`, pids[0]))
	for deadline := time.Now().Add(time.Minute); time.Now().Before(deadline); time.Sleep(50 * time.Millisecond) {
		after, err := os.ReadFile(s.Log)
		if err != nil {
			return 0, err
		}
		if after = after[len(before):]; said.Match(after) {
			n := len(goroutine.FindAll(after, -1))
			if n == 0 {
				return 0, errors.New("the log has none")
			}
			return n, nil
		}
	}
	return 0, errors.New("the server does not note the end of its plugin")
}
