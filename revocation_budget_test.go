// SPDX-License-Identifier: MPL-2.0

package messaging

import (
	"context"
	"fmt"
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	"vault-plugin-secrets-messaging/internal/clock"
	"vault-plugin-secrets-messaging/internal/secret"
	"vault-plugin-secrets-messaging/internal/token"
	"vault-plugin-secrets-messaging/providers"
)

// hanging is a fake provider whose revocation endpoint accepts requests and never answers.
type hanging struct{ *fake }

func (h hanging) Spec() providers.Spec {
	spec := h.fake.Spec()
	spec.CanRevoke = true
	return spec
}

func (hanging) Revoke(ctx context.Context, _ *providers.Client, _ providers.Settings, _, _ secret.String) error {
	<-ctx.Done()
	return &token.Error{Kind: token.Unavailable, Cause: ctx.Err()}
}

// Vault revokes the leases of many configs one after another when it disables or moves the
// mount, or revokes by prefix. This takes seconds in total, however many endpoints hang.
func TestLeasesOfManyConfigsThatHang(t *testing.T) {
	for _, tainted := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			m := newBareMount(t, []providers.Provider{hanging{newFake(minting("fake-token", time.Hour))}})
			m.options.Clock = clock.System()
			m.start()
			var leases []answer
			for i := range 15 {
				name := fmt.Sprint("config-", i)
				m.write("config/"+name, with(fields{"provider": "fake", "password": "fake-hunter2"},
					fields{"revocation_url": "https://fake.example/revoke", "share": false, "verify_connection": false})).want(t, http.StatusNoContent)
				leases = append(leases, m.read("creds/"+name))
			}
			m.system.set(func(s *system) { s.tainted = tainted })
			start, limit := time.Now(), 5*time.Second
			if tainted {
				limit = 0
			}
			for _, a := range leases {
				m.revokeLease(a)
			}
			if got := time.Since(start); got > limit {
				t.Errorf("tainted=%t: got %s for 15 leases, want at most %s", tainted, got, limit)
			}
			m.wantQueued(15)
		})
	}
}
