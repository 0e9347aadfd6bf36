// SPDX-License-Identifier: MPL-2.0

package clients

import (
	"path/filepath"
	"strings"
	"testing"

	"vault-plugin-secrets-messaging/acceptance/harness"
)

const recipes = "../../docs/recipes"

// runtime describes how to run the programs of one language.
type runtime struct {
	name  string
	vault string   // the Vault client; "" for plain HTTP
	needs []string // programs on the PATH
	// prepare installs the libraries. It returns a command for the recipe and, in some languages, a
	// command for a test program such as operate.py.
	prepare func(t *testing.T) (recipe, operator []string)
}

var runtimes = []runtime{
	{"Go", "vault/api", []string{"go"}, prepareGo},
	{"Node.js", "node-vault", []string{"node", "npm"}, prepareNode},
	{"Python", "hvac", []string{"python3"}, preparePython},
	{"Java", "", []string{"java"}, prepareJava},
	{"curl", "", []string{"bash", "curl", "jq"}, prepareCurl},
}

// ready prepares the runtime, or skips the test if a program is missing.
func (r runtime) ready(t *testing.T) (recipe, operator []string) {
	t.Helper()
	harness.NeedPrograms(t, strings.TrimSpace(r.name+" "+r.vault), r.needs...)
	return r.prepare(t)
}

func prepareGo(t *testing.T) (recipe, operator []string) {
	program := filepath.Join(t.TempDir(), "send")
	harness.Run(t, recipes+"/go", "go", "build", "-o", program, "send.go")
	return []string{program}, nil
}

func prepareNode(t *testing.T) (recipe, operator []string) {
	dir := harness.InstallNode(t, "node", recipes+"/node")
	harness.CopyTo(t, dir, recipes+"/node/send.mjs", "operate.mjs")
	return []string{"node", filepath.Join(dir, "send.mjs")}, []string{"node", filepath.Join(dir, "operate.mjs")}
}

func preparePython(t *testing.T) (recipe, operator []string) {
	dir := venv(t, "python", recipes+"/python/requirements.txt")
	python := filepath.Join(dir, "bin/python")
	return []string{python, "-B", harness.Absolute(t, recipes+"/python/send.py")}, []string{python, "-B", harness.Absolute(t, "operate.py")}
}

func prepareJava(t *testing.T) (recipe, operator []string) {
	return []string{"java", harness.Absolute(t, recipes+"/java/Send.java")}, nil
}

func prepareCurl(t *testing.T) (recipe, operator []string) {
	return []string{harness.Absolute(t, recipes+"/curl/send.sh")}, nil
}

// config returns the name of the runtime's config.
func (r runtime) config() string { return strings.ToLower(strings.ReplaceAll(r.name, ".", "")) }

// venv returns a Python environment with the packages from a requirements file.
func venv(t *testing.T, name, pins string) string {
	t.Helper()
	return harness.Install(t, name, pins, func(dir string) {
		harness.Run(t, ".", "python3", "-m", "venv", dir)
		harness.Run(t, ".", filepath.Join(dir, "bin/python"), "-m", "pip", "install", "--quiet", "--disable-pip-version-check",
			"--no-deps", "-r", pins)
	})
}
