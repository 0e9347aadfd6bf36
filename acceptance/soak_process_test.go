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
	files   int // open descriptors
}

func (u usage) String() string {
	return fmt.Sprintf("%.1f MiB resident, %d threads, %d files", float64(u.rss)/1024, u.threads, u.files)
}

// usageOf returns the usage of a process. ok is false on systems without /proc.
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

// medians returns the medians of the first and of the last quarter of the samples.
func medians(samples []usage) (first, last usage) {
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

var goroutineHead = regexp.MustCompile(`goroutine \d+ .*\[`)

// watch samples the usage of the plugin's process, which must not restart meanwhile.
func (s *soak) watch(until time.Time) {
	time.Sleep(time.Until(until) / 4) // the process warms up
	for time.Now().Before(until) {
		if pids := s.PluginPIDs(); len(pids) != 1 {
			s.problem("got %d plugin processes, want 1", len(pids))
		} else if u, ok := usageOf(pids[0]); ok {
			s.samples = append(s.samples, u)
		}
		time.Sleep(max(s.length/200, 100*time.Millisecond))
	}
}

// goroutinesOf ends the plugin's process by SIGQUIT and returns how many goroutines the
// process had. On SIGQUIT, Go prints each goroutine to the server's log.
func goroutinesOf(s *harness.Server) (int, error) {
	pids := s.PluginPIDs()
	if len(pids) != 1 {
		return 0, fmt.Errorf("got %d plugin processes, want 1", len(pids))
	}
	before, err := os.ReadFile(s.Log)
	if err != nil {
		return 0, err
	}
	if err := syscall.Kill(pids[0], syscall.SIGQUIT); err != nil {
		return 0, err
	}
	exited := regexp.MustCompile(fmt.Sprintf(`plugin process exited: .*\bp?id=%d\b`, pids[0]))
	for deadline := time.Now().Add(time.Minute); time.Now().Before(deadline); time.Sleep(50 * time.Millisecond) {
		after, err := os.ReadFile(s.Log)
		if err != nil {
			return 0, err
		}
		if after = after[len(before):]; exited.Match(after) {
			return len(goroutineHead.FindAll(after, -1)), nil
		}
	}
	return 0, errors.New("the server's log does not show the end of the plugin within a minute")
}
