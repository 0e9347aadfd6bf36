// SPDX-License-Identifier: MPL-2.0

package simulator_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"vault-plugin-secrets-messaging/internal/simulator"
)

func TestConnections(t *testing.T) {
	r := newRig(t, simulator.Options{})
	reusing := &http.Client{Transport: &http.Transport{}}
	t.Cleanup(reusing.CloseIdleConnections)
	closing := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	post := func(c *http.Client) {
		t.Helper()
		resp, err := c.Post(r.url+"/rcs/v1/token", jsonType, strings.NewReader("{}"))
		r.ok(err)
		_, err = io.Copy(io.Discard, resp.Body)
		r.ok(err)
		_ = resp.Body.Close()
	}
	for range 3 {
		post(reusing)
	}
	r.equal("connections after 3 requests on one", r.sim.State().Connections,
		simulator.Connections{Accepted: 1, Open: 1, Used: 1})
	for range 2 {
		post(closing)
	}
	r.state() // opens a connection that reaches no provider
	got := r.sim.State().Connections
	got.Open = 0 // closing connections may be open still
	r.equal("connections after 2 more and the control API's", got, simulator.Connections{Accepted: 4, Used: 3})
}

func TestMaxConcurrent(t *testing.T) {
	const n = 5
	var waiting sync.WaitGroup
	waiting.Add(n)
	r := newRig(t, simulator.Options{
		Sleep: func(context.Context, time.Duration) { waiting.Done(); waiting.Wait() },
	})
	r.patch(`{"latency": 1, "any_account": true}`)
	var done sync.WaitGroup
	for i := range n {
		done.Go(func() { r.login(fmt.Sprintf("u%d", i%2), fmt.Sprintf("u%d-secret", i%2)) })
	}
	done.Wait()
	st := r.state()
	accounts := st.Providers[simulator.SinchIndia].Accounts
	r.equal("concurrent requests in all, of u0, of u1",
		[]int{st.Total.MaxConcurrent, accounts["u0"].MaxConcurrent, accounts["u1"].MaxConcurrent}, []int{n, 3, 2})
}

func TestViolationsAreBounded(t *testing.T) {
	r := newRig(t, simulator.Options{})
	for range 120 {
		r.sim.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest("GET", "/rcs/v1/token", nil))
	}
	st := r.state()
	r.equal("listed, counted violations", []int{len(st.Violations), st.Total.Violations}, []int{100, 120})
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
			t.Errorf("got %q in the log or the state, want no secret: %s", secret, text)
		}
	}
	if n := strings.Count(log.String(), "\n"); n != 5 || !strings.Contains(text, `"account":"acme"`) {
		t.Errorf("got %d log lines, want 5 and one with the account acme: %s", n, text)
	}
}
