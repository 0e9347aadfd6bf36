// SPDX-License-Identifier: MPL-2.0

package clients

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

const recipes = "../../docs/recipes"

// runtime describes how to run the programs of one language.
type runtime struct {
	name  string
	vault string   // the Vault client; "" for plain HTTP
	needs []string // programs on the PATH
	// prepare installs the libraries that the recipe pins. It returns the commands that run the
	// recipe and the operator's program. A command is nil if there is no such program.
	prepare func(t *testing.T) (recipe, operator []string)
}

var runtimes = []runtime{
	{"Go", "vault/api", []string{"go"}, prepareGo},
	{"Node.js", "node-vault", []string{"node", "npm"}, prepareNode},
	{"Python", "hvac", []string{"python3"}, preparePython},
	{"Java", "", []string{"java"}, prepareJava},
	{"curl", "", []string{"bash", "curl", "jq"}, prepareCurl},
}

// ready prepares the runtime. If a program is missing, it skips the test and prints "LEFT OUT",
// because "go test" without -v does not show skipped tests.
func (r runtime) ready(t *testing.T) (recipe, operator []string) {
	t.Helper()
	for _, program := range r.needs {
		if _, err := exec.LookPath(program); err != nil {
			fmt.Printf("LEFT OUT: %s, because there is no %s on the PATH\n", strings.TrimSpace(r.name+" "+r.vault), program)
			t.Skipf("there is no %s on the PATH", program)
		}
	}
	return r.prepare(t)
}

func prepareGo(t *testing.T) (recipe, operator []string) {
	program := filepath.Join(t.TempDir(), "send")
	command(t, recipes+"/go", "go", "build", "-o", program, "send.go")
	return []string{program}, nil
}

func prepareNode(t *testing.T) (recipe, operator []string) {
	// Node looks for libraries beside the program, so copy the programs to the libraries.
	dir := install(t, "node", recipes+"/node/package-lock.json", func(dir string) {
		copyTo(t, dir, recipes+"/node/package.json", recipes+"/node/package-lock.json")
		command(t, dir, "npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund")
	})
	copyTo(t, dir, recipes+"/node/send.mjs", "operate.mjs")
	return []string{"node", filepath.Join(dir, "send.mjs")}, []string{"node", filepath.Join(dir, "operate.mjs")}
}

func preparePython(t *testing.T) (recipe, operator []string) {
	dir := install(t, "python", recipes+"/python/requirements.txt", func(dir string) {
		command(t, ".", "python3", "-m", "venv", dir)
		command(t, ".", filepath.Join(dir, "bin/python"), "-m", "pip", "install", "--quiet", "--disable-pip-version-check",
			"--no-deps", "-r", recipes+"/python/requirements.txt")
	})
	python := []string{filepath.Join(dir, "bin/python"), "-B"}
	return append(python[:2:2], absolute(t, recipes+"/python/send.py")), append(python[:2:2], absolute(t, "operate.py"))
}

func prepareJava(t *testing.T) (recipe, operator []string) {
	return []string{"java", absolute(t, recipes+"/java/Send.java")}, nil
}

func prepareCurl(t *testing.T) (recipe, operator []string) {
	return []string{absolute(t, recipes+"/curl/send.sh")}, nil
}

// config returns the name of the runtime's config.
func (r runtime) config() string { return strings.ToLower(strings.ReplaceAll(r.name, ".", "")) }

// install returns the folder bin/clients/<name>. It calls fill to fill the folder when the file
// pins has changed since the last call.
func install(t *testing.T, name, pins string, fill func(dir string)) string {
	t.Helper()
	dir := absolute(t, "../../bin/clients/"+name)
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
	if err := os.WriteFile(stamp, want, 0o644); err != nil {
		t.Fatal(err)
	}
	return dir
}

func copyTo(t *testing.T, dir string, files ...string) {
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

// command runs a program in the folder dir.
func command(t *testing.T, dir string, args ...string) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), args[0], args[1:]...)
	cmd.Dir = dir
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%q: %v\n%s", args, err, out)
	}
}

func absolute(t *testing.T, path string) string {
	t.Helper()
	abs, err := filepath.Abs(path)
	if err != nil {
		t.Fatal(err)
	}
	return abs
}
