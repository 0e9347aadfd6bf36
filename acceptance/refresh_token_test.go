// SPDX-License-Identifier: MPL-2.0

package acceptance

import (
	"encoding/json"
	"net/http"
	"net/url"
	"testing"

	"vault-plugin-secrets-messaging/acceptance/harness"
	"vault-plugin-secrets-messaging/internal/simulator"
)

// With reuseDetection, the provider accepts each refresh token once. A second use ends all tokens
// from the same login.
const reuseDetection = `"refresh_tokens": true, "refresh_ttl": 86400, "revoke_refresh_token": true`

// consentedConfig writes a config with a refresh token. The provider accepts each refresh token
// once.
func (w world) consentedConfig(t *testing.T, config string) account {
	t.Helper()
	w.sim.Configure(t, `{"any_account": true, "providers": {"oauth2": {`+reuseDetection+`}}}`)
	a := account{config, simulator.OAuth2, "refresh_token", harness.Fields{"client_id": "generic-client", "client_secret": "generic-secret",
		"grant_type": "refresh_token", "refresh_token": consent(t, w.sim, config)}}
	w.writeConfig(t, a)
	return a
}

// consent logs in as a user and returns the user's refresh token.
func consent(t *testing.T, sim *harness.Simulator, user string) string {
	t.Helper()
	form := url.Values{"grant_type": {"password"}, "username": {user}, "password": {user + "-secret"},
		"client_id": {"generic-client"}, "client_secret": {"generic-secret"}}
	var answer struct {
		Refresh string `json:"refresh_token"`
	}
	resp, err := http.PostForm(sim.TokenURL(simulator.OAuth2), form)
	if err == nil {
		defer resp.Body.Close()
		err = json.NewDecoder(resp.Body).Decode(&answer)
	}
	if err != nil || answer.Refresh == "" {
		t.Errorf("consent of %s: got error %v and no refresh token, want one", user, err)
	}
	return answer.Refresh
}

// wantRefreshes checks the number of refreshes. No refresh may have failed or used a refresh token
// twice.
func (w world) wantRefreshes(t *testing.T, state string, want int) {
	t.Helper()
	got := w.sim.State(t).Providers[simulator.OAuth2]
	if got.RefreshesSucceeded != want || got.RefreshesFailed+got.RefreshReuses != 0 {
		t.Errorf("%s: got %d refreshes, %d refused and %d second uses of a refresh token, want %d, 0 and 0",
			state, got.RefreshesSucceeded, got.RefreshesFailed, got.RefreshReuses, want)
	}
}

// The engine keeps its newest refresh token after a write with an old refresh token, a patch, a
// reload, a kill and a restart.
func TestWritingASpentRefreshTokenChangesNothing(t *testing.T) {
	t.Parallel() // the test mostly waits
	w := newWorldOn(t, harness.StartRaft)
	a := w.consentedConfig(t, "slack")
	token := w.token(t, a)
	w.wantRefreshes(t, "after the write and a read", 1)

	for _, change := range []struct {
		name string
		do   func()
	}{
		{"the same write again", func() { w.writeConfig(t, a) }},
		{"a patch", func() { w.Patch(t, a.path(), harness.Fields{"lease_ttl": "5m"}).OK(t) }},
		{"the same write with another field", func() { w.writeConfig(t, a, harness.Fields{"lease_ttl": "10m"}) }},
		{"a reload", func() {
			w.Write(t, "sys/plugins/reload/backend", harness.Fields{"mounts": []string{"messaging/"}}).OK(t)
		}},
		{"a kill", func() { w.KillPlugin(t) }},
		{"a restart", func() {
			w.Stop()
			w.Start(t)
			w.WaitActive(t)
		}},
		{"the same write after all that", func() { w.writeConfig(t, a) }},
	} {
		change.do()
		w.wantToken(t, a, token, "after "+change.name)
		w.wantRefreshes(t, "after "+change.name, 1)
	}
	w.Write(t, a.rotatePath(), nil).OK(t) // with the newest refresh token
	w.wantNewToken(t, a, token, "after a rotate")
	w.wantRefreshes(t, "after a rotate", 2)
	if got := w.Read(t, a.statusPath()).OK(t).Text("refresh_token_state"); got != "stored" {
		t.Errorf("status: got refresh_token_state %q, want stored", got)
	}
	w.Write(t, a.path(), a.body(w.sim, harness.Fields{"share": false})).Refused(t, 400, "share", "must be true")
	w.wantNoViolations(t)
}
