// SPDX-License-Identifier: MPL-2.0

package clients

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"vault-plugin-secrets-messaging/acceptance/harness"
	"vault-plugin-secrets-messaging/internal/simulator"
)

// The playbook of docs/recipes/ansible.md works word for word. A second run works, too.
func TestAnsible(t *testing.T) {
	harness.NeedPrograms(t, "Ansible", "python3")
	bin := filepath.Join(venv(t, "ansible", "ansible-requirements.txt"), "bin")
	t.Parallel()
	playbooks := harness.CodeBlocks(t, harness.ReadFile(t, recipes+"/ansible.md"), "yaml")
	if len(playbooks) != 1 {
		t.Fatalf("got %d playbooks in ansible.md, want 1", len(playbooks))
	}
	dir := t.TempDir()
	harness.WriteFile(t, dir, "messaging.yml", playbooks[0])
	harness.WriteFile(t, dir, "pw.txt", "correct-horse\n")

	sim := harness.StartSimulator(t)
	server := harness.StartDevWith(t, harness.Options{Env: sim.AsInternet(t)})
	server.InstallPlugin(t)
	play := func() (token string) {
		t.Helper()
		cmd := exec.CommandContext(t.Context(), filepath.Join(bin, "ansible-playbook"), "messaging.yml")
		cmd.Dir = dir
		cmd.Env = append(server.Env(t), "PATH="+bin+":"+os.Getenv("PATH"), "ANSIBLE_HOME="+dir, "LC_ALL=C.UTF-8")
		harness.RunCommand(t, cmd)
		return harness.ReadFile(t, filepath.Join(dir, "sinch-token"))
	}

	token := play()
	if known := sim.Token(t, token); !known.Active {
		t.Errorf("token of the playbook: got %+v, want an active one", known)
	}
	logins := sim.Logins(t, simulator.SinchIndia)
	if again := play(); again != token {
		t.Errorf("second run of the playbook: got another token, want the same")
	}
	if n := sim.Logins(t, simulator.SinchIndia); n != logins {
		t.Errorf("second run of the playbook: got %d logins, want 0", n-logins)
	}
}
