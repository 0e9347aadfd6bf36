// SPDX-License-Identifier: MPL-2.0

// Package kubernetes tests the manifests of docs/recipes/kubernetes.md with real Kubernetes
// programs. It checks that apps always have a token that the provider accepts.
//
// There is no kubelet, so the tests run the containers themselves. Run them with "make
// test-kubernetes".
package kubernetes

import (
	"strings"
	"testing"
	"time"

	"vault-plugin-secrets-messaging/acceptance/harness"
)

func TestMain(m *testing.M) { harness.Main(m) }

// starter starts a tool that gets tokens for an app.
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

// forEachConsumer runs a test in parallel for each tool in consumers. Each tool has its own
// namespace, Vault server and simulator.
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
