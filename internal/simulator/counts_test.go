// SPDX-License-Identifier: MPL-2.0

package simulator_test

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"vault-plugin-secrets-messaging/internal/simulator"
)

func TestTokenTruth(t *testing.T) {
	r := newRig(t, simulator.Options{RememberFor: 5 * time.Minute})
	r.patch(`{"access_ttl": 60}`)
	token := r.login("acme", "correct-horse").str("access_token")
	r.advance(60*time.Second - 1)
	if in := r.introspect(token); !in.Active {
		t.Errorf("dead before its time: %+v", in)
	}
	r.advance(1)
	if in := r.introspect(token); in.Active || !in.Known || in.ExpiresIn != 0 || in.Revoked {
		t.Errorf("alive after its time: %+v", in)
	}
	r.advance(5 * time.Minute)
	r.login("acme", "correct-horse")
	if !r.introspect(token).Known {
		t.Error("forgotten too early")
	}
	r.advance(time.Minute)
	r.login("acme", "correct-horse")
	if in := r.introspect(token); in.Known || in.Active {
		t.Errorf("not forgotten: %+v", in)
	}
}

func TestTokensAreBounded(t *testing.T) {
	r := newRig(t, simulator.Options{MaxTokens: 3})
	var tokens []string
	for range 4 {
		tokens = append(tokens, r.enablex("rcs", appID, appKey).str("token"))
	}
	for i, token := range tokens {
		if r.introspect(token).Known != (i > 0) {
			t.Errorf("token %d: %+v", i, r.introspect(token))
		}
	}
}

func TestRevokeSessions(t *testing.T) {
	r := newRig(t, simulator.Options{})
	r.patch(`{"any_account": true}`)
	a, b := r.login("a", "a-secret"), r.login("b", "b-secret")
	revoke := func(provider, account string, want int) {
		t.Helper()
		if n, err := r.client.RevokeSessions(t.Context(), provider, account); n != want || err != nil {
			t.Errorf("revoked %d, %v, want %d", n, err, want)
		}
	}
	revoke(simulator.OAuth2, "", 0)
	revoke(simulator.SinchIndia, "a", 1)
	r.want(r.refresh(a.str("refresh_token")), 400, map[string]any{"error_description": "Session not active"})
	if in := r.introspect(a.str("refresh_token")); in.Active || !in.Revoked {
		t.Errorf("introspection: %+v", in)
	}
	b = r.refresh(b.str("refresh_token")) // which leaves the session with two
	revoke("", "", 1)
	r.want(r.refresh(b.str("refresh_token")), 400, nil)
	if !r.introspect(b.str("access_token")).Active {
		t.Error("the access token went too")
	}
}

func TestConnections(t *testing.T) {
	r := newRig(t, simulator.Options{})
	reusing := &http.Client{Transport: &http.Transport{}}
	t.Cleanup(reusing.CloseIdleConnections)
	get := func(c *http.Client) {
		resp, err := c.Get(r.url + realm + "token")
		if err != nil {
			t.Fatal(err)
		}
		_ = resp.Body.Close()
	}
	for range 3 {
		resp, err := reusing.Post(r.url+"/rcs/v1/token", "application/json", strings.NewReader("{}"))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := new(bytes.Buffer).ReadFrom(resp.Body); err != nil {
			t.Fatal(err)
		}
		_ = resp.Body.Close()
	}
	if got := r.sim.State().Connections; got.Accepted != 1 || got.Used != 1 || got.Open != 1 {
		t.Errorf("connections: %+v", got)
	}
	for range 2 {
		get(&http.Client{Transport: &http.Transport{DisableKeepAlives: true}})
	}
	r.state() // another connection, which asks no provider
	if got := r.sim.State().Connections; got.Used != 3 || got.Accepted != 4 {
		t.Errorf("connections: %+v", got)
	}
}

func TestMaxConcurrent(t *testing.T) {
	const n = 5
	var waiting sync.WaitGroup
	waiting.Add(n)
	r := newRig(t, simulator.Options{
		Settings: simulator.Settings{ProviderSettings: simulator.ProviderSettings{
			Latency: simulator.Ptr(simulator.Duration(time.Second)), AnyAccount: simulator.Ptr(true),
		}},
		Sleep: func(context.Context, time.Duration) { waiting.Done(); waiting.Wait() },
	})
	var done sync.WaitGroup
	for i := range n {
		done.Go(func() { r.login(fmt.Sprintf("u%d", i%2), fmt.Sprintf("u%d-secret", i%2)) })
	}
	done.Wait()
	st := r.state()
	accounts := st.Providers[simulator.SinchIndia].Accounts
	if st.Total.MaxConcurrent != n || accounts["u0"].MaxConcurrent != 3 || accounts["u1"].MaxConcurrent != 2 {
		t.Errorf("total %+v, accounts %+v", st.Total, accounts)
	}
}

func TestViolationsAreBounded(t *testing.T) {
	r := newRig(t, simulator.Options{})
	for range 120 {
		r.sim.ServeHTTP(discard{}, mustRequest(t, "GET", "/rcs/v1/token"))
	}
	if st := r.state(); len(st.Violations) != 100 || st.Total.Violations != 120 {
		t.Errorf("%d kept, %d counted", len(st.Violations), st.Total.Violations)
	}
}

func TestLogHasNoSecrets(t *testing.T) {
	var log bytes.Buffer
	r := newRig(t, simulator.Options{Log: slog.New(slog.NewJSONHandler(&log, nil))})
	got := r.login("acme", "correct-horse")
	r.refresh(got.str("refresh_token"))
	r.enablex("rcs", appID, appKey)
	r.oauth("/generic/token", basic("generic-client", "generic-secret"), "grant_type", "client_credentials")
	r.oauth("/generic/revoke", basic("generic-client", "generic-secret"), "token", got.str("access_token"))
	text := log.String() + fmt.Sprint(r.state().Providers[simulator.OAuth2].LastRequest)
	for _, secret := range []string{"correct-horse", appKey, "generic-secret", "eyJ"} {
		if strings.Contains(text, secret) {
			t.Errorf("%q is in: %s", secret, text)
		}
	}
	if n := strings.Count(log.String(), "\n"); n != 5 || !strings.Contains(text, `"account":"acme"`) {
		t.Errorf("%d lines: %s", n, text)
	}
}

func TestControlErrors(t *testing.T) {
	r := newRig(t, simulator.Options{})
	r.want(r.send("GET", "/sim/nothing", "", ""), 404, nil)
	r.want(r.send("POST", "/sim/introspect", formType, ""), 400, nil)
	if got := r.send("GET", "/sim/reset", "", ""); got.status != 404 && got.status != 405 {
		t.Errorf("status %d", got.status)
	}
	if _, err := (simulator.Client{URL: "http://127.0.0.1:1"}).State(t.Context()); err == nil {
		t.Error("no error without a server")
	}
}

// discard is a ResponseWriter that keeps nothing.
type discard struct{}

func (discard) Header() http.Header         { return http.Header{} }
func (discard) Write(b []byte) (int, error) { return len(b), nil }
func (discard) WriteHeader(int)             {}

func mustRequest(t *testing.T, method, path string) *http.Request {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, path, http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	return req
}
