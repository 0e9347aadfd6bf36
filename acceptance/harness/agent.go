// SPDX-License-Identifier: MPL-2.0

package harness

import (
	"fmt"
	"os/exec"
	"path/filepath"
	"testing"
)

// StartAgent starts a Vault Agent with this policy. The agent renders each template to a file.
// StartAgent returns the files' names.
func (s *Server) StartAgent(t testing.TB, policy string, templates ...string) (rendered []string) {
	t.Helper()
	s.Write(t, "sys/policies/acl/agent", Fields{"policy": policy}).OK(t)
	s.Write(t, "sys/auth/approle", Fields{"type": "approle"}).OK(t)
	const role = "auth/approle/role/agent"
	s.Write(t, role, Fields{"token_policies": "agent"}).OK(t)
	dir := t.TempDir()
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
`, s.Addr, WriteFile(t, dir, "role-id", s.Read(t, role+"/role-id").OK(t).Text("role_id")),
		WriteFile(t, dir, "secret-id", s.Write(t, role+"/secret-id", Fields{}).OK(t).Text("secret_id")))
	for i, template := range templates {
		file := filepath.Join(dir, fmt.Sprintf("rendered-%d", i))
		config += fmt.Sprintf("template {\n  contents = %q\n  destination = %q\n}\n", template, file)
		rendered = append(rendered, file)
	}
	cmd := exec.Command(programs.vault, "agent", "-config="+WriteFile(t, dir, "agent.hcl", config))
	cmd.Env = s.As("").Env(t) // without the root token, so that the agent must log in
	StartProgram(t, cmd)
	return rendered
}
