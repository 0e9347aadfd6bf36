// SPDX-License-Identifier: MPL-2.0

package acceptance

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
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

// usageOf returns the memory, threads and open files of a process. Without /proc, ok is false.
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

// medians returns the medians of the first and the last quarter of the samples.
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

// watch samples the resources that the plugin's process uses. The process must not restart
// meanwhile.
func (s *soak) watch(until time.Time) {
	harness.Until(s.t, "a read has started the plugin again", func() bool { return len(s.PluginPIDs()) == 1 })
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
