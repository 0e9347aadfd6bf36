// SPDX-License-Identifier: MPL-2.0

package harness

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
)

// NeedPrograms skips the test if one of the programs is not on the PATH. It prints "LEFT OUT",
// because "go test" without -v hides skipped tests.
func NeedPrograms(t testing.TB, what string, programs ...string) {
	t.Helper()
	for _, program := range programs {
		if _, err := exec.LookPath(program); err != nil {
			fmt.Printf("LEFT OUT: %s, because there is no %s on the PATH\n", what, program)
			t.Skipf("there is no %s on the PATH", program)
		}
	}
}

// Run runs a program in the folder dir. It fails the test if the program fails.
func Run(t testing.TB, dir string, args ...string) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), args[0], args[1:]...)
	cmd.Dir = dir
	RunCommand(t, cmd)
}

// RunCommand is Run for a command that the caller has made.
func RunCommand(t testing.TB, cmd *exec.Cmd) {
	t.Helper()
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%q: got error %v, want success\n%s", cmd.Args, err, out)
	}
}

var installing sync.Mutex // two parallel tests may want the same folder

// Install returns the folder bin/clients/<name>, filled by the function fill. The parameter pins is
// the path of a file with versions. If that file has changed, Install empties and fills the folder
// again.
func Install(t testing.TB, name, pins string, fill func(dir string)) string {
	t.Helper()
	installing.Lock()
	defer installing.Unlock()
	dir := Absolute(t, "../../bin/clients/"+name)
	want := ReadFile(t, pins)
	const stamp = ".filled-from"
	if got, err := os.ReadFile(filepath.Join(dir, stamp)); err == nil && string(got) == want {
		return dir
	}
	if err := os.RemoveAll(dir); err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	fill(dir)
	// Some packages contain Go files. A go.mod hides these files from "./...".
	WriteFile(t, dir, "go.mod", "")
	WriteFile(t, dir, stamp, want)
	return dir
}

// InstallNode installs Node.js packages in bin/clients/<name>, and returns this folder. The
// packages are in the package-lock.json of the folder from. Only programs in the returned folder
// find the packages.
func InstallNode(t testing.TB, name, from string) string {
	t.Helper()
	lock := filepath.Join(from, "package-lock.json")
	return Install(t, name, lock, func(dir string) {
		CopyTo(t, dir, filepath.Join(from, "package.json"), lock)
		Run(t, dir, "npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund")
	})
}
