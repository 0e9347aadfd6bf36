// SPDX-License-Identifier: MPL-2.0

package clients

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"vault-plugin-secrets-messaging/acceptance/harness"
)

// Terraform accepts the syntax, formatting and references of docs/recipes/terraform.md. Without the
// Terraform provider, the test cannot check arguments.
func TestTerraformRecipe(t *testing.T) {
	harness.NeedPrograms(t, "Terraform", "python3")
	dir := venv(t, "terraform", "terraform-requirements.txt")
	blocks := harness.CodeBlocks(t, harness.ReadFile(t, recipes+"/terraform.md"), "hcl")
	if len(blocks) != 1 {
		t.Fatalf("got %d blocks of HCL in terraform.md, want 1", len(blocks))
	}
	module := t.TempDir()
	harness.WriteFile(t, module, "main.tf", blocks[0])
	cmd := exec.Command(filepath.Join(dir, "bin/python"), "-B", harness.Absolute(t, "validate_terraform.py"), module)
	cmd.Env = append(os.Environ(), "TF_CLI_CONFIG_FILE="+os.DevNull, "CHECKPOINT_DISABLE=1")
	harness.RunCommand(t, cmd)
}
