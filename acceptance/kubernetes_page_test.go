// SPDX-License-Identifier: MPL-2.0

package acceptance

import (
	"crypto/sha256"
	"encoding/hex"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"

	"vault-plugin-secrets-messaging/acceptance/harness"
)

// The manifests in docs/recipes/kubernetes.md are valid YAML. The init container refuses a plugin
// with a wrong checksum.
func TestRecipeKubernetes(t *testing.T) {
	page, script := harness.ReadFile(t, "../docs/recipes/kubernetes.md"), ""
	for _, block := range harness.CodeBlocks(t, page, "yaml") {
		for doc := range strings.SplitSeq(block, "\n---\n") {
			var values struct {
				Server struct {
					ExtraInitContainers []struct{ Command, Args []string } `yaml:"extraInitContainers"`
				}
			}
			if err := yaml.Unmarshal([]byte(doc), &values); err != nil {
				t.Errorf("docs/recipes/kubernetes.md: got %v, want valid YAML:\n%s", err, doc)
			}
			for _, c := range values.Server.ExtraInitContainers {
				if strings.Join(c.Command, " ") != "sh -euc" || len(c.Args) != 1 {
					t.Fatalf("got an init container with %q and %d arguments, want sh -euc and one script", c.Command, len(c.Args))
				}
				script = c.Args[0]
			}
		}
	}
	harness.NeedPrograms(t, "the init container of docs/recipes/kubernetes.md", "curl", "sha256sum")
	const name, content = "vault-plugin-secrets-messaging_v1.1.0_linux_amd64", "the plugin"
	sum := sha256.Sum256([]byte(content))
	releases := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/"+name {
			http.NotFound(w, r)
			return
		}
		_, _ = w.Write([]byte(content))
	}))
	defer releases.Close()
	install := func(sum string) (installed string, err error) {
		dir := t.TempDir()
		local := strings.NewReplacer("https://releases.example.com", releases.URL, "/usr/local/libexec/vault", dir)
		cmd := exec.Command("sh", "-euc", local.Replace(script))
		cmd.Env = append(os.Environ(), "SHA256="+sum)
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Logf("%s", out)
		}
		return filepath.Join(dir, name), err
	}
	installed, err := install(hex.EncodeToString(sum[:]))
	if err != nil {
		t.Fatalf("got %v from the init container, want the plugin to be installed", err)
	}
	if got := harness.ReadFile(t, installed); got != content {
		t.Errorf("got the plugin %q, want %q", got, content)
	}
	if _, err := exec.LookPath(installed); err != nil {
		t.Errorf("got %v, want an executable file", err)
	}
	if installed, err := install(strings.Repeat("0", 64)); err == nil {
		t.Errorf("got %s installed although its checksum is wrong, want an error", installed)
	}
}
