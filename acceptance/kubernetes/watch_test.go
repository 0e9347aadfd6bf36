// SPDX-License-Identifier: MPL-2.0

package kubernetes

import (
	"fmt"
	"testing"
	"time"

	"vault-plugin-secrets-messaging/acceptance/harness"
)

const (
	lives = 10 // how many token lifetimes a test watches before the outage
	// recovery is the longest wait for a token after an outage. The Vault Secrets Operator waits up
	// to a minute between two attempts.
	recovery = 90 * time.Second
)

// watch reads an app's token. The function read returns "" if the app has no token.
type watch struct {
	name string
	read func() string
}

// seen is what a watch has seen in a period.
type seen struct {
	dead   time.Duration // how long the provider refused the token
	tokens map[string]bool
}

// during measures how long each token is dead in the time d.
func (w *world) during(t *testing.T, d time.Duration, watches []watch) []seen {
	t.Helper()
	all := make([]seen, len(watches))
	last := make([]time.Time, len(watches))
	began := time.Now()
	for i := range all {
		all[i].tokens, last[i] = map[string]bool{}, began
	}
	for time.Since(began) < d {
		time.Sleep(100 * time.Millisecond)
		for i, watch := range watches {
			token := watch.read()
			all[i].tokens[token] = true
			dead := !w.living(t, token) && watch.read() == token
			now := time.Now()
			if dead {
				all[i].dead += now.Sub(last[i])
			}
			last[i] = now
		}
	}
	return all
}

func (w *world) living(t *testing.T, token string) bool {
	t.Helper()
	return token != "" && w.sim.Token(t, token).Active
}

// until waits until ok has accepted a token from each watch. For each watch, it returns when ok
// accepted the token.
func (w *world) until(t *testing.T, limit time.Duration, what string, watches []watch, ok func(token string) bool) []time.Time {
	t.Helper()
	at := make([]time.Time, len(watches))
	harness.Within(t, limit, what, func() (err error) {
		for i, watch := range watches {
			if at[i].IsZero() {
				if ok(watch.read()) {
					at[i] = time.Now()
				} else {
					err = fmt.Errorf("%s is not there yet", watch.name)
				}
			}
		}
		return err
	})
	return at
}

// keepATokenAlive checks that apps always have a live token, except during an outage and the
// recovery. It returns how many tokens the first app had before the outage and after the recovery.
func (w *world) keepATokenAlive(t *testing.T, watches ...watch) (tokens int) {
	t.Helper()
	life := w.lifetime
	outage := life * 3 / 2
	living := func(token string) bool { return w.living(t, token) }
	w.until(t, harness.Timeout, "a living token", watches, living)
	well := w.during(t, lives*life, watches)
	w.sim.Configure(t, `{"faults": [{"kind": "status"}]}`)
	down := w.during(t, outage, watches)
	w.sim.Configure(t, `{"faults": []}`)
	ended := time.Now()
	recovered := w.until(t, recovery, "a living token after the outage", watches, living)
	after := w.during(t, 2*life, watches)

	for i, watch := range watches {
		t.Logf("%s: got dead tokens for %s in %d lifetimes with %d tokens, for %s of an outage of %s, for %s after the outage, and later for %s",
			watch.name, seconds(well[i].dead), lives, len(well[i].tokens), seconds(down[i].dead), seconds(outage), seconds(recovered[i].Sub(ended)), seconds(after[i].dead))
		if well[i].dead > 0 || after[i].dead > 0 {
			t.Errorf("%s: got a dead token for %s before the outage and %s after the recovery, want 0 s", watch.name, seconds(well[i].dead), seconds(after[i].dead))
		}
		if len(well[i].tokens) < lives {
			t.Errorf("%s: got %d tokens in %d lifetimes, want at least one per lifetime", watch.name, len(well[i].tokens), lives)
		}
		if down[i].dead == 0 {
			t.Errorf("%s: got a living token during the whole outage, want a dead one at its end", watch.name)
		}
	}
	return len(well[0].tokens) + len(after[0].tokens)
}

func seconds(d time.Duration) string { return fmt.Sprintf("%.1f s", d.Seconds()) }
