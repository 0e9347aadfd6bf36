// SPDX-License-Identifier: MPL-2.0

package clients

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"testing"

	"vault-plugin-secrets-messaging/acceptance/harness"
)

// Terraform accepts the syntax and the formatting of the page, and its references. Without the
// provider, Terraform cannot check the arguments of resources.
func TestTerraformRecipe(t *testing.T) {
	if _, err := exec.LookPath("python3"); err != nil {
		fmt.Println("LEFT OUT: Terraform, because there is no python3 on the PATH")
		t.Skip("there is no python3 on the PATH")
	}
	dir := venv(t, "terraform", "terraform-requirements.txt")
	page, err := os.ReadFile(recipes + "/terraform.md")
	if err != nil {
		t.Fatal(err)
	}
	blocks := regexp.MustCompile("(?ms)^```hcl\n(.*?)^```").FindAllSubmatch(page, -1)
	if len(blocks) != 1 {
		t.Fatalf("got %d blocks of HCL in terraform.md, want 1", len(blocks))
	}
	module := t.TempDir()
	if err := os.WriteFile(filepath.Join(module, "main.tf"), blocks[0][1], 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(filepath.Join(dir, "bin/python"), "-B", harness.Absolute(t, "validate_terraform.py"), module)
	cmd.Env = append(os.Environ(), "TF_CLI_CONFIG_FILE="+os.DevNull, "CHECKPOINT_DISABLE=1")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("got %v for the HCL of terraform.md, want Terraform to accept it:\n%s", err, out)
	}
}
