// SPDX-License-Identifier: MPL-2.0

// Package harness drives the built plugin in a real Vault (or OpenBao) server:
// it starts and ends servers, clusters of them and the provider simulator, finds
// the plugin's processes, and speaks to a server as users do, by HTTP and by the
// vault command.
//
// Whatever it starts listens on loopback only, keeps its files in a folder of
// the test, and is ended, by its process id, when the test is over: also when
// the test fails, panics, or is itself killed (see reaper.go).
package harness

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// The programs under test, named by the environment. "make acceptance" sets all
// three.
const (
	vaultEnv     = "VAULT_BIN"
	pluginEnv    = "PLUGIN_BIN"
	simulatorEnv = "SIMULATOR_BIN"
)

// programs are the absolute paths of the programs under test, free of symbolic
// links; "" in a run without them.
var programs struct{ vault, plugin, simulator string }

// vaultVersion is what "vault version" says, in one line.
var vaultVersion string

// Main is what TestMain is to call: it finds the programs under test, says what
// they are, and runs the tests.
func Main(m *testing.M) {
	if os.Getenv(reaperEnv) != "" {
		reap(os.Stdin)
		return
	}
	if err := findBinaries(); err != nil {
		fmt.Fprintln(os.Stderr, "acceptance tests:", err)
		os.Exit(1)
	}
	if programs.vault != "" {
		fmt.Println("server:", vaultVersion)
	}
	os.Exit(m.Run())
}

// Need skips the test, saying how to run it, in a run without the programs
// under test.
func Need(t testing.TB) {
	t.Helper()
	if programs.vault == "" {
		t.Skipf("needs %s, %s and %s: run it with \"make acceptance\"", vaultEnv, pluginEnv, simulatorEnv)
	}
}

// OpenBao reports whether the server is OpenBao, not Vault.
func OpenBao() bool { return strings.HasPrefix(vaultVersion, "OpenBao") }

// findBinaries fills in the programs' paths: all of them or, where the
// environment names none, no one.
func findBinaries() error {
	given := 0
	for env, path := range map[string]*string{
		vaultEnv: &programs.vault, pluginEnv: &programs.plugin, simulatorEnv: &programs.simulator,
	} {
		name := os.Getenv(env)
		if name == "" {
			continue
		}
		given++
		found, err := exec.LookPath(name)
		if err == nil {
			found, err = filepath.Abs(found)
		}
		if err == nil {
			// Vault refuses a plugin folder that is a symbolic link.
			found, err = filepath.EvalSymlinks(found)
		}
		if err != nil {
			return fmt.Errorf("%s: %w", env, err)
		}
		*path = found
	}
	if given == 0 {
		return nil
	}
	if given < 3 {
		return fmt.Errorf("%s, %s and %s go together; run them with \"make acceptance\"", vaultEnv, pluginEnv, simulatorEnv)
	}
	out, err := exec.Command(programs.vault, "version").Output()
	if err != nil {
		return fmt.Errorf("%s version: %w", programs.vault, err)
	}
	vaultVersion = strings.TrimSpace(string(out))
	return nil
}
