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

// After a rotate, Vault Agent renders the new token within lease_ttl. Without lease_ttl, the agent
// waits until the old lease has almost ended.
func TestAgentFollowsARotate(t *testing.T) {
	t.Parallel() // the test mostly waits
	// A busy machine takes long to start the agent, to read and to render.
	const leaseTTL, slack = 30 * time.Second, 15 * time.Second
	w := newWorld(t)
	w.sim.Configure(t, forProvider(conversation.provider, `{"access_ttl": 76}`)) // so the lease lasts 75 s, and the agent reads again after 64 to 71 s
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
		if late := took > leaseTTL+slack; late == bounded {
			t.Errorf("%s: got the new token %s after the rotate, want it within the lease_ttl of %s and %s: %t", a.config, took, leaseTTL, slack, bounded)
		}
	}
}

// waitForFile waits for content other than the text old.
func waitForFile(t *testing.T, file, old string) (content string) {
	t.Helper()
	harness.Within(t, 2*harness.Timeout, "a new token in the file", func() error {
		data, err := os.ReadFile(file)
		if content = string(data); err == nil && (content == old || content == "") {
			err = errors.New("the file has the old token")
		}
		return err
	})
	return content
}
