// SPDX-License-Identifier: MPL-2.0

package messaging

import (
	"context"
	"fmt"
	"maps"
	"net/http"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/vault/sdk/framework"
	"github.com/hashicorp/vault/sdk/logical"

	"vault-plugin-secrets-messaging/internal/clock"
	"vault-plugin-secrets-messaging/internal/secret"
	"vault-plugin-secrets-messaging/internal/token"
	"vault-plugin-secrets-messaging/providers"
)

// Faults of the simulator's revocation endpoint.
const (
	revokeDown     = `{"faults": [{"kind": "close-before", "on": "revoke"}]}`
	revokeDownOnce = `{"faults": [{"kind": "close-before", "on": "revoke", "count": 1}]}`
	revokeBusy     = `{"faults": [{"kind": "status", "status": 503, "on": "revoke"}]}`
)

// alive reports whether the provider accepts a token.
func (m *mount) alive(token string) bool { return m.sim.Introspect(token).Active }

// wantAlive checks whether the provider accepts the token.
func (m *mount) wantAlive(what, token string, want bool) {
	m.t.Helper()
	equal(m.t, what+" is alive", m.alive(token), want)
}

// revokeLease revokes the lease of an answer. The lease's data passes through JSON first, as in
// Vault.
func (m *mount) revokeLease(a answer) {
	m.t.Helper()
	lease := *a.secret
	lease.InternalData = m.asJSON(lease.InternalData)
	req := &logical.Request{Operation: logical.RevokeOperation, Path: "creds/a", MountPoint: "messaging/", Storage: m.storage, Secret: &lease}
	resp, err := m.HandleRequest(m.t.Context(), req)
	if err != nil || resp.IsError() {
		m.t.Fatalf("revoking a lease: got %v, %v, want no error", resp, err)
	}
}

// queued returns the number of queued revocations.
func (m *mount) queued() int {
	m.t.Helper()
	keys, err := framework.ListWAL(m.t.Context(), &m.storage.InmemStorage)
	if err != nil {
		m.t.Fatal(err)
	}
	return len(keys)
}

// wantQueued fails the test unless this many revocations are queued.
func (m *mount) wantQueued(want int) {
	m.t.Helper()
	equal(m.t, "queued revocations", m.queued(), want)
}

// drain ticks until no revocation is queued.
func (m *mount) drain() {
	m.t.Helper()
	eventually(m.t, "no revocation is queued", func() bool {
		m.tick().want(m.t, http.StatusNoContent)
		return m.queued() == 0
	})
}

// A rotate ends the old token if the config has a revocation_url.
func TestRotateEndsTheOldToken(t *testing.T) {
	for _, m := range []*mount{newSinchMount(t, nil), newRevocableMount(t, nil)} {
		old := m.token("a")
		m.clock.advance(time.Minute)
		equal(t, "warnings", len(m.rotate("a").want(t, http.StatusOK).warnings), 0)
		m.wantAlive("the old token", old, m.read("config/a").data["revocation_url"] == nil)
		m.wantAlive("the new token", m.token("a"), true)
	}
}

// The old token is revoked even if the client gives up.
func TestRotateWhoseClientGivesUp(t *testing.T) {
	m := newRevocableMount(t, nil)
	old := m.token("a")
	m.clock.advance(time.Minute)
	release := m.hold()
	defer release()
	requests := m.requests()
	ctx, cancel := context.WithCancel(t.Context())
	done := async(func() answer { return m.requestWith(ctx, logical.UpdateOperation, "rotate/a", nil) })
	eventually(t, "the provider gets a request", func() bool { return m.requests() > requests })
	cancel()
	release()
	<-done
	eventually(t, "the old token ends", func() bool { return !m.alive(old) })
	m.wantAlive("the new token", m.token("a"), true)
}

