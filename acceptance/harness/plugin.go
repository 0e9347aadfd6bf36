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

// PluginName is the name that the plugin is registered under.
const PluginName = "vault-plugin-secrets-messaging"

// InstallPlugin registers the plugin by its SHA-256 and enables it at each of
// the mounts, at messaging/ if none is named.
func (s *Server) InstallPlugin(t testing.TB, mounts ...string) {
	t.Helper()
	s.Write(t, "sys/plugins/catalog/secret/"+PluginName, Fields{
		"sha256":  PluginSHA256(t),
		"command": filepath.Base(programs.plugin),
	}).OK(t)
	if len(mounts) == 0 {
		mounts = []string{"messaging"}
	}
	for _, mount := range mounts {
		s.Write(t, "sys/mounts/"+mount, Fields{"type": PluginName}).OK(t)
	}
}

// PluginSHA256 returns the SHA-256 of the plugin, in hexadecimal.
func PluginSHA256(t testing.TB) string {
	t.Helper()
	sum := sha256.Sum256(readPlugin(t))
	return hex.EncodeToString(sum[:])
}

// CopyPlugin puts a copy of the plugin into a folder, which it makes.
func CopyPlugin(t testing.TB, dir string) {
	t.Helper()
	if err := os.MkdirAll(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, PluginName), readPlugin(t), 0o700); err != nil {
		t.Fatal(err)
	}
}

func readPlugin(t testing.TB) []byte {
	t.Helper()
	b, err := os.ReadFile(programs.plugin)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// PluginPIDs returns the ids of the plugin processes that the server has
// running: as a rule one, however many mounts there are, and none before the
// first request to a mount.
func (s *Server) PluginPIDs() []int { return children(s.proc.pid()) }

// KillPlugin ends the server's plugin processes as kill -9 does, and returns
// when the server knows: a read before that may get an error of Vault's own. The
// next request starts a new process.
func (s *Server) KillPlugin(t testing.TB) {
	t.Helper()
	pids := s.PluginPIDs()
	if len(pids) == 0 {
		t.Fatal("no plugin process to kill")
	}
	for _, pid := range pids {
		if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
			t.Fatalf("killing the plugin: %v", err)
		}
	}
	Within(t, patience, "the server notes the end of its plugin", func() error {
		log, err := os.ReadFile(s.Log)
		for _, pid := range pids {
			said := regexp.MustCompile(fmt.Sprintf(`plugin process exited: .*\bp?id=%d\b`, pid))
			if err == nil && !said.Match(log) {
				err = fmt.Errorf("process %d is not known to have ended", pid)
			}
		}
		return err
	})
	time.Sleep(100 * time.Millisecond) // it logs that before it acts on it, and nothing tells when it has
}
