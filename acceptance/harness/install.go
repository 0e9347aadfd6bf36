// SPDX-License-Identifier: MPL-2.0

package harness

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// Install returns the folder bin/clients/<name>. It calls fill to fill the folder when the file
// pins has changed since the last call.
func Install(t *testing.T, name, pins string, fill func(dir string)) string {
	t.Helper()
	dir := Absolute(t, "../../bin/clients/"+name)
	want, err := os.ReadFile(pins)
	if err != nil {
		t.Fatal(err)
	}
	stamp := filepath.Join(dir, ".filled-from")
	if got, err := os.ReadFile(stamp); err == nil && string(got) == string(want) {
		return dir
	}
	if err := os.RemoveAll(dir); err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	fill(dir)
	// Packages may contain Go files. A go.mod keeps these files out of "./..." of this module.
	for name, content := range map[string][]byte{filepath.Join(dir, "go.mod"): nil, stamp: want} {
		if err := os.WriteFile(name, content, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// InstallNode returns the folder bin/clients/<name> with the packages that the package-lock.json in
// the folder from pins. Node.js looks for packages beside a program, so copy programs to the result.
func InstallNode(t *testing.T, name, from string) string {
	t.Helper()
	lock := filepath.Join(from, "package-lock.json")
	return Install(t, name, lock, func(dir string) {
		CopyTo(t, dir, filepath.Join(from, "package.json"), lock)
		Run(t, dir, "npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund")
	})
}

// CopyTo copies files to the folder dir.
func CopyTo(t *testing.T, dir string, files ...string) {
	t.Helper()
	for _, name := range files {
		content, err := os.ReadFile(name)
		if err == nil {
			err = os.WriteFile(filepath.Join(dir, filepath.Base(name)), content, 0o644)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}

// Run runs a program in the folder dir. It fails the test if the program fails.
func Run(t *testing.T, dir string, args ...string) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), args[0], args[1:]...)
	cmd.Dir = dir
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%q: %v\n%s", args, err, out)
	}
}

// Absolute returns the absolute form of a path.
func Absolute(t *testing.T, path string) string {
	t.Helper()
	abs, err := filepath.Abs(path)
	if err != nil {
		t.Fatal(err)
	}
	return abs
}
