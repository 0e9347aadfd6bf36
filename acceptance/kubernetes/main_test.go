// SPDX-License-Identifier: MPL-2.0

// Package kubernetes tests docs/recipes/kubernetes.md: the manifests of the page keep a living token
// in a pod's file or in a Kubernetes Secret. The parts are real: etcd, the API server, Vault with its
// Kubernetes auth method, the Vault Secrets Operator, External Secrets, and the Vault Agent Injector.
// There is no kubelet, so the test runs the injected containers itself. Run it with
// "make test-kubernetes".
package kubernetes

import (
	"strings"
	"testing"
	"time"

	"vault-plugin-secrets-messaging/acceptance/harness"
)

func TestMain(m *testing.M) { harness.Main(m) }

// starter starts a way to get a token into a pod, with the page's manifests. It returns what the app
// reads.
type starter func(*testing.T, *world) []watch

const (
	operator  = "SecretsOperator"
	generator = "ExternalSecrets"
)

var consumers = map[string]starter{
	"AgentInjector": startAgentInjector,
	operator:        startSecretsOperator,
	generator:       startExternalSecrets,
}

// forEachConsumer runs a test for all consumers at once, beside the other tests. The consumers share a
// cluster. Each has a namespace, a Vault server and a simulator of its own.
func forEachConsumer(t *testing.T, lifetime time.Duration, test func(t *testing.T, w *world, name string)) {
	t.Helper()
	t.Parallel() // it mostly waits
	c := startCluster(t)
	for name := range consumers {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			test(t, newWorld(t, c, "shop-"+strings.ToLower(name), lifetime), name)
		})
	}
}

// With leases, each consumer keeps a living token while the provider is well. The Vault Secrets Operator
// reads only once with allowStaticCreds. External Secrets needs min_ttl.
func TestLeases(t *testing.T) {
	forEachConsumer(t, 12*time.Second, func(t *testing.T, w *world, name string) {
		if name == generator {
			w.Write(t, config, harness.Fields{"min_ttl": w.local("20m")}).OK(t)
		}
		watches := consumers[name](t, w)
		if name == operator {
			defer w.readsOnce(t, "  allowStaticCreds: true\n")()
		}
		w.keepATokenAlive(t, watches...)
	})
}

// Without leases, each consumer keeps a living token while the provider is well. The Vault Secrets
// Operator does so with refreshAfter and with allowStaticCreds, and reads only once with neither.
func TestWithoutLeases(t *testing.T) {
	forEachConsumer(t, 12*time.Second, func(t *testing.T, w *world, name string) {
		w.withoutLeases(t)
		watches := consumers[name](t, w)
		if name != operator {
			w.keepATokenAlive(t, watches...)
			return
		}
		defer w.readsOnce(t, "")()
		static, restarted := w.restarts(t)
		restarted(w.keepATokenAlive(t, append(watches, static)...))
	})
}
