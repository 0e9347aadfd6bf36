// SPDX-License-Identifier: MPL-2.0

package harness

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"syscall"
	"testing"
	"time"
)

// PluginName is the plugin's name in Vault's plugin catalog.
const PluginName = "vault-plugin-secrets-messaging"

// InstallPlugin registers the plugin under test and enables it at each of the mounts. Without
// mounts it enables the plugin at messaging/.
func (s *Server) InstallPlugin(t testing.TB, mounts ...string) {
	t.Helper()
	if len(mounts) == 0 {
		mounts = []string{"messaging"}
	}
	s.Install(t, PluginName, programs.plugin, mounts...)
}

// Install registers the plugin in the file binary under a name, and enables it at each of the
// mounts. The file must be in the server's plugin folder.
func (s *Server) Install(t testing.TB, name, binary string, mounts ...string) {
	t.Helper()
	s.Register(t, "secret", name, binary)
	for _, mount := range mounts {
		s.Write(t, "sys/mounts/"+mount, Fields{"type": name}).OK(t)
	}
}

// Register registers a plugin of a kind such as "secret" or "auth". The file binary must be in the
// server's plugin folder.
func (s *Server) Register(t testing.TB, kind, name, binary string) {
	t.Helper()
	content, err := os.ReadFile(binary)
	if err != nil {
		t.Fatal(err)
	}
	sum := sha256.Sum256(content)
	s.Write(t, "sys/plugins/catalog/"+kind+"/"+name, Fields{
		"sha256":  hex.EncodeToString(sum[:]),
		"command": filepath.Base(binary),
	}).OK(t)
}

// CopyPlugin makes a folder and copies the plugin into the folder.
func CopyPlugin(t testing.TB, dir string) {
	t.Helper()
	copyProgram(t, programs.plugin, filepath.Join(dir, PluginName))
}

// CopyVault makes a folder and copies the server's program into the folder, as vault.
func CopyVault(t testing.TB, dir string) {
	t.Helper()
	copyProgram(t, programs.vault, filepath.Join(dir, "vault"))
}

// CopyProgram makes a folder and copies a program into the folder.
func CopyProgram(t testing.TB, program, dir string) {
	t.Helper()
	copyProgram(t, program, filepath.Join(dir, filepath.Base(program)))
}

func copyProgram(t testing.TB, from, to string) {
	t.Helper()
	content, err := os.ReadFile(from)
	if err == nil {
		err = os.MkdirAll(filepath.Dir(to), 0o700)
	}
	if err == nil {
		err = os.WriteFile(to, content, 0o700)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// PluginPIDs returns the ids of the server's plugin processes. All mounts usually share one
// process, which Vault starts at the first request to a mount.
func (s *Server) PluginPIDs() []int { return children(s.proc.pid()) }

// KillPlugin kills the server's plugin processes and waits until the server has noticed. Before
// that, a read may get an error from Vault itself. The next request starts a new process.
func (s *Server) KillPlugin(t testing.TB) {
	t.Helper()
	pids := s.PluginPIDs()
	if len(pids) == 0 {
		t.Fatal("got no plugin process, want at least one to kill")
	}
	for _, pid := range pids {
		if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
			t.Fatalf("killing plugin process %d: %v", pid, err)
		}
	}
	Within(t, Timeout, "the server logs that its plugin has exited", func() error {
		log, err := os.ReadFile(s.Log)
		for _, pid := range pids {
			exited := regexp.MustCompile(fmt.Sprintf(`plugin process exited: .*\bp?id=%d\b`, pid))
			if err == nil && !exited.Match(log) {
				err = fmt.Errorf("the log does not say that process %d has exited", pid)
			}
		}
		return err
	})
	time.Sleep(100 * time.Millisecond) // the server logs the exit before it acts on the exit
}
