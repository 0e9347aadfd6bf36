// SPDX-License-Identifier: MPL-2.0

package kubernetes

import (
	"fmt"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"vault-plugin-secrets-messaging/acceptance/harness"
	"vault-plugin-secrets-messaging/internal/simulator"
)

// world is a namespace of the cluster with the service account my-app, a Vault server with the engine
// and the Kubernetes auth method, and a simulator.
type world struct {
	*harness.Server
	*cluster
	sim       *harness.Simulator
	namespace string
	lifetime  time.Duration // of the tokens
}

const config = "messaging/config/sinch"

// newWorld returns a world after the first commands of the page.
func newWorld(t *testing.T, c *cluster, namespace string, lifetime time.Duration) *world {
	t.Helper()
	dir, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	harness.CopyPlugin(t, dir)
	harness.CopyProgram(t, filepath.Join(c.programs, authPlugin), dir)
	w := &world{cluster: c, sim: harness.StartSimulator(t), namespace: namespace,
		Server: harness.StartDevWith(t, harness.Options{PluginDir: dir})}
	w.InstallPlugin(t)
	w.enableAuth(t, filepath.Join(dir, authPlugin))
	c.apply(t, fmt.Sprintf(`
{apiVersion: v1, kind: Namespace, metadata: {name: %[1]s}}
---
{apiVersion: v1, kind: ServiceAccount, metadata: {name: my-app, namespace: %[1]s}}
`, namespace))
	w.tokensLive(t, lifetime)
	w.Write(t, config, harness.Fields{
		"provider": simulator.SinchIndia, "token_url": w.sim.TokenURL(simulator.SinchIndia),
		"username": "acme", "password": "correct-horse",
	}).OK(t)
	w.run(t, section(t, "Kubernetes"))
	w.refusesTokensForOthers(t)
	w.run(t, section(t, "Drift"))
	return w
}

const authPlugin = "vault-plugin-auth-kubernetes"

// enableAuth enables the Kubernetes auth method. Vault reviews the tokens of apps with a service
// account of its own.
func (w *world) enableAuth(t *testing.T, plugin string) {
	t.Helper()
	w.Register(t, "auth", authPlugin, plugin)
	w.Write(t, "sys/auth/kubernetes", harness.Fields{"type": authPlugin}).OK(t)
	w.Write(t, "auth/kubernetes/config", harness.Fields{
		"kubernetes_host": w.url(), "kubernetes_ca_cert": readFile(t, w.caFile),
		"token_reviewer_jwt": w.serviceAccountToken(t, reviewers, reviewers), "disable_local_ca_jwt": true,
	}).OK(t)
}

// refusesTokensForOthers checks that a token of the right service account cannot log in if it was not made
// for Vault.
func (w *world) refusesTokensForOthers(t *testing.T) {
	t.Helper()
	for audience, status := range map[string]int{"vault": 200, "elsewhere": 403} {
		login := harness.Fields{"role": "messaging-app", "jwt": w.serviceAccountToken(t, w.namespace, "my-app", audience)}
		if r := w.Write(t, "auth/kubernetes/login", login); r.Status != status {
			t.Errorf("login with a token for the audience %q: got status %d, want %d: %s", audience, r.Status, status, r.Raw)
		}
	}
}

// section returns a section of the page, without the sections below it.
func section(t *testing.T, title string) string {
	t.Helper()
	page := readFile(t, "../../docs/recipes/kubernetes.md")
	m := regexp.MustCompile(`(?ms)^#+ ` + regexp.QuoteMeta(title) + `\n(.*?)(?:^##|\z)`).FindStringSubmatch(page)
	if m == nil {
		t.Fatalf("docs/recipes/kubernetes.md: got no section %q, want one", title)
	}
	return m[1]
}

// blocks returns the code blocks of a section in a language.
func blocks(t *testing.T, text, language string) (found []string) {
	t.Helper()
	for _, m := range regexp.MustCompile("(?ms)^```"+language+"\n(.*?)^```").FindAllStringSubmatch(text, -1) {
		found = append(found, m[1])
	}
	if len(found) == 0 {
		t.Fatalf("got no code block in %s, want at least one:\n%s", language, text)
	}
	return found
}

// tokensLive sets the lifetime of the next tokens.
func (w *world) tokensLive(t *testing.T, lifetime time.Duration) {
	t.Helper()
	w.lifetime = lifetime
	w.sim.Configure(t, fmt.Sprintf(`{"access_ttl": %d}`, lifetime/time.Second))
}

// withoutLeases runs the page's commands that switch leases off.
func (w *world) withoutLeases(t *testing.T) {
	t.Helper()
	w.run(t, section(t, "Without leases"))
}

// local replaces in a text of the page what depends on the place: the namespace, because the tests share
// a cluster, the address of Vault, and the lengths of time, because tokens live less than an hour.
func (w *world) local(text string) string {
	short := func(d time.Duration) string { return fmt.Sprintf("%ds", int(d.Hours()*w.lifetime.Seconds())) }
	return strings.NewReplacer("shop", w.namespace, "https://vault.example.com:8200", w.Addr,
		"15m", short(15*time.Minute), "20m", short(20*time.Minute)).Replace(text)
}

// run runs the commands of a section. Vault must print no warning.
func (w *world) run(t *testing.T, section string) {
	t.Helper()
	for _, block := range blocks(t, section, "sh") {
		if r := w.Shell(t, t.TempDir(), w.local(block)).OK(t); strings.Contains(r.Stdout+r.Stderr, "WARNING") {
			t.Errorf("got a warning from\n%s\n%s%s", block, r.Stdout, r.Stderr)
		}
	}
}
