// SPDX-License-Identifier: MPL-2.0

package acceptance

import (
	"errors"
	"fmt"
	"os"
	"testing"
	"time"

	"vault-plugin-secrets-messaging/acceptance/harness"
)

// Vault Agent never renders an expired token during ten token lifetimes, whether reads make
// leases or not. The provider counts no more mints than that time allows.
//
// Vault Agent drops the second of two reads within one second. So the account with leases has
// lifetimes that give leases of over 1 s.
func TestAgentKeepsALivingToken(t *testing.T) {
	t.Parallel() // it mostly waits
	const lives = 10
	modes := []struct {
		account
		lifetime, minTTL time.Duration
		file             string
		rendered         map[string]bool
	}{
		{account: generic.with("leased", harness.Fields{"min_ttl": 3}), lifetime: 6 * time.Second, minTTL: 3 * time.Second},
		{account: sinch.with("lease-free", harness.Fields{"lease": false}), lifetime: 4 * time.Second, minTTL: 2 * time.Second},
	}
	w := newWorld(t)
	var templates []string
	for _, m := range modes {
		w.sim.Configure(t, forProvider(m.provider, fmt.Sprintf(`{"access_ttl": %d}`, m.lifetime/time.Second)))
		w.writeConfig(t, m.account)
		templates = append(templates, fmt.Sprintf(`{{ with secret %q }}{{ .Data.access_token }}{{ end }}`, m.creds()))
	}
	begun := time.Now()
	for i, file := range w.StartAgent(t, appPolicy, templates...) {
		modes[i].file, modes[i].rendered = file, map[string]bool{}
	}

	for ; time.Since(begun) < lives*modes[0].lifetime; time.Sleep(20 * time.Millisecond) {
		for _, m := range modes {
			token, err := os.ReadFile(m.file)
			if err != nil {
				continue // not yet rendered
			}
			m.rendered[string(token)] = true
			known := w.sim.Token(t, string(token))
			if now, _ := os.ReadFile(m.file); !known.Active && string(now) == string(token) {
				t.Fatalf("%s: got a dead token in the rendered file: %+v", m.config, known)
			}
		}
	}
	for _, m := range modes {
		if got := len(m.rendered); got < lives-1 {
			t.Errorf("%s: got %d rendered tokens in %d lifetimes, want at least %d", m.config, got, lives, lives-1)
		}
		// The refresh window is shorter than min_ttl, so the engine refreshes a token min_ttl
		// before its end.
		maxMints := int(time.Since(begun)/(m.lifetime-m.minTTL)) + 1
		counts := w.sim.State(t).Providers[m.provider]
		if got := counts.LoginsSucceeded + counts.RefreshesSucceeded; got > maxMints {
			t.Errorf("%s: got %d mints, want at most %d", m.config, got, maxMints)
		}
	}
}

// After a rotate, Vault Agent renders the new token within lease_ttl. Without lease_ttl the agent
// keeps the old token until its lease, which lasts as long as the token, is nearly over.
func TestAgentFollowsARotate(t *testing.T) {
	t.Parallel() // it mostly waits
	const leaseTTL = 30 * time.Second
	w := newWorld(t)
	w.sim.Configure(t, forProvider(conversation.provider, `{"access_ttl": 46}`)) // the lease lasts 45 s, and the agent reads again after 38 to 43 s
	accounts := []account{
		conversation.with("short", harness.Fields{"lease_ttl": "30s"}),
		conversation.with("short-no-lease", harness.Fields{"lease_ttl": "30s", "lease": false}),
		conversation.with("long", nil),
	}
	var templates, old []string
	for _, a := range accounts {
		w.writeConfig(t, a)
		templates = append(templates, fmt.Sprintf(`{{ with secret %q }}{{ .Data.access_token }}{{ end }}`, a.creds()))
	}
	files := w.StartAgent(t, appPolicy, templates...)
	for i, a := range accounts {
		old = append(old, waitForFile(t, files[i], ""))
		w.Write(t, a.rotatePath(), nil).OK(t)
	}
	rotated := time.Now()
	for i, a := range accounts {
		waitForFile(t, files[i], old[i])
		took := time.Since(rotated)
		t.Logf("%s: the file had the new token %.1f s after the rotate", a.config, took.Seconds())
		bounded := a.fields["lease_ttl"] != nil
		if late := took > leaseTTL+3*time.Second; late == bounded {
			t.Errorf("%s: got the new token %s after the rotate, want it within the lease_ttl of %s: %t", a.config, took, leaseTTL, bounded)
		}
	}
}

// waitForFile waits until the content of a file differs from old, and returns the content.
func waitForFile(t *testing.T, file, old string) (content string) {
	t.Helper()
	harness.Within(t, 45*time.Second, "a new token in the file", func() error {
		data, err := os.ReadFile(file)
		if content = string(data); err == nil && (content == old || content == "") {
			err = errors.New("the file has the old token")
		}
		return err
	})
	return content
}