func TestRevocationIsTriedAgain(t *testing.T) {
	m := newRevocableMount(t, nil)
	old := m.token("a")
	m.clock.advance(time.Minute)
	m.simulate(revokeBusy)
	m.rotate("a").want(t, http.StatusOK).wantWarning(t, "the engine tries again until the token expires")
	m.wantQueued(1)
	m.wantAlive("the old token in the outage", old, true)
	m.simulate(`{"faults": null}`)
	again := m.restart() // the queue is in storage
	again.clock.advance(time.Minute)
	again.drain()
	m.wantAlive("the old token after the outage", old, false)
}

func TestQueuedRevocationEndsWithItsToken(t *testing.T) {
	m := newRevocableMount(t, nil)
	m.token("a")
	m.clock.advance(time.Minute)
	m.simulate(revokeBusy)
	m.rotate("a").want(t, http.StatusOK)
	m.clock.advance(2 * time.Hour)
	before := m.requests()
	m.drain()
	equal(t, "requests to revoke an expired token", m.requests()-before, 0)
}

func TestSuccessfulRevocationDrainsTheQueue(t *testing.T) {
	m := newRevocableMount(t, fields{"share": false})
	first, second := m.read("creds/a"), m.read("creds/a")
	m.simulate(revokeDownOnce)
	m.revokeLease(first)
	m.clock.advance(30 * time.Second) // ends the cooldown
	m.revokeLease(second)
	eventually(t, "the first revocation succeeds too", func() bool { return m.queued() == 0 })
	m.wantAlive("the first token", first.token(), false)
}

func TestRevocationsOfOneConfigDoNotHoldUpAnothers(t *testing.T) {
	m := newRevocableMount(t, fields{"share": false})
	m.write("config/b", m.revocable(fields{"share": false})).want(t, http.StatusNoContent)
	a, b := m.read("creds/a"), m.read("creds/b")
	m.simulate(`{"faults": [{"kind": "invalid-client", "on": "revoke", "count": 1}]}`)
	m.revokeLease(a)
	m.revokeLease(b)
	m.wantQueued(1)
	m.wantAlive("the token of b", b.token(), false)
}

func TestDeletingAConfigEndsItsToken(t *testing.T) {
	m := newRevocableMount(t, nil)
	old := m.token("a")
	m.delete("config/a").want(t, http.StatusNoContent)
	m.wantAlive("the token of the deleted config", old, false)
	m.wantStored()
}

func TestDeletingAConfigWhileTheProviderIsDown(t *testing.T) {
	m := newRevocableMount(t, nil)
	m.token("a")
	m.simulate(revokeDown)
	m.delete("config/a").want(t, http.StatusOK).wantWarning(t, "left to expire")
	m.wantStored()
}

func TestRevocationURLNeedsAProviderThatRevokes(t *testing.T) {
	newMount(t).write("config/a", fields{"provider": "enablex-rcs", "app_id": "i", "app_key": "k", "revocation_url": "https://revoke.example"}).
		want(t, http.StatusBadRequest, "revocation_url: enablex-rcs cannot revoke tokens; remove the field")
}

func TestQueueSurvivesFaultsOfStorage(t *testing.T) {
	for _, op := range []string{"list", "get", "delete"} {
		m := newRevocableMount(t, fields{"share": false})
		a := m.read("creds/a")
		m.simulate(revokeDownOnce)
		m.revokeLease(a)
		m.clock.advance(time.Minute)
		m.storage.failOn(op + " " + framework.WALPrefix)
		m.tick().want(t, http.StatusNoContent)
		m.wantLogged(errStorage.Error())
		m.wantQueued(1)
		m.storage.failWith(nil)
		m.clock.advance(time.Minute)
		m.drain()
		m.wantAlive("the token after "+op+" failed", a.token(), false)
	}
}

