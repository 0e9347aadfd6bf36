// SPDX-License-Identifier: MPL-2.0

package clients

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	goruntime "runtime"
	"testing"

	"vault-plugin-secrets-messaging/acceptance/harness"
	"vault-plugin-secrets-messaging/internal/simulator"
)

// The playbook of the Ansible recipe works twice, word for word.
func TestAnsible(t *testing.T) {
	if _, err := exec.LookPath("python3"); err != nil {
		fmt.Println("LEFT OUT: Ansible, because there is no python3 on the PATH")
		t.Skip("there is no python3 on the PATH")
	}
	if goruntime.GOOS == "darwin" {
		t.Skip("Go reads no certificate file on this system, so the simulator cannot use the providers' host names")
	}
	bin := filepath.Join(venv(t, "ansible", "ansible-requirements.txt"), "bin")
	t.Parallel()
	page, err := os.ReadFile(recipes + "/ansible.md")
	if err != nil {
		t.Fatal(err)
	}
	playbooks := regexp.MustCompile("(?ms)^```yaml\n(.*?)^```").FindAllSubmatch(page, -1)
	if len(playbooks) != 1 {
		t.Fatalf("got %d playbooks in ansible.md, want 1", len(playbooks))
	}
	dir := t.TempDir()
	for name, content := range map[string][]byte{"messaging.yml": playbooks[0][1], "pw.txt": []byte("correct-horse\n")} {
		if err := os.WriteFile(filepath.Join(dir, name), content, 0o600); err != nil {
			t.Fatal(err)
		}
	}

	sim := harness.StartSimulator(t)
	server := harness.StartDevWith(t, harness.Options{Env: sim.AsInternet(t)})
	server.InstallPlugin(t)
	play := func() (token string) {
		t.Helper()
		cmd := exec.CommandContext(t.Context(), filepath.Join(bin, "ansible-playbook"), "messaging.yml")
		cmd.Dir = dir
		cmd.Env = append(server.Env(t), "PATH="+bin+":"+os.Getenv("PATH"), "ANSIBLE_HOME="+dir, "LC_ALL=C.UTF-8")
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%s: %v\n%s", cmd, err, out)
		}
		content, err := os.ReadFile(filepath.Join(dir, "sinch-token"))
		if err != nil {
			t.Fatal(err)
		}
		return string(content)
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
