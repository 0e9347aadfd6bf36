// SPDX-License-Identifier: MPL-2.0

package acceptance

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"vault-plugin-secrets-messaging/acceptance/harness"
)

// Revocation needs neither the provider nor the config, and leaves the token
// alone that others hold.
func TestRevokeLease(t *testing.T) {
	w := newWorld(t)
	for _, a := range accounts {
		t.Run(a.provider, func(t *testing.T) {
			w.Write(t, a.path(), a.write(w.sim)).OK(t)
			one, two, three := w.Read(t, a.creds()).OK(t), w.Read(t, a.creds()).OK(t), w.Read(t, a.creds()).OK(t)

			w.CLI(t, "lease", "revoke", "-sync", one.LeaseID).OK(t)
			wantGone(t, w.Server, one.LeaseID)
			if known := w.sim.Token(t, one.Text("access_token")); !known.Active {
				t.Error("revoking a lease ended the token that others hold")
			}

			w.sim.Stop()
			w.CLI(t, "lease", "revoke", "-sync", two.LeaseID).OK(t)
			wantGone(t, w.Server, two.LeaseID)
			if got := w.Read(t, a.creds()).OK(t).Text("access_token"); got != one.Text("access_token") {
				t.Error("revoking a lease touched the cached token")
			}

			w.Delete(t, a.path()).OK(t)
			w.CLI(t, "lease", "revoke", "-sync", three.LeaseID).OK(t)
			wantGone(t, w.Server, three.LeaseID)
			w.sim.Start(t)
		})
	}
}

func TestRevokeByPrefix(t *testing.T) {
	w := newWorld(t)
	var leases []string
	read := func(a account) {
		for range 3 {
			leases = append(leases, w.Read(t, a.creds()).OK(t).LeaseID)
		}
	}
	for _, a := range accounts {
		w.Write(t, a.path(), a.write(w.sim)).OK(t)
		read(a)
	}
	w.sim.Stop()
	w.CLI(t, "lease", "revoke", "-sync", "-prefix", sinch.creds()+"/").OK(t)
	for i, lease := range leases {
		if strings.HasPrefix(lease, sinch.creds()) {
			wantGone(t, w.Server, lease)
		} else if w.Write(t, "sys/leases/lookup", harness.Fields{"lease_id": lease}).Status != 200 {
			t.Errorf("lease %d of another account is gone too", i)
		}
	}
	for _, a := range accounts {
		w.Delete(t, a.path()).OK(t)
	}
	w.CLI(t, "lease", "revoke", "-sync", "-prefix", "messaging/").OK(t)
	for _, lease := range leases {
		wantGone(t, w.Server, lease)
	}
}

// An app's leases end with its Vault token.
func TestLeaseEndsWithItsVaultToken(t *testing.T) {
	w := newWorld(t)
	w.Write(t, sinch.path(), sinch.write(w.sim)).OK(t)
	token := w.AppToken(t, `path "messaging/creds/sinch" { capabilities = ["read"] }`)
	lease := w.As(token).Read(t, sinch.creds()).OK(t)
	w.sim.Stop()

	w.Write(t, "auth/token/revoke", harness.Fields{"token": token}).OK(t)
	wantGone(t, w.Server, lease.LeaseID)
	if got := w.Read(t, sinch.creds()).OK(t).Text("access_token"); got != lease.Text("access_token") {
		t.Error("the shared token went with the app's")
	}
}

func TestLeaseIsNotRenewable(t *testing.T) {
	w := newWorld(t)
	w.Write(t, sinch.path(), sinch.write(w.sim)).OK(t)
	lease := w.Read(t, sinch.creds()).OK(t)
	w.Write(t, "sys/leases/renew", harness.Fields{"lease_id": lease.LeaseID}).Refused(t, 400, "not renewable")
}

// A mount that has leases out, and no provider or config to ask, can be disabled.
func TestDisableWithLeasesOut(t *testing.T) {
	w := newWorld(t)
	w.Write(t, sinch.path(), sinch.write(w.sim)).OK(t)
	lease := w.Read(t, sinch.creds()).OK(t)
	w.sim.Stop()
	w.CLI(t, "secrets", "disable", "messaging").OK(t)
	wantGone(t, w.Server, lease.LeaseID)
}

// wantGone fails the test unless a lease has ended, or does so within seconds:
// Vault ends some in the background.
func wantGone(t *testing.T, s *harness.Server, lease string) {
	t.Helper()
	harness.Within(t, 10*time.Second, "the lease ends", func() error {
		if r := s.Write(t, "sys/leases/lookup", harness.Fields{"lease_id": lease}); r.Status != 400 {
			return fmt.Errorf("status %d: %s", r.Status, r.Raw)
		}
		return nil
	})
}
