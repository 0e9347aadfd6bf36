// SPDX-License-Identifier: MPL-2.0

package harness

import (
	"cmp"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// Server is a Vault server of the test. As a client it is root.
type Server struct {
	Client
	Log   string // file: what the server and its plugins log, at trace level
	Audit string // file: the audit log, once EnableAudit was called

	dir       string // the server's files
	name      string
	args      []string // of the vault command
	env       []string // the server's, and so its plugins'
	unsealKey string   // "" for a dev server
	proc      *process
}

// rootToken is the root token of every dev server.
const rootToken = "root"

// Options are what a dev server may have that is not as usual.
type Options struct {
	PluginDir string   // where it looks for plugins; "" is where the plugin under test is
	LogLevel  string   // "" is trace
	Env       []string // more of its environment, and so of its plugins'
}

// StartDev starts a dev server: in memory, unsealed.
func StartDev(t testing.TB) *Server {
	t.Helper()
	return StartDevWith(t, Options{})
}

// StartDevWith is StartDev with options.
func StartDevWith(t testing.TB, o Options) *Server {
	t.Helper()
	s := newServer(t, "vault")
	s.Token = rootToken
	s.env = append(s.Env(t), o.Env...)
	config := s.writeConfig(t, pluginConfig(o.PluginDir))
	s.args = []string{
		"server", "-dev", "-dev-no-store-token", "-dev-root-token-id=" + rootToken,
		"-dev-listen-address=" + strings.TrimPrefix(s.Addr, "http://"),
		"-log-level=" + cmp.Or(o.LogLevel, "trace"), "-config=" + config,
	}
	s.Start(t)
	return s
}

// newServer returns a server with an address and a folder, not yet started.
func newServer(t testing.TB, name string) *Server {
	t.Helper()
	Need(t)
	dir := t.TempDir()
	home := filepath.Join(dir, "home")
	if err := os.Mkdir(home, 0o700); err != nil {
		t.Fatal(err)
	}
	s := &Server{
		Client: Client{Addr: "http://" + freeAddress(t), http: newHTTPClient(), home: home},
		Log:    filepath.Join(dir, "server.log"),
		Audit:  filepath.Join(dir, "audit.log"),
		dir:    dir,
		name:   name,
	}
	endWith(t, &s.proc)
	return s
}

// pluginConfig is the part of a server's configuration that lets it run the
// plugins in a folder: in that of the plugin under test if dir is "".
func pluginConfig(dir string) string {
	config := fmt.Sprintf("plugin_directory = %q\n", cmp.Or(dir, filepath.Dir(programs.plugin)))
	if OpenBao() {
		// without it audit devices can only be declared in the configuration
		config += "unsafe_allow_api_audit_creation = true\n"
	}
	return config
}

func (s *Server) writeConfig(t testing.TB, config string) string {
	t.Helper()
	file := filepath.Join(s.dir, "config.hcl")
	if err := os.WriteFile(file, []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

// Start starts the server, or starts it again after Stop or Kill, with the same
// address and data, and returns when it answers and is unsealed: it may not be
// active yet.
func (s *Server) Start(t testing.TB) {
	t.Helper()
	s.http.CloseIdleConnections()
	cmd := exec.Command(programs.vault, s.args...)
	cmd.Env = s.env
	s.proc = start(t, s.name, s.Log, cmd)
	Within(t, patience, s.name+" answers", func() error {
		if !s.proc.running() {
			t.Fatalf("%s ended at its start:\n%s", s.name, tail(s.Log, 20))
		}
		_, err := s.Do("GET", "sys/seal-status", nil)
		return err
	})
	s.Unseal(t)
}

// Stop ends the server as its operator would, and returns when it is gone.
func (s *Server) Stop() {
	s.proc.stop()
	s.http.CloseIdleConnections()
}

// Kill ends the server as kill -9 does, and the plugin processes that this
// leaves behind.
func (s *Server) Kill() {
	s.proc.kill()
	s.http.CloseIdleConnections()
}

// Running reports whether the server's process runs.
func (s *Server) Running() bool { return s.proc != nil && s.proc.running() }

// Seal seals the server.
func (s *Server) Seal(t testing.TB) {
	t.Helper()
	s.Write(t, "sys/seal", nil).OK(t)
}

// Unseal unseals the server if it is initialised and sealed.
func (s *Server) Unseal(t testing.TB) {
	t.Helper()
	if s.unsealKey == "" {
		return
	}
	// a node that is joining a cluster refuses until it has heard from a leader
	Within(t, patience, s.name+" is unsealed", func() error {
		r, err := s.Do("PUT", "sys/unseal", Fields{"key": s.unsealKey})
		if err != nil {
			return err
		}
		if !strings.Contains(r.Raw, `"sealed":false`) {
			return errors.New(r.Raw)
		}
		return nil
	})
}

// WaitActive returns when the server is unsealed and active.
func (s *Server) WaitActive(t testing.TB) {
	t.Helper()
	Within(t, patience, s.name+" is active", func() error {
		r, err := s.Do("GET", "sys/health", nil)
		if err == nil && r.Status != 200 {
			err = fmt.Errorf("status %d: %s", r.Status, r.Raw)
		}
		return err
	})
}

// EnableAudit has the server keep an audit log in the file s.Audit.
func (s *Server) EnableAudit(t testing.TB) {
	t.Helper()
	s.Write(t, "sys/audit/file", Fields{"type": "file", "options": Fields{"file_path": s.Audit}}).OK(t)
}

// AppToken makes a token with one policy, of this text.
func (s *Server) AppToken(t testing.TB, policy string) string {
	t.Helper()
	name := fmt.Sprintf("app-%d", time.Now().UnixNano())
	s.Write(t, "sys/policies/acl/"+name, Fields{"policy": policy}).OK(t)
	return s.Write(t, "auth/token/create", Fields{"policies": []string{name}, "no_default_policy": true}).OK(t).Auth.ClientToken
}
