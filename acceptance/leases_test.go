// SPDX-License-Identifier: MPL-2.0

package acceptance

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"vault-plugin-secrets-messaging/acceptance/harness"
)

// A lease can be revoked during an outage, and even after the config's deletion. The shared token
// lives on.
func TestRevokeLease(t *testing.T) {
	w := newWorld(t)
	for _, a := range accounts {
		t.Run(a.provider, func(t *testing.T) {
			w.writeConfig(t, a)
			one, two, three := w.readCreds(t, a), w.readCreds(t, a), w.readCreds(t, a)

			w.CLI(t, "lease", "revoke", "-sync", one.LeaseID).OK(t)
			wantGone(t, w.Server, one.LeaseID)
			if known := w.sim.Token(t, one.Text("access_token")); !known.Active {
				t.Errorf("after a revocation: got token %+v, want an active one", known)
			}

			w.sim.Stop()
			w.CLI(t, "lease", "revoke", "-sync", two.LeaseID).OK(t)
			wantGone(t, w.Server, two.LeaseID)
			w.wantToken(t, a, one.Text("access_token"), "after a revocation")

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
			leases = append(leases, w.readCreds(t, a).LeaseID)
		}
	}
	for _, a := range accounts {
		w.writeConfig(t, a)
		read(a)
	}
	w.sim.Stop()
	w.CLI(t, "lease", "revoke", "-sync", "-prefix", sinch.creds()+"/").OK(t)
	for i, lease := range leases {
		if strings.HasPrefix(lease, sinch.creds()) {
			wantGone(t, w.Server, lease)
		} else if w.Write(t, "sys/leases/lookup", harness.Fields{"lease_id": lease}).Status != 200 {
			t.Errorf("lease %d, of another account: got it revoked, want it alive", i)
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

// When an app's Vault token is revoked, Vault revokes the app's leases. The shared token lives on.
func TestLeaseEndsWithItsVaultToken(t *testing.T) {
	w := newWorld(t)
	w.writeConfig(t, sinch)
	token := w.AppToken(t, sinchPolicy)
	lease := w.As(token).Read(t, sinch.creds()).OK(t)
	w.sim.Stop()

	w.Write(t, "auth/token/revoke", harness.Fields{"token": token}).OK(t)
	wantGone(t, w.Server, lease.LeaseID)
	w.wantToken(t, sinch, lease.Text("access_token"), "after the Vault token was revoked")
}

func TestLeaseIsNotRenewable(t *testing.T) {
	w := newWorld(t)
	w.writeConfig(t, sinch)
	lease := w.readCreds(t, sinch)
	w.Write(t, "sys/leases/renew", harness.Fields{"lease_id": lease.LeaseID}).Refused(t, 400, "not renewable")
}

func TestDisableWithLeasesOut(t *testing.T) {
	w := newWorld(t)
	w.writeConfig(t, sinch)
	lease := w.readCreds(t, sinch)
	w.sim.Stop()
	w.CLI(t, "secrets", "disable", "messaging").OK(t)
	wantGone(t, w.Server, lease.LeaseID)
}

// wantGone waits until the lease is gone. Vault revokes some leases in the background.
func wantGone(t *testing.T, s *harness.Server, lease string) {
	t.Helper()
	harness.Within(t, 10*time.Second, "the lease is gone", func() error {
		if r := s.Write(t, "sys/leases/lookup", harness.Fields{"lease_id": lease}); r.Status != 400 {
			return fmt.Errorf("got status %d, want 400: %s", r.Status, r.Raw)
		}
		return nil
	})
}
