// SPDX-License-Identifier: MPL-2.0

package harness

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// entry describes one process.
type entry struct {
	pid, parent int
	state       string // begins with Z if the process has ended but its parent has not waited for it
}

// children returns the ids of a process's running children.
func children(parent int) []int {
	var pids []int
	for _, e := range processTable() {
		if e.parent == parent {
			pids = append(pids, e.pid)
		}
	}
	return pids
}

// descendants returns the ids of a process's running children, grandchildren and so on.
func descendants(pid int) []int {
	pids := children(pid)
	for _, child := range pids {
		pids = append(pids, descendants(child)...)
	}
	return pids
}

// processTable lists the running processes. It prefers /proc, because small Linux images have no
// ps.
func processTable() []entry {
	var table []entry
	add := func(e entry, n int) {
		if n == 3 && !strings.HasPrefix(e.state, "Z") {
			table = append(table, e)
		}
	}
	stats, _ := filepath.Glob("/proc/[0-9]*/stat")
	for _, file := range stats {
		b, err := os.ReadFile(file)
		if err != nil {
			continue // the process has ended since the Glob
		}
		// The line is "pid (command) state parent …". A command may contain spaces and brackets.
		pid, rest, _ := strings.Cut(string(b), " ")
		rest = rest[strings.LastIndexByte(rest, ')')+1:]
		var e entry
		n, _ := fmt.Sscan(pid+" "+rest, &e.pid, &e.state, &e.parent)
		add(e, n)
	}
	if len(stats) > 0 {
		return table
	}
	out, _ := exec.Command("ps", "-A", "-o", "pid=,state=,ppid=").Output()
	for line := range strings.Lines(string(out)) {
		var e entry
		n, _ := fmt.Sscan(line, &e.pid, &e.state, &e.parent)
		add(e, n)
	}
	return table
}
