// SPDX-License-Identifier: MPL-2.0

package messaging

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/vault/sdk/framework"
	"github.com/hashicorp/vault/sdk/logical"
)

// revocable returns the data of a config whose tokens are ended at the simulator.
func (m *mount) revocable(more fields) fields {
	data := m.sinch(more)
	data["revocation_url"] = m.url + "/realms/ipmessaging/protocol/openid-connect/revoke"
	return data
}

// alive reports whether the provider takes a token.
func (m *mount) alive(token string) bool { return m.sim.Introspect(token).Active }

// end revokes the lease of an answer as Vault does: its data have been JSON.
func (m *mount) end(a answer) {
	m.t.Helper()
	lease := *a.secret
	lease.InternalData = m.asJSON(lease.InternalData)
	req := &logical.Request{Operation: logical.RevokeOperation, Path: "creds/a", MountPoint: "messaging/", Storage: m.storage, Secret: &lease}
	resp, err := m.HandleRequest(m.t.Context(), req)
	if err != nil || resp.IsError() {
		m.t.Fatalf("revoking a lease: %v, %v", resp, err)
	}
}

// queued returns how many tokens wait to be revoked.
func (m *mount) queued() int {
	m.t.Helper()
	keys, err := framework.ListWAL(m.t.Context(), &m.storage.InmemStorage)
	if err != nil {
		m.t.Fatal(err)
	}
	return len(keys)
}

// drained ticks, and waits until no token waits to be revoked.
func (m *mount) drained() {
	m.t.Helper()
	m.tick().want(m.t, http.StatusNoContent)
	for deadline := time.Now().Add(10 * time.Second); m.queued() > 0; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			m.t.Fatalf("%d tokens still wait to be revoked", m.queued())
		}
	}
}

func TestRotateEndsTheOldToken(t *testing.T) {
	m := newMount(t)
	m.write("config/a", m.revocable(nil)).want(t, http.StatusNoContent)
	old := m.token("a")
	m.clock.advance(time.Minute)
	if a := m.rotate("a"); a.status != http.StatusOK || len(a.warnings) > 0 {
		t.Fatalf("%+v", a)
	}
	if m.alive(old) || !m.alive(m.token("a")) {
		t.Errorf("the old token is alive: %v, the new one: %v", m.alive(old), m.alive(m.token("a")))
	}
}

func TestRotateWithoutARevocationURLLeavesTheOldToken(t *testing.T) {
	m := newMount(t)
	m.write("config/a", m.sinch(nil)).want(t, http.StatusNoContent)
	old := m.token("a")
	m.clock.advance(time.Minute)
	m.rotate("a").want(t, http.StatusOK)
	if !m.alive(old) {
		t.Error("the old token was ended")
	}
}

func TestRevocationIsTriedAgain(t *testing.T) {
	m := newMount(t)
	m.write("config/a", m.revocable(nil)).want(t, http.StatusNoContent)
	old := m.token("a")
	m.clock.advance(time.Minute)
	m.set(`{"faults": [{"kind": "status", "status": 503, "on": "revoke"}]}`)
	a := m.rotate("a")
	a.want(t, http.StatusOK)
	if !strings.Contains(strings.Join(a.warnings, ""), "the engine tries again until the token expires") {
		t.Errorf("warnings: %q", a.warnings)
	}
	if m.queued() != 1 || !m.alive(old) {
		t.Fatalf("%d queued", m.queued())
	}
	m.set(`{"faults": null}`)
	again := m.again() // the queue outlives the process
	again.clock.advance(time.Minute)
	again.drained()
	if m.alive(old) {
		t.Error("the old token is alive")
	}
}

func TestQueuedRevocationEndsWithItsToken(t *testing.T) {
	m := newMount(t)
	m.write("config/a", m.revocable(nil)).want(t, http.StatusNoContent)
	m.token("a")
	m.clock.advance(time.Minute)
	m.set(`{"faults": [{"kind": "status", "status": 503, "on": "revoke"}]}`)
	m.rotate("a").want(t, http.StatusOK)
	m.clock.advance(2 * time.Hour)
	before := m.sim.State().Total.Requests
	m.drained()
	if got := m.sim.State().Total.Requests - before; got != 0 {
		t.Errorf("%d requests", got)
	}
}

func TestDeletingAConfigEndsItsToken(t *testing.T) {
	m := newMount(t)
	m.write("config/a", m.revocable(nil)).want(t, http.StatusNoContent)
	old := m.token("a")
	m.delete("config/a").want(t, http.StatusNoContent)
	if m.alive(old) || len(m.storage.keys()) != 0 {
		t.Errorf("the token is alive: %v; stored: %q", m.alive(old), m.storage.keys())
	}
}

func TestDeletingAConfigWhileTheProviderIsDown(t *testing.T) {
	m := newMount(t)
	m.write("config/a", m.revocable(nil)).want(t, http.StatusNoContent)
	m.token("a")
	m.set(`{"faults": [{"kind": "close-before", "on": "revoke"}]}`)
	a := m.delete("config/a")
	a.want(t, http.StatusOK)
	if !strings.Contains(strings.Join(a.warnings, ""), "left to expire") || len(m.storage.keys()) != 0 {
		t.Errorf("warnings %q, stored %q", a.warnings, m.storage.keys())
	}
}