// A token that storage refuses waits in memory.
func TestRevocationThatCannotBeQueued(t *testing.T) {
	m := newRevocableMount(t, nil)
	old := m.token("a")
	m.clock.advance(time.Minute)
	m.simulate(revokeBusy)
	m.storage.failOn("put " + framework.WALPrefix)
	m.rotate("a").want(t, http.StatusOK).wantWarning(t, "a token was not revoked yet and could not be stored", errStorage.Error())
	m.simulate(`{"faults": null}`)
	m.storage.failWith(nil)
	m.clock.advance(time.Minute)
	m.tick().want(t, http.StatusNoContent)
	eventually(t, "the old token ends", func() bool { return !m.alive(old) })
}

func TestDamagedQueueEntry(t *testing.T) {
	m := newSinchMount(t, nil)
	if _, err := framework.PutWAL(t.Context(), &m.storage.InmemStorage, "revocation", fields{"expires": "hunter2"}); err != nil {
		t.Fatal(err)
	}
	m.drain()
	m.wantLogged("a token to revoke cannot be decoded and is left to expire")
}

// revoking is a fake provider that revokes with a function.
type revoking struct {
	*fake
	revoke func(context.Context) error
	calls  atomic.Int32
}

func (r *revoking) Revoke(ctx context.Context, _ *providers.Client, _ providers.Settings, _, _ secret.String) error {
	r.calls.Add(1)
	return r.revoke(ctx)
}

// newRevoking returns a provider that revokes with revoke.
func newRevoking(revoke func(context.Context) error) *revoking {
	return &revoking{fake: newFake(minting("fake-token", time.Hour)), revoke: revoke}
}

// revokingConfig is a config of a provider that can revoke tokens. Writes of this config are not
// verified.
var revokingConfig = fields{"provider": "fake", "password": "fake-hunter2", "revocation_url": "https://fake.example/revoke", "verify_connection": false}

// newRevokingMount makes a mount with config/a. The provider calls the function revoke to revoke a
// token.
func newRevokingMount(t *testing.T, revoke func(context.Context) error, more fields) (*mount, *revoking) {
	p := newRevoking(revoke)
	return newFakeMount(t, p, with(maps.Clone(revokingConfig), more)), p
}

func revokePanics(context.Context) error { panic("hunter2") }

func TestRevocationThatIsUnsupported(t *testing.T) {
	m, p := newRevokingMount(t, func(context.Context) error {
		return &token.Error{Kind: token.Refused, Status: 400, Code: "unsupported_token_type"}
	}, fields{"share": false})
	m.revokeLease(m.read("creds/a"))
	m.wantQueued(0)
	equal(t, "attempts", int(p.calls.Load()), 1)
	m.wantLogged("unsupported_token_type")
}

// If the provider panics, revoking a lease still succeeds. Otherwise Vault would give up on the
// lease after six attempts.
func TestRevocationThatPanics(t *testing.T) {
	m, _ := newRevokingMount(t, revokePanics, fields{"share": false})
	m.revokeLease(m.read("creds/a"))
	m.wantLogged("recovered from a panic")
}

// A provider may return the same token at each login. A rotate must not revoke that token.
func TestRotateToTheSameToken(t *testing.T) {
	m, p := newRevokingMount(t, revokePanics, nil)
	m.token("a")
	m.clock.advance(time.Minute)
	m.rotate("a").want(t, http.StatusOK).wantWarning(t, "the same token")
	equal(t, "revocations", int(p.calls.Load()), 0)
}

// Disabling or moving a mount takes seconds in total, however many revocation endpoints hang.
func TestLeasesOfManyConfigsThatHang(t *testing.T) {
	for _, tainted := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			hang := func(ctx context.Context) error {
				<-ctx.Done()
				return &token.Error{Kind: token.Unavailable, Cause: ctx.Err()}
			}
			m := newBareMount(t, []providers.Provider{newRevoking(hang)})
			m.options.Clock = clock.System()
			m.start()
			var leases []answer
			for i := range 15 {
				name := fmt.Sprint("config-", i)
				m.write("config/"+name, with(fields{"share": false}, revokingConfig)).want(t, http.StatusNoContent)
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
			took(t, start, limit)
			m.wantQueued(15)
		})
	}
}
