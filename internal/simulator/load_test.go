// SPDX-License-Identifier: MPL-2.0

package simulator_test

import (
	"fmt"
	"sync"
	"testing"

	"vault-plugin-secrets-messaging/internal/simulator"
)

// Logins, refreshes, knobs, counts and resets at the same time: for the race detector, and the sums must be right.
func TestManyAccountsAtOnce(t *testing.T) {
	const workers, each = 4, 12
	r := newRig(t, simulator.Options{})
	r.patch(`{"any_account": true}`)
	var wg sync.WaitGroup
	for w := range workers {
		wg.Go(func() {
			for i := range each {
				user := fmt.Sprintf("u%d-%d", w, i)
				got := r.login(user, user+"-secret")
				if r.refresh(got.str("refresh_token")).status != 200 {
					t.Errorf("%s: no refresh", user)
				}
			}
		})
	}
	wg.Go(func() {
		for i := range each {
			r.patch(fmt.Sprintf(`{"access_ttl": %d}`, i+1))
			r.state()
		}
	})
	wg.Wait()
	st := r.state()
	if n := workers * each; st.Total.LoginsSucceeded != n || st.Total.RefreshesSucceeded != n ||
		len(st.Providers[simulator.SinchIndia].Accounts) != n {
		t.Errorf("total: %+v", st.Total)
	}
}
