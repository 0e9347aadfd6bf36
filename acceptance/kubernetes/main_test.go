// SPDX-License-Identifier: MPL-2.0

// Package kubernetes tests docs/recipes/kubernetes.md. With the manifests of the page, a pod's file or
// a Kubernetes Secret always has a living token: one that the provider accepts.
//
// The tests use the real etcd, API server, Kubernetes auth method, Vault Secrets Operator, External
// Secrets and Vault Agent Injector. There is no kubelet, so the tests run the injected containers
// themselves. Run them with "make test-kubernetes".
package kubernetes

import (
	"strings"
	"testing"
	"time"

	"vault-plugin-secrets-messaging/acceptance/harness"
)

func TestMain(m *testing.M) { harness.Main(m) }

// starter sets up one of the ways in kubernetes.md to get a token into a pod. It returns a watch for
// each token that an app reads.
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

// forEachConsumer runs a test for all consumers in parallel. The consumers share a cluster, but each
// has its own namespace, Vault server and simulator.
func forEachConsumer(t *testing.T, lifetime time.Duration, test func(t *testing.T, w *world, name string)) {
	t.Helper()
	t.Parallel() // the test mostly waits
	c := startCluster(t)
	for name := range consumers {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			test(t, newWorld(t, c, "shop-"+strings.ToLower(name), lifetime), name)
		})
	}
}

// With leases, each consumer always has a living token while the provider works. External Secrets needs
// min_ttl for that. With allowStaticCreds, the Vault Secrets Operator reads only once.
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

// Without leases, each consumer always has a living token while the provider works. The Vault Secrets
// Operator needs refreshAfter or allowStaticCreds for that, or it reads only once.
func TestWithoutLeases(t *testing.T) {
	forEachConsumer(t, 12*time.Second, func(t *testing.T, w *world, name string) {
		w.run(t, pageSection(t, "Without leases"))
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
