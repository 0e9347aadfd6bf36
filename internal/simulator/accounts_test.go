// SPDX-License-Identifier: MPL-2.0

package simulator_test

import (
	"context"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"time"

	"vault-plugin-secrets-messaging/internal/simulator"
)

func TestAnyAccount(t *testing.T) {
	r := newRig(t, simulator.Options{})
	r.want(r.login("u7", "u7-secret"), 401, nil)
	r.patch(`{"any_account": true, "accounts": {"u8": {"secret": "x"}}}`)
	r.want(r.login("u7", "u7-secret"), 200, nil)
	r.want(r.login("u7", "u8-secret"), 401, nil)
	r.want(r.login("u8", "u8-secret"), 401, nil)
	r.want(r.login("u8", "x"), 200, nil)
	r.want(r.login("acme", "acme-secret"), 401, nil)
	r.want(r.login("acme", "correct-horse"), 200, nil)
	r.want(r.login("", "-secret"), 401, nil)
	r.patch(`{"providers": {"sinch-india": {"accounts": {"acme": {"secret": "rotated"}}}}}`)
	r.want(r.login("acme", "correct-horse"), 401, nil)
	r.want(r.login("acme", "rotated"), 200, nil)
}

func TestLockout(t *testing.T) {
	r := newRig(t, simulator.Options{})
	r.patch(`{"lockout_after": 3}`)
	fail := func(n int) {
		t.Helper()
		for range n {
			r.want(r.login("acme", "wrong"), 401, nil)
		}
	}
	fail(2)
	r.want(r.login("acme", "correct-horse"), 200, nil) // resets the number of failures
	fail(3)
	r.want(r.login("acme", "correct-horse"), 401, map[string]any{"error_description": "Invalid user credentials"})
	r.advance(59 * time.Second)
	fail(1) // does not extend the lockout
	r.advance(time.Second)
	r.want(r.login("acme", "correct-horse"), 200, nil)
	fail(3)
	r.advance(time.Minute)
	fail(2)
	r.want(r.login("acme", "correct-horse"), 200, nil)
	fail(3)
	r.sim.Reset()
	r.want(r.login("acme", "correct-horse"), 200, nil)
}

// startLogin starts a login and holds back the response. The test calls release to get the
// response.
func startLogin(t *testing.T, prepare func(*rig), login func(*rig) result) (r *rig, release func() result) {
	t.Helper()
	started, released, done := make(chan struct{}), make(chan struct{}), make(chan result, 1)
	r = newRig(t, simulator.Options{Sleep: func(ctx context.Context, _ time.Duration) {
		close(started)
		select {
		case <-released:
		case <-ctx.Done():
		}
	}})
	unblock := sync.OnceFunc(func() { close(released) })
	t.Cleanup(unblock) // runs before the server closes, which waits for the response
	prepare(r)
	r.patch(`{"latency": 1}`)
	go func() { done <- login(r) }()
	<-started
	r.patch(`{"latency": null}`)
	return r, func() result { unblock(); return <-done }
}

func acmeLogin(r *rig) result { return r.login("acme", "correct-horse") }

func TestOneLoginAtATime(t *testing.T) {
	var token string
	r, release := startLogin(t, func(r *rig) {
		token = acmeLogin(r).str("refresh_token")
		r.patch(`{"any_account": true, "lockout_after": 1}`)
	}, acmeLogin)
	for _, password := range []string{"correct-horse", "wrong"} {
		r.want(r.login("acme", password), 401,
			map[string]any{"error": "invalid_grant", "error_description": "Invalid user credentials"})
	}
	r.want(r.login("other", "other-secret"), 200, nil)
	refreshed := make(chan result)
	for range 8 {
		go func() { refreshed <- r.refresh(token) }()
	}
	for range 8 {
		r.want(<-refreshed, 200, nil)
	}
	r.want(release(), 200, nil)
	r.want(acmeLogin(r), 200, nil) // the refused logins do not count towards the lockout
	r.wantCounts(r.state().Providers[simulator.SinchIndia].Accounts["acme"], simulator.Counts{
		LoginsSucceeded: 3, LoginsFailed: 2, RefreshesSucceeded: 8,
	})
	r.noViolations()
}

// Only Sinch India refuses concurrent logins.
func TestConcurrentLogins(t *testing.T) {
	login := func(r *rig) result {
		return r.oauth("/generic/token", "", "grant_type", "password", "client_id", "public-client",
			"username", "alice", "password", "wonderland")
	}
	r, release := startLogin(t, func(*rig) {}, login)
	r.want(login(r), 200, nil)
	r.want(release(), 200, nil)
}

func TestLoginEndsWhenTheClientIsGone(t *testing.T) {
	r := newRig(t, simulator.Options{})
	r.patch(`{"latency": "10m"}`)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	r.sim.ServeHTTP(httptest.NewRecorder(), loginRequest(ctx))
	r.patch(`{"latency": null}`)
	r.want(acmeLogin(r), 200, nil)
}

func TestLoginEndsBeforeTheResponseIsSent(t *testing.T) {
	r := newRig(t, simulator.Options{})
	var second result
	onWrite := func() { second = acmeLogin(r) }
	r.sim.ServeHTTP(writeHook{httptest.NewRecorder(), onWrite}, loginRequest(t.Context()))
	r.want(second, 200, nil)
}

// writeHook is a ResponseWriter that calls a function before it writes.
type writeHook struct {
	http.ResponseWriter
	onWrite func()
}

func (w writeHook) Write(b []byte) (int, error) {
	w.onWrite()
	return w.ResponseWriter.Write(b)
}

func TestFaultsEndTheLogin(t *testing.T) {
	r := newRig(t, simulator.Options{})
	for _, kind := range []string{simulator.FaultStatus, simulator.FaultCloseBefore, simulator.FaultCloseMidBody,
		simulator.FaultOversized, simulator.FaultRefuse} {
		r.faults(simulator.Fault{Kind: kind, Count: 1})
		acmeLogin(r)
		r.want(acmeLogin(r), 200, nil)
	}
}
