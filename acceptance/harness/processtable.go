// SPDX-License-Identifier: MPL-2.0

package harness

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// entry is one line of the table of processes.
type entry struct {
	pid, parent int
	state       string // "Z…" is a process that has ended and waits to be collected
}

// children returns the process ids of the living children of a process.
func children(parent int) []int {
	var pids []int
	for _, e := range processTable() {
		if e.parent == parent {
			pids = append(pids, e.pid)
		}
	}
	return pids
}

// descendants returns the process ids of a process's children, theirs, and so on.
func descendants(of int) []int {
	pids := children(of)
	for _, pid := range pids {
		pids = append(pids, descendants(pid)...)
	}
	return pids
}

func alive(pid int) bool {
	for _, e := range processTable() {
		if e.pid == pid {
			return true
		}
	}
	return false
}

// processTable lists the living processes: from /proc where there is one (small
// Linux images have no ps), else as ps tells.
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
			continue // it has ended meanwhile
		}
		// "pid (command) state parent …", and a command may hold anything
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
