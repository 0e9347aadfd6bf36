// SPDX-License-Identifier: MPL-2.0

package kubernetes

import (
	"testing"
	"time"

	"vault-plugin-secrets-messaging/acceptance/harness"
)

// rotatedLifetime is much longer than the shortest lease_ttl, which is 30 s.
const rotatedLifetime = 2 * time.Minute

func TestRotateWithLeases(t *testing.T) {
	forEachConsumer(t, rotatedLifetime, func(t *testing.T, w *world, name string) {
		w.setLeaseTTL(t, "30s")
		app := consumers[name](t, w)[0]
		w.follows(t, app, "leases and lease_ttl=30s", 35*time.Second)
		w.setLeaseTTL(t, "1h")
		w.follows(t, app, "leases", rotatedLifetime)
		w.setLeaseTTL(t, "30s")
		w.readsAtOnce(t, app, name)
	})
}

func TestRotateWithoutLeases(t *testing.T) {
	forEachConsumer(t, rotatedLifetime, func(t *testing.T, w *world, name string) {
		w.run(t, pageSection(t, "Without leases"))
		w.setLeaseTTL(t, "30s")
		app := consumers[name](t, w)[0]
		if name == operator {
			w.follows(t, app, "lease=false and refreshAfter", 35*time.Second)
			app, _ = w.restarts(t)
		}
		w.follows(t, app, "lease=false and lease_ttl=30s", 35*time.Second)
		w.setLeaseTTL(t, "1h")
		w.follows(t, app, "lease=false", rotatedLifetime)
	})
}

func (w *world) setLeaseTTL(t *testing.T, d string) {
	t.Helper()
	w.Write(t, config, harness.Fields{"lease_ttl": d}).OK(t)
}

// Callers must wait between two rotates, because rotates within 10 s share one token.
func (w *world) rotate(t *testing.T) {
	t.Helper()
	w.Write(t, "messaging/rotate/sinch", nil).OK(t)
}

// readNext rotates the token and waits until the app has the new token.
func (w *world) readNext(t *testing.T, app watch) time.Time {
	t.Helper()
	old := app.read()
	w.rotate(t)
	return w.until(t, 2*w.lifetime, "the token of a rotate", []watch{app}, func(token string) bool {
		return token != "" && token != old
	})[0]
}

// follows rotates the token twice, and measures the time between the app's two new tokens. The time
// must not exceed the limit.
func (w *world) follows(t *testing.T, app watch, mode string, limit time.Duration) {
	t.Helper()
	w.until(t, harness.Timeout, "a token", []watch{app}, func(token string) bool { return token != "" })
	time.Sleep(shared)
	first := w.readNext(t, app)
	time.Sleep(shared)
	took := w.readNext(t, app).Sub(first)
	t.Logf("%s, %s: reads again after %s", app.name, mode, seconds(took))
	if took > limit {
		t.Errorf("%s, %s: got the next token after %s, want it within %s", app.name, mode, seconds(took), seconds(limit))
	}
}

// shared is the pause between two rotates. Rotates within 10 s share one login.
const shared = 11 * time.Second

// readsAtOnce checks that the documented commands make a Kubernetes operator read a token at once.
// The operator must also restore a changed or deleted Secret.
func (w *world) readsAtOnce(t *testing.T, app watch, name string) {
	t.Helper()
	secret := "/api/v1/namespaces/" + w.namespace + "/secrets/sinch-token"
	change := func(what, method, path, body string, ok func(token string) bool) {
		t.Helper()
		began := time.Now()
		if _, err := w.do(method, path, "application/merge-patch+json", body); err != nil {
			t.Fatal(err)
		}
		at := w.until(t, w.lifetime, "a read after "+what, []watch{app}, ok)
		t.Logf("%s: reads %s after %s", app.name, seconds(at[0].Sub(began)), what)
	}
	time.Sleep(shared)
	old := app.read()
	next := func(token string) bool { return token != old && w.living(t, token) }
	w.rotate(t)
	switch name {
	case operator:
		change("the Secret is deleted", "DELETE", secret, "", next)
	case generator:
		change("the annotation force-sync", "PATCH", "/apis/external-secrets.io/v1/namespaces/"+w.namespace+"/externalsecrets/sinch",
			`{"metadata": {"annotations": {"force-sync": "1"}}}`, next)
		change("the Secret is deleted", "DELETE", secret, "", next)
	default:
		return // an app with the injector restarts instead
	}
	change("the Secret is edited", "PATCH", secret, `{"stringData": {"access_token": "edited"}}`, func(token string) bool { return w.living(t, token) })
}
