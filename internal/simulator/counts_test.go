// SPDX-License-Identifier: MPL-2.0

package simulator_test

import (
	"context"
	"fmt"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"vault-plugin-secrets-messaging/internal/simulator"
)

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

func TestStateHasNoSecrets(t *testing.T) {
	r := newRig(t, simulator.Options{})
	got := r.login("acme", "correct-horse")
	r.refresh(got.str("refresh_token"))
	r.enablex("rcs", appID, appKey)
	r.oauth("/generic/token", basic("generic-client", "generic-secret"), "grant_type", "client_credentials")
	r.oauth("/generic/revoke", basic("generic-client", "generic-secret"), "token", got.str("access_token"))
	text := r.send("GET", "/sim/state", "", "").text
	for _, secret := range []string{"correct-horse", appKey, "generic-secret", "eyJ"} {
		if strings.Contains(text, secret) {
			t.Errorf("got %q in the state, want no secret: %s", secret, text)
		}
	}
}
