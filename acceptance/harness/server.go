// SPDX-License-Identifier: MPL-2.0

package harness

import (
	"cmp"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// Server is a Vault server. The embedded Client uses the root token.
type Server struct {
	Client
	Log   string // the log file of the server and its plugins, at trace level
	Audit string // the audit log file, which EnableAudit creates
	CA    string // the file with the certificate of the listener at Options.HTTPS

	dir       string // the folder of the server's files
	name      string
	args      []string // arguments of the vault command
	env       []string // environment of the server and its plugins
	unsealKey string   // "" for a dev server
	proc      *process
}

// rootToken is the root token of every dev server.
const rootToken = "root"

// Options configures a dev server.
type Options struct {
	PluginDir string   // "" means the folder of the plugin under test
	LogLevel  string   // "" means trace
	Env       []string // additional environment of the server and its plugins
	HTTPS     string   // the address of an additional TLS listener, such as 127.0.0.1:8443; "" for none
}

// StartDev starts an unsealed dev server with data in memory.
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
	settings := pluginConfig(t, o.PluginDir)
	if o.HTTPS != "" {
		var key string
		_, s.CA, key = selfSigned(t, "localhost")
		settings += fmt.Sprintf("listener \"tcp\" {\n  address = %q\n  tls_cert_file = %q\n  tls_key_file = %q\n}\n", o.HTTPS, s.CA, key)
	}
	s.args = []string{
		"server", "-dev", "-dev-no-store-token", "-dev-root-token-id=" + rootToken,
		"-dev-listen-address=" + strings.TrimPrefix(s.Addr, "http://"),
		"-log-level=" + cmp.Or(o.LogLevel, "trace"), "-config=" + WriteFile(t, s.dir, "config.hcl", settings),
	}
	s.Start(t)
	return s
}

// newServer returns a server that is not started yet.
func newServer(t testing.TB, name string) *Server {
	t.Helper()
	Need(t)
	dir := t.TempDir()
	home := filepath.Join(dir, "home")
	if err := os.Mkdir(home, 0o700); err != nil {
		t.Fatal(err)
	}
	s := &Server{
		Client: Client{Addr: "http://" + FreeAddress(t), http: newHTTPClient(), home: home},
		Log:    filepath.Join(dir, "server.log"),
		Audit:  filepath.Join(dir, "audit.log"),
		dir:    dir,
		name:   name,
	}
	stopAfter(t, &s.proc)
	return s
}

// pluginConfig returns settings to run the plugins in the folder dir. An empty dir means the folder
// of the plugin under test.
func pluginConfig(t testing.TB, dir string) string {
	t.Helper()
	dir, err := filepath.EvalSymlinks(cmp.Or(dir, filepath.Dir(programs.plugin))) // Vault refuses symbolic links
	if err != nil {
		t.Fatal(err)
	}
	config := fmt.Sprintf("plugin_directory = %q\n", dir)
	if OpenBao() {
		// allows EnableAudit
		config += "unsafe_allow_api_audit_creation = true\n"
	}
	return config
}

// Start starts or restarts the server, and returns when the server is unsealed. Start does not wait
// until the server is active. A restart keeps the address and the data on disk.
func (s *Server) Start(t testing.TB) {
	t.Helper()
	s.http.CloseIdleConnections()
	cmd := exec.Command(programs.vault, s.args...)
	cmd.Env = s.env
	s.proc = start(t, s.name, s.Log, cmd)
	Within(t, Timeout, s.name+" answers", func() error {
		if !s.proc.running() {
			t.Fatalf("%s ended while it started:\n%s", s.name, tail(s.Log, 20))
		}
		_, err := s.Do("GET", "sys/seal-status", nil)
		return err
	})
	s.Unseal(t)
}

// Stop shuts the server down and waits until the process ends.
func (s *Server) Stop() {
	s.proc.stop()
	s.http.CloseIdleConnections()
}

// Kill kills the server and its plugin processes.
func (s *Server) Kill() {
	s.proc.kill()
	s.http.CloseIdleConnections()
}

func (s *Server) Running() bool { return s.proc != nil && s.proc.running() }

func (s *Server) Seal(t testing.TB) {
	t.Helper()
	s.Write(t, "sys/seal", nil).OK(t)
}

// Unseal unseals the server if the server has an unseal key.
func (s *Server) Unseal(t testing.TB) {
	t.Helper()
	if s.unsealKey == "" {
		return
	}
	// A new node refuses the unseal key until the active node contacts the new node.
	Within(t, Timeout, s.name+" is unsealed", func() error {
		r, err := s.Do("PUT", "sys/unseal", Fields{"key": s.unsealKey})
		if err != nil {
			return err
		}
		if !strings.Contains(r.Raw, `"sealed":false`) {
			return fmt.Errorf("got status %d: %s", r.Status, r.Raw)
		}
		return nil
	})
}

// WaitActive waits until the server is unsealed and active.
func (s *Server) WaitActive(t testing.TB) {
	t.Helper()
	Within(t, Timeout, s.name+" is active", func() error {
		r, err := s.Do("GET", "sys/health", nil)
		if err == nil && r.Status != 200 {
			err = fmt.Errorf("got status %d, want 200: %s", r.Status, r.Raw)
		}
		return err
	})
}

// EnableAudit starts an audit log in the file s.Audit.
func (s *Server) EnableAudit(t testing.TB) {
	t.Helper()
	s.Write(t, "sys/audit/file", Fields{"type": "file", "options": Fields{"file_path": s.Audit}}).OK(t)
}

// AppToken makes a token with this policy only.
func (s *Server) AppToken(t testing.TB, policy string) string {
	t.Helper()
	name := fmt.Sprintf("app-%d", time.Now().UnixNano())
	s.Write(t, "sys/policies/acl/"+name, Fields{"policy": policy}).OK(t)
	return s.Write(t, "auth/token/create", Fields{"policies": []string{name}, "no_default_policy": true}).OK(t).Auth.ClientToken
}
