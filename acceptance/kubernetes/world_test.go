// SPDX-License-Identifier: MPL-2.0

package kubernetes

import (
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"vault-plugin-secrets-messaging/acceptance/harness"
	"vault-plugin-secrets-messaging/internal/simulator"
)

// world is a namespace of the cluster, with its own Vault server and simulator.
type world struct {
	*harness.Server
	*cluster
	sim       *harness.Simulator
	namespace string
	lifetime  time.Duration // the lifetime of tokens
}

const config = "messaging/config/sinch"

func newWorld(t *testing.T, c *cluster, namespace string, lifetime time.Duration) *world {
	t.Helper()
	dir := t.TempDir()
	harness.CopyPlugin(t, dir)
	harness.CopyTo(t, dir, filepath.Join(c.programs, authPlugin))
	w := &world{cluster: c, sim: harness.StartSimulator(t), namespace: namespace, lifetime: lifetime,
		Server: harness.StartDevWith(t, harness.Options{PluginDir: dir})}
	w.InstallPlugin(t)
	w.enableAuth(t, filepath.Join(dir, authPlugin))
	c.apply(t, fmt.Sprintf(`
{apiVersion: v1, kind: Namespace, metadata: {name: %[1]s}}
---
{apiVersion: v1, kind: ServiceAccount, metadata: {name: my-app, namespace: %[1]s}}
`, namespace))
	w.sim.Configure(t, fmt.Sprintf(`{"access_ttl": %d}`, lifetime/time.Second))
	w.Write(t, config, harness.Fields{
		"provider": simulator.SinchIndia, "token_url": w.sim.TokenURL(simulator.SinchIndia),
		"username": "acme", "password": "correct-horse",
	}).OK(t)
	w.run(t, pageSection(t, "Kubernetes"))
	w.refusesTokensForOthers(t)
	w.run(t, pageSection(t, "Drift"))
	return w
}

const authPlugin = "vault-plugin-auth-kubernetes"

// enableAuth enables the Kubernetes auth method.
func (w *world) enableAuth(t *testing.T, plugin string) {
	t.Helper()
	w.Register(t, "auth", authPlugin, plugin)
	w.Write(t, "sys/auth/kubernetes", harness.Fields{"type": authPlugin}).OK(t)
	w.Write(t, "auth/kubernetes/config", harness.Fields{
		"kubernetes_host": w.url(), "kubernetes_ca_cert": harness.ReadFile(t, w.caFile),
		"token_reviewer_jwt": w.serviceAccountToken(t, reviewers, reviewers), "disable_local_ca_jwt": true,
	}).OK(t)
}

// refusesTokensForOthers checks that Vault refuses service account tokens for another audience.
func (w *world) refusesTokensForOthers(t *testing.T) {
	t.Helper()
	for audience, status := range map[string]int{"vault": 200, "elsewhere": 403} {
		login := harness.Fields{"role": "messaging-app", "jwt": w.serviceAccountToken(t, w.namespace, "my-app", audience)}
		if r := w.Write(t, "auth/kubernetes/login", login); r.Status != status {
			t.Errorf("login with a token for the audience %q: got status %d, want %d: %s", audience, r.Status, status, r.Raw)
		}
	}
}

// pageSection returns a section of docs/recipes/kubernetes.md.
func pageSection(t *testing.T, heading string) string {
	t.Helper()
	return harness.Section(t, "../../docs/recipes/kubernetes.md", heading)
}

// local adapts commands and manifests of docs/recipes/kubernetes.md to the test. It replaces the
// namespace and address, and shortens the times.
func (w *world) local(text string) string {
	short := func(d time.Duration) string { return fmt.Sprintf("%ds", int(d.Hours()*w.lifetime.Seconds())) }
	return strings.NewReplacer("shop", w.namespace, "https://vault.example.com:8200", w.Addr,
		"15m", short(15*time.Minute), "20m", short(20*time.Minute)).Replace(text)
}

// run runs the commands in a section of the page. Warnings from Vault fail the test.
func (w *world) run(t *testing.T, section string) {
	t.Helper()
	for _, block := range harness.CodeBlocks(t, section, "sh") {
		if r := w.Shell(t, t.TempDir(), w.local(block)).OK(t); strings.Contains(r.Stdout+r.Stderr, "WARNING") {
			t.Errorf("got a warning from\n%s\n%s%s", block, r.Stdout, r.Stderr)
		}
	}
}
