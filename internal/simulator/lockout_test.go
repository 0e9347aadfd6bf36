// SPDX-License-Identifier: MPL-2.0

package simulator_test

import (
	"context"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"vault-plugin-secrets-messaging/internal/simulator"
)

func TestLockout(t *testing.T) {
	r := newRig(t, simulator.Options{})
	r.patch(`{"lockout_after": 3, "lockout_for": 60}`)
	fail := func(n int) {
		for range n {
			r.want(r.login("acme", "wrong"), 401, nil)
		}
	}
	fail(2)
	r.want(r.login("acme", "correct-horse"), 200, nil) // which forgets the two
	fail(3)
	r.want(r.login("acme", "correct-horse"), 401, map[string]any{"error_description": "Invalid user credentials"})
	r.advance(59 * time.Second)
	fail(1) // does not prolong it
	r.advance(time.Second)
	r.want(r.login("acme", "correct-horse"), 200, nil)
	fail(3)
	r.advance(time.Minute)
	fail(2)
	r.want(r.login("acme", "correct-horse"), 200, nil)
	fail(3)
	if err := r.client.Reset(t.Context()); err != nil {
		t.Fatal(err)
	}
	r.want(r.login("acme", "correct-horse"), 200, nil)
}

func TestQuickLoginLockout(t *testing.T) {
	r := newRig(t, simulator.Options{})
	wrong := func(apart time.Duration) {
		for range 2 {
			r.want(r.login("acme", "wrong"), 401, nil)
			r.advance(apart)
		}
	}
	wrong(0)
	r.want(r.login("acme", "correct-horse"), 200, nil) // by default it does not matter
	r.patch(`{"quick_login_lockout": true}`)
	token := r.login("acme", "correct-horse").str("refresh_token")
	wrong(time.Second)
	r.want(r.login("acme", "correct-horse"), 200, nil) // these were not quick
	wrong(500 * time.Millisecond)
	r.want(r.login("acme", "correct-horse"), 401, map[string]any{"error_description": "Invalid user credentials"})
	r.want(r.refresh(token), 200, nil)
	r.advance(58 * time.Second)
	wrong(0) // does not prolong it
	r.patch(`{"faults": [{"kind": "refuse", "count": 2}]}`)
	wrong(0) // nor does this
	r.want(r.login("acme", "correct-horse"), 401, nil)
	r.advance(1500 * time.Millisecond)
	r.want(r.login("acme", "correct-horse"), 200, nil)
}

// heldRig is a rig whose first request with latency is answered only when the test says so.
func heldRig(t *testing.T) (r *rig, arrived <-chan struct{}, answer func()) {
	t.Helper()
	came, release := make(chan struct{}), make(chan struct{})
	r = newRig(t, simulator.Options{Sleep: func(ctx context.Context, _ time.Duration) {
		close(came)
		select {
		case <-release:
		case <-ctx.Done():
		}
	}})
	answer = sync.OnceFunc(func() { close(release) })
	t.Cleanup(answer) // before the server's end, which waits for it
	return r, came, answer
}

func TestOneLoginAtATime(t *testing.T) {
	r, arrived, answer := heldRig(t)
	token := r.login("acme", "correct-horse").str("refresh_token")
	r.patch(`{"latency": 1, "any_account": true, "lockout_after": 1, "quick_login_lockout": true}`)
	var first result
	var all sync.WaitGroup
	all.Go(func() { first = r.login("acme", "correct-horse") })
	<-arrived
	r.patch(`{"latency": null}`)
	for _, password := range []string{"correct-horse", "wrong"} {
		r.want(r.login("acme", password), 401,
			map[string]any{"error": "invalid_grant", "error_description": "Invalid user credentials"})
	}
	r.want(r.login("other", "other-secret"), 200, nil)
	var refreshed [8]result
	for i := range refreshed {
		all.Go(func() { refreshed[i] = r.refresh(token) })
	}
	answer()
	all.Wait()
	for _, got := range append(refreshed[:], first) {
		r.want(got, 200, nil)
	}
	r.want(r.login("acme", "correct-horse"), 200, nil) // they did not count towards the lockout
	st := r.state()
	c := st.Providers[simulator.SinchIndia].Accounts["acme"]
	if c.LoginsSucceeded != 3 || c.LoginsFailed != 2 || c.LoginsRefusedConcurrent != 2 || c.RefreshesSucceeded != 8 ||
		st.Total.LoginsRefusedConcurrent != 2 {
		t.Errorf("counts: %+v", c)
	}
	r.noViolations()
}

// The realm does not mind when its knob says so, and a generic server by default.
func TestLoginsAtOnce(t *testing.T) {
	for name, login := range map[string]func(*rig) result{
		"realm": func(r *rig) result { return r.login("acme", "correct-horse") },
		"generic": func(r *rig) result {
			return r.oauth("/generic/token", "", "grant_type", "password", "client_id", "public-client",
				"username", "alice", "password", "wonderland")
		},
	} {
		t.Run(name, func(t *testing.T) {
			r, arrived, answer := heldRig(t)
			r.patch(`{"latency": 1, "providers": {"sinch-india": {"one_login_at_a_time": false}}}`)
			var first result
			var all sync.WaitGroup
			all.Go(func() { first = login(r) })
			<-arrived
			r.patch(`{"latency": null}`)
			r.want(login(r), 200, nil)
			answer()
			all.Wait()
			r.want(first, 200, nil)
		})
	}
}

func TestLoginIsUnderWayNoLongerThanItsClient(t *testing.T) {
	r := newRig(t, simulator.Options{})
	r.patch(`{"latency": "10m"}`)
	ctx, leave := context.WithCancel(t.Context())
	leave()
	r.sim.ServeHTTP(httptest.NewRecorder(), loginRequest(ctx))
	r.patch(`{"latency": null}`)
	r.want(r.login("acme", "correct-horse"), 200, nil)
}

// Who has the answer can log in again at once.
func TestLoginIsOverWhenItsAnswerIsSent(t *testing.T) {
	r := newRig(t, simulator.Options{})
	answered := false
	r.sim.ServeHTTP(onWrite{httptest.NewRecorder(), func() {
		r.want(r.login("acme", "correct-horse"), 200, nil)
		answered = true
	}}, loginRequest(t.Context()))
	if !answered {
		t.Error("no answer")
	}
}

// onWrite is a ResponseWriter that calls a function before it writes.
type onWrite struct {
	http.ResponseWriter
	do func()
}

func (w onWrite) Write(b []byte) (int, error) {
	w.do()
	return w.ResponseWriter.Write(b)
}

func loginRequest(ctx context.Context) *http.Request {
	body := form("grant_type", "password", "client_id", "ipmessaging-client", "username", "acme",
		"password", "correct-horse")
	req := httptest.NewRequestWithContext(ctx, "POST", realm+"token", strings.NewReader(body))
	req.Header.Set("Content-Type", formType)
	return req
}

// What never got to the realm, or is cut off by it, is not under way.
func TestLoginsThatFaultsEndAreNotUnderWay(t *testing.T) {
	r := newRig(t, simulator.Options{})
	for _, kind := range []string{simulator.FaultStatus, simulator.FaultCloseBefore, simulator.FaultCloseMidBody,
		simulator.FaultOversized, simulator.FaultRefuse} {
		r.faults(simulator.Fault{Kind: kind, Count: 1})
		r.login("acme", "correct-horse")
		r.want(r.login("acme", "correct-horse"), 200, nil)
	}
	if c := r.state().Total; c.LoginsRefusedConcurrent != 0 {
		t.Errorf("counts: %+v", c)
	}
}