func TestRevocationURLIsForProvidersThatCanEndTokens(t *testing.T) {
	m := newMount(t)
	m.write("config/a", fields{"provider": "enablex-rcs", "app_id": "i", "app_key": "k", "revocation_url": "https://revoke.example"}).
		want(t, http.StatusBadRequest, "revocation_url: enablex-rcs cannot revoke tokens; remove the field")
}

func TestUnshared(t *testing.T) {
	m := newMount(t)
	m.write("config/a", m.revocable(fields{"share": false})).want(t, http.StatusNoContent)
	first, second := m.read("creds/a"), m.read("creds/a")
	one, two := first.data["access_token"].(string), second.data["access_token"].(string)
	if one == two || m.logins() != 3 { // one to verify
		t.Fatalf("the same token: %v; %d logins", one == two, m.logins())
	}
	for key := range m.storage.snapshot() {
		if key != "config/a" {
			t.Errorf("%s is stored", key)
		}
	}
	m.end(first)
	if m.alive(one) || !m.alive(two) {
		t.Errorf("the first is alive: %v, the second: %v", m.alive(one), m.alive(two))
	}
	m.rotate("a").want(t, http.StatusBadRequest, "share=false")
	m.patch("config/a", fields{"lease": false}).want(t, http.StatusBadRequest, "lease: must be true with share=false")
	m.patch("config/a", fields{"share": nil}).want(t, http.StatusNoContent)
	if one, two := m.token("a"), m.token("a"); one != two {
		t.Error("share=true does not share")
	}
}

// What verifies an unshared config is a token that no one gets.
func TestUnsharedVerificationTokenIsEnded(t *testing.T) {
	m := newMount(t)
	m.write("config/a", m.revocable(fields{"share": false})).want(t, http.StatusNoContent)
	if got := m.sim.State().Total.RevocationsSucceeded; got == 0 {
		t.Error("it lives on")
	}
}

func TestUnsharedRevocationOutlivesAnOutage(t *testing.T) {
	m := newMount(t)
	m.write("config/a", m.revocable(fields{"share": false})).want(t, http.StatusNoContent)
	reads := []answer{m.read("creds/a"), m.read("creds/a"), m.read("creds/a")}
	m.set(`{"faults": [{"kind": "close-before"}, {"kind": "close-before", "on": "revoke"}]}`)
	requests := m.sim.State().Total.Requests
	for _, a := range reads {
		m.end(a)
	}
	if got := m.sim.State().Total.Requests - requests; m.queued() != 3 || got > 1 {
		t.Fatalf("%d queued; a provider that is down was asked %d times", m.queued(), got)
	}
	m.set(`{"faults": null}`)
	m.clock.advance(time.Minute)
	m.drained()
	for i, a := range reads {
		if m.alive(a.data["access_token"].(string)) {
			t.Errorf("token %d is alive", i)
		}
	}
}

// The client's credentials are for the endpoint that the lease was made with.
func TestUnsharedRevocationAfterTheConfigMoved(t *testing.T) {
	for name, move := range map[string]func(m *mount){
		"deleted": func(m *mount) { m.delete("config/a").want(m.t, http.StatusNoContent) },
		"moved": func(m *mount) {
			m.patch("config/a", fields{"revocation_url": m.url + "/elsewhere", "password": "correct-horse", "verify_connection": false}).want(m.t, http.StatusNoContent)
		},
	} {
		t.Run(name, func(t *testing.T) {
			m := newMount(t)
			m.write("config/a", m.revocable(fields{"share": false})).want(t, http.StatusNoContent)
			a := m.read("creds/a")
			move(m)
			requests := m.sim.State().Total.Requests
			m.end(a)
			if m.queued() != 0 || m.sim.State().Total.Requests != requests {
				t.Errorf("%d queued, %d requests", m.queued(), m.sim.State().Total.Requests-requests)
			}
			if !strings.Contains(m.log.String(), "left to expire") {
				t.Error("the log does not say so")
			}
		})
	}
}

// A mount that is being disabled, or moved, does not wait for a provider that is
// down once for each of its leases; and one that is moved keeps what is queued.
func TestUnsharedRevocationWhileTheMountIsTainted(t *testing.T) {
	m := newMount(t)
	m.write("config/a", m.revocable(fields{"share": false})).want(t, http.StatusNoContent)
	var leases []answer
	for range 20 {
		leases = append(leases, m.read("creds/a"))
	}
	m.system.set(func(s *system) { s.tainted = true })
	m.set(`{"faults": [{"kind": "close-before", "on": "revoke"}]}`)
	requests := m.sim.State().Total.Requests
	for _, a := range leases {
		m.end(a)
	}
	if got := m.sim.State().Total.Requests - requests; got > 1 || m.queued() != len(leases) {
		t.Errorf("%d requests, %d queued", got, m.queued())
	}
}
