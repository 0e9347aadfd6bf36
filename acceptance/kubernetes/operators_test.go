// SPDX-License-Identifier: MPL-2.0

package kubernetes

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"vault-plugin-secrets-messaging/acceptance/harness"
)

func startSecretsOperator(t *testing.T, w *world) []watch {
	t.Helper()
	const namespace = "vault-secrets-operator-system"
	w.apply(t, fmt.Sprintf(`
{apiVersion: v1, kind: Namespace, metadata: {name: %[1]s}}
---
apiVersion: secrets.hashicorp.com/v1beta1
kind: VaultConnection
metadata: {name: default, namespace: %[1]s}
spec: {address: %[2]q}
`, namespace, w.Addr))
	w.start(t, "vault-secrets-operator", []string{"KUBECONFIG=" + w.kubeconfig, "OPERATOR_NAMESPACE=" + namespace},
		"-leader-elect=false", "-metrics-bind-address=0", "-health-probe-bind-address=0")
	w.apply(t, w.local(secretsOperatorManifests(t)))
	return []watch{w.watchSecret("Secrets Operator", "sinch-token")}
}

func secretsOperatorManifests(t *testing.T) string {
	t.Helper()
	return harness.CodeBlocks(t, pageSection(t, "Vault Secrets Operator"), "yaml")[0]
}

// watchSecret returns a watch of a Secret.
func (w *world) watchSecret(name, secret string) watch {
	return watch{name, func() string { return w.secret(w.namespace, secret) }}
}

// restarts creates two Deployments. The Vault Secrets Operator restarts the first Deployment after
// each read, and the second only after a new token.
func (w *world) restarts(t *testing.T) (static watch, check func(tokens int)) {
	t.Helper()
	const refresh, target = "  refreshAfter: 15m\n", "  rolloutRestartTargets: [{kind: Deployment, name: %s}]\n"
	w.variant(t, "restarts", refresh, refresh+fmt.Sprintf(target, "restarts"))
	w.variant(t, "static", refresh, "  allowStaticCreds: true\n"+fmt.Sprintf(target, "static"))
	for _, name := range []string{"restarts", "static"} {
		w.apply(t, fmt.Sprintf(`
apiVersion: apps/v1
kind: Deployment
metadata: {name: %s, namespace: %s}
spec:
  selector: {matchLabels: {app: app}}
  template: {metadata: {labels: {app: app}}, spec: {containers: [{name: app, image: app}]}}
`, name, w.namespace))
	}
	return w.watchSecret("Secrets Operator, allowStaticCreds", "static-token"), func(tokens int) {
		each, static := w.generation(t, "restarts")-1, w.generation(t, "static")-1
		t.Logf("restarts of the app: %d, and %d with allowStaticCreds, with %d tokens", each, static, tokens)
		if each < 2*tokens || static > tokens+3 { // up to three tokens come before and after the count
			t.Errorf("got %d restarts with refreshAfter and %d with allowStaticCreds for %d tokens, want one for each read with refreshAfter and one for each token with allowStaticCreds",
				each, static, tokens)
		}
	}
}

// generation returns a number that each restart of the Deployment increments.
func (w *world) generation(t *testing.T, deployment string) int {
	t.Helper()
	got, err := w.do("GET", "/apis/apps/v1/namespaces/"+w.namespace+"/deployments/"+deployment, "", "")
	var d struct{ Metadata struct{ Generation int } }
	if err == nil {
		err = json.Unmarshal(got, &d)
	}
	if err != nil {
		t.Fatal(err)
	}
	return d.Metadata.Generation
}

// readsOnce replaces the manifest's refreshAfter with another setting. The function check fails the
// test if the Vault Secrets Operator reads a second token.
func (w *world) readsOnce(t *testing.T, instead string) (check func()) {
	t.Helper()
	w.variant(t, "once", "  refreshAfter: 15m\n", instead)
	once := w.watchSecret("Secrets Operator, once", "once-token")
	w.until(t, harness.Timeout, "the first token", []watch{once}, func(token string) bool { return token != "" })
	first := once.read()
	return func() {
		if token := once.read(); token != first || w.living(t, token) {
			t.Errorf("with %q in place of refreshAfter: got a new token, want only the first token, as the page says", instead)
		}
	}
}

// variant applies the Vault Secrets Operator's manifests under another name, with one text
// replaced.
func (w *world) variant(t *testing.T, name, old, replacement string) {
	t.Helper()
	manifests := secretsOperatorManifests(t)
	changed := strings.NewReplacer(old, replacement, "name: sinch-token", "name: "+name+"-token", "name: sinch\n", "name: "+name+"\n").Replace(manifests)
	if !strings.Contains(manifests, old) || !strings.Contains(changed, name+"-token") {
		t.Fatalf("docs/recipes/kubernetes.md: got no %q in the manifests of the Vault Secrets Operator, want it", old)
	}
	w.apply(t, w.local(changed))
}

func startExternalSecrets(t *testing.T, w *world) []watch {
	t.Helper()
	w.start(t, "external-secrets", []string{"KUBECONFIG=" + w.kubeconfig}, "--metrics-addr=0")
	for _, manifests := range harness.CodeBlocks(t, pageSection(t, "External Secrets"), "yaml") {
		w.apply(t, w.local(manifests))
	}
	return []watch{w.watchSecret("External Secrets", "sinch-token")}
}
