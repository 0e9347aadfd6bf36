// SPDX-License-Identifier: MPL-2.0

package messaging

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/vault/sdk/logical"

	"vault-plugin-secrets-messaging/internal/account"
	"vault-plugin-secrets-messaging/internal/simulator"
)

// consented returns a config with a new refresh token of the user. The simulator accepts a refresh
// token once. A second use ends all tokens of the user's consent.
func (m *mount) consented(user string) fields {
	m.t.Helper()
	m.simulate(`{"any_account": true, "providers": {"oauth2": {"refresh_tokens": true, "refresh_ttl": 8640000, "revoke_refresh_token": true}}}`)
	secret := user + "-secret"
	if user == "alice" {
		secret = "wonderland"
	}
	var answer struct {
		Refresh string `json:"refresh_token"`
	}
	resp, err := http.PostForm(m.url+"/generic/token", url.Values{"grant_type": {"password"}, "username": {user}, "password": {secret},
		"client_id": {"generic-client"}, "client_secret": {"generic-secret"}})
	if err == nil {
		defer resp.Body.Close()
		err = json.NewDecoder(resp.Body).Decode(&answer)
	}
	if err != nil || answer.Refresh == "" {
		m.t.Fatalf("consent of %s: got error %v and no refresh token, want one", user, err)
	}
	return m.oauth2(fields{"grant_type": "refresh_token", "refresh_token": answer.Refresh})
}

// wantRefreshShown fails the test unless status and metrics show this state of the refresh
// token.
func (m *mount) wantRefreshShown(name, want string) {
	m.t.Helper()
	equal(m.t, "refresh_token_state of "+name, m.read("status/" + name).data["refresh_token_state"], want)
	e := m.scrape()
	for _, state := range account.RefreshStates() {
		is := map[bool]float64{true: 1, false: 0}[state == want]
		e.want(m.t, of(name, "oauth2", map[string]float64{fmt.Sprintf("refresh_token_state state=%q", state): is}))
	}
}

// If the provider has ended a refresh token, the engine uses the token only once more. From then
// on, errors and status/a ask for a new refresh token.
func TestLostRefreshTokenIsShown(t *testing.T) {
	m, sender := newMount(t), logical.NewMockEventSender()
	config := m.consented("alice")
	m.write("config/a", with(config, fields{"verify_connection": false})).want(t, http.StatusNoContent)
	m.token("a")
	m.wantRefreshShown("a", "stored")
	equal(t, "refresh_token_error of a refresh token that works", m.read("status/a").data["refresh_token_error"], nil)

	equal(t, "ended sessions", m.sim.RevokeSessions(simulator.OAuth2, "alice"), 1)
	m.clock.advance(2 * time.Hour)
	m.withEvents(sender)
	const advice = "write it to refresh_token"
	m.read("creds/a").want(t, http.StatusBadRequest, "no longer accepts the refresh token", "somebody else used or revoked", advice)
	m.wantEvent(sender, "creds-lost", map[string]string{"path": "creds/a", "data_path": "status/a", "modified": "false", "name": "a", "provider": "oauth2",
		"kind": "refused", "failures": "1", "next_attempt": showTime(m.clock.wall().Add(time.Minute))})
	m.wantRefreshShown("a", "lost")

	requests := m.requests()
	m.start() // the plugin starts again, and knows nothing but what storage has
	for range 3 {
		if got := fmt.Sprint(m.read("status/a").data["refresh_token_error"]); !strings.Contains(got, advice) {
			t.Errorf("got refresh_token_error %q, want %q in it", got, advice)
		}
		m.read("creds/a").want(t, http.StatusBadRequest, advice)
		m.clock.advance(time.Hour)
		m.tick()
	}
	m.wantRefreshShown("a", "lost")
	m.write("config/a", with(config, fields{"verify_connection": false})).want(t, http.StatusNoContent) // Terraform
	m.read("creds/a").want(t, http.StatusBadRequest, advice)
	equal(t, "requests with a lost refresh token", m.requests(), requests)

	m.write("config/a", m.consented("alice")).want(t, http.StatusNoContent)
	m.token("a")
	m.wantRefreshShown("a", "stored")
}

// A refresh token survives a wrong client secret.
func TestWrongClientSecretKeepsTheRefreshToken(t *testing.T) {
	m := newMount(t)
	config := m.consented("alice")
	m.write("config/a", config).want(t, http.StatusNoContent)
	m.simulate(`{"accounts": {"generic-client": {"secret": "hunter2-next"}}}`)
	m.clock.advance(2 * time.Hour)
	m.read("creds/a").want(t, http.StatusBadRequest, "invalid_client")
	m.wantRefreshShown("a", "stored")
	m.write("config/a", with(config, fields{"client_secret": "hunter2-next"})).want(t, http.StatusNoContent)
	m.token("a")
	m.wantRefreshShown("a", "stored")
	equal(t, "second uses of a refresh token", m.sim.State().Total.RefreshReuses, 0)
}

// A user who knows an old refresh token and the client secret cannot redirect the newest refresh
// token to another endpoint.
func TestSpentRefreshTokenIsNotRedirected(t *testing.T) {
	m := newMount(t)
	config := m.consented("alice")
	m.write("config/a", config).want(t, http.StatusNoContent)
	var bodies []string
	other := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		bodies = append(bodies, string(body))
		w.WriteHeader(http.StatusServiceUnavailable)
	}))
	t.Cleanup(other.Close)
	elsewhere := with(config, fields{"token_url": other.URL + "/token"})
	m.write("config/a", elsewhere).want(t, http.StatusBadGateway, "503")
	m.write("config/a", with(elsewhere, fields{"verify_connection": false})).want(t, http.StatusNoContent)
	m.read("creds/a").want(t, http.StatusBadGateway, "503")
	if len(bodies) == 0 {
		t.Error("got no request at the other endpoint, want at least one")
	}
	for _, body := range bodies {
		form, err := url.ParseQuery(body)
		if got := form.Get("refresh_token"); err != nil || got != config["refresh_token"] {
			t.Errorf("got another refresh token at the other endpoint (error %v), want the one in the write", err)
		}
	}
}
