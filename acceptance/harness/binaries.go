// SPDX-License-Identifier: MPL-2.0

// Package harness runs the built plugin in a real Vault or OpenBao server. Tests call the server as
// users do: over HTTP and with the vault command.
//
// The harness's processes listen on loopback only. Every process ends with its test, even if the
// test is killed.
package harness

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// These environment variables name the programs under test. "make acceptance" sets them.
const (
	vaultEnv     = "VAULT_BIN"
	pluginEnv    = "PLUGIN_BIN"
	simulatorEnv = "SIMULATOR_BIN"
)

// programs holds the absolute paths of the programs under test, without symbolic links. Unset paths
// are "".
var programs struct{ vault, plugin, simulator string }

// vaultVersion is the output of "vault version".
var vaultVersion string

// Main runs the tests of a package. TestMain calls it.
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

// Need skips the test if VAULT_BIN, PLUGIN_BIN and SIMULATOR_BIN are not set.
func Need(t testing.TB) {
	t.Helper()
	if programs.vault == "" {
		t.Skipf("%s, %s and %s are not set: run this test with \"make acceptance\"", vaultEnv, pluginEnv, simulatorEnv)
	}
}

// OpenBao reports whether the server is OpenBao, not Vault.
func OpenBao() bool { return strings.HasPrefix(vaultVersion, "OpenBao") }

// findBinaries sets programs and vaultVersion. Setting only some of the environment variables is an
// error.
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
		return fmt.Errorf("set all of %s, %s and %s or none: \"make acceptance\" sets all", vaultEnv, pluginEnv, simulatorEnv)
	}
	out, err := exec.Command(programs.vault, "version").Output()
	if err != nil {
		return fmt.Errorf("running \"%s version\": %w", programs.vault, err)
	}
	vaultVersion = strings.TrimSpace(string(out))
	return nil
}
