// SPDX-License-Identifier: MPL-2.0

package harness

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// StartAgent starts a Vault Agent that logs in by AppRole with this policy. The agent renders
// each template to a file. StartAgent returns the names of these files.
func (s *Server) StartAgent(t testing.TB, policy string, templates ...string) (rendered []string) {
	t.Helper()
	dir := t.TempDir()
	roleID, secretID := s.appRole(t, policy)
	write := func(name, content string) string {
		file := filepath.Join(dir, name)
		if err := os.WriteFile(file, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		return file
	}
	config := fmt.Sprintf(`
vault {
  address = %q
}
auto_auth {
  method "approle" {
    config = {
      role_id_file_path                   = %q
      secret_id_file_path                 = %q
      remove_secret_id_file_after_reading = false
    }
  }
}
`, s.Addr, write("role-id", roleID), write("secret-id", secretID))
	for i, template := range templates {
		file := filepath.Join(dir, fmt.Sprintf("rendered-%d", i))
		config += fmt.Sprintf("template {\n  contents = %q\n  destination = %q\n}\n", template, file)
		rendered = append(rendered, file)
	}
	cmd := exec.Command(programs.vault, "agent", "-config="+write("agent.hcl", config))
	cmd.Env = s.As("").Env(t) // without the root token: the agent must log in
	proc := start(t, "vault agent", filepath.Join(dir, "agent.log"), cmd)
	stopAfter(t, &proc)
	return rendered
}

// appRole makes an AppRole with this policy, and a secret id for the AppRole.
func (s *Server) appRole(t testing.TB, policy string) (roleID, secretID string) {
	t.Helper()
	s.Write(t, "sys/policies/acl/agent", Fields{"policy": policy}).OK(t)
	s.Write(t, "sys/auth/approle", Fields{"type": "approle"}).OK(t)
	s.Write(t, "auth/approle/role/agent", Fields{"token_policies": "agent"}).OK(t)
	roleID = s.Read(t, "auth/approle/role/agent/role-id").OK(t).Text("role_id")
	secretID = s.Write(t, "auth/approle/role/agent/secret-id", Fields{}).OK(t).Text("secret_id")
	return roleID, secretID
}
