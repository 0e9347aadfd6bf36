// SPDX-License-Identifier: MPL-2.0

package harness

import (
	"crypto/sha256"
	"fmt"
	"path/filepath"
	"regexp"
	"syscall"
	"testing"
	"time"
)

// PluginName is the plugin's name in Vault's plugin catalog.
const PluginName = "vault-plugin-secrets-messaging"

// InstallPlugin registers the plugin under test and mounts it at messaging/.
func (s *Server) InstallPlugin(t testing.TB) {
	t.Helper()
	s.Install(t, PluginName, programs.plugin, "messaging")
}

// Install registers the file binary as a plugin and mounts the plugin. The file must be in the
// server's plugin folder.
func (s *Server) Install(t testing.TB, name, binary, mount string) {
	t.Helper()
	s.Register(t, "secret", name, binary)
	s.Write(t, "sys/mounts/"+mount, Fields{"type": name}).OK(t)
}

// Register registers a plugin of a kind, such as "secret". The file binary must be in the server's
// plugin folder.
func (s *Server) Register(t testing.TB, kind, name, binary string) {
	t.Helper()
	s.Write(t, "sys/plugins/catalog/"+kind+"/"+name, Fields{
		"sha256":  fmt.Sprintf("%x", sha256.Sum256([]byte(ReadFile(t, binary)))),
		"command": filepath.Base(binary),
	}).OK(t)
}

// PluginPIDs returns the ids of the server's plugin processes. Vault usually runs one process for
// all mounts, and starts the process at the first request.
func (s *Server) PluginPIDs() []int { return children(s.proc.pid()) }

// KillPlugin kills the server's plugin processes, and waits until the server has noticed. The next
// request starts a new process.
func (s *Server) KillPlugin(t testing.TB) {
	t.Helper()
	s.SignalPlugin(t, syscall.SIGKILL)
}

// SignalPlugin ends the server's plugin processes with a signal, and waits until the server has
// noticed. It returns the server's log since the signal.
func (s *Server) SignalPlugin(t testing.TB, signal syscall.Signal) (log string) {
	t.Helper()
	before := len(ReadFile(t, s.Log))
	pids := s.PluginPIDs()
	if len(pids) == 0 {
		t.Fatalf("got no plugin process, want at least one to send %s to", signal)
	}
	for _, pid := range pids {
		if err := syscall.Kill(pid, signal); err != nil {
			t.Fatalf("sending %s to plugin process %d: %v", signal, pid, err)
		}
	}
	Within(t, Timeout, "the server logs that its plugin has exited", func() error {
		log = ReadFile(t, s.Log)[before:]
		for _, pid := range pids {
			exited := regexp.MustCompile(fmt.Sprintf(`plugin process exited: .*\bp?id=%d\b`, pid))
			if !exited.MatchString(log) {
				return fmt.Errorf("the log does not say that process %d has exited", pid)
			}
		}
		return nil
	})
	syncFile(t, s.Log)                 // after the log line, the server syncs its log too, which takes long on a busy disk
	time.Sleep(100 * time.Millisecond) // the server acts on the exit only then
	return log
}
