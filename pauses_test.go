// SPDX-License-Identifier: MPL-2.0

package messaging

import (
	"context"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hashicorp/vault/sdk/logical"

	"vault-plugin-secrets-messaging/internal/secret"
	"vault-plugin-secrets-messaging/internal/token"
	"vault-plugin-secrets-messaging/providers"
)

// revoking is a fake provider that can end tokens, or cannot.
type revoking struct {
	*fake
	err   error
	calls atomic.Int32
}

func (r *revoking) Revoke(context.Context, *providers.Client, providers.Settings, secret.String, secret.String) error {
	r.calls.Add(1)
	return r.err
}

var revokingConfig = also(fields{"revocation_url": "https://fake.example/revoke"}, fakeConfig)

// Attempts that no one waits for are not kept back by what one in a hurry ran into:
// a slow endpoint fails those again and again.
func TestRevocationIsTriedAgainWhileOthersFail(t *testing.T) {
	m := newMount(t)
	m.write("config/a", m.revocable(fields{"share": false})).want(t, http.StatusNoContent)
	a := m.read("creds/a")
	m.set(`{"faults": [{"kind": "close-before", "on": "revoke", "count": 1}]}`)
	m.end(a)
	m.drained()
	if m.alive(a.data["access_token"].(string)) {
		t.Error("it is alive")
	}
}

// The success of one lease's revocation is a sign that others may succeed now.
func TestSuccessDrains(t *testing.T) {
	m := newMount(t)
	m.write("config/a", m.revocable(fields{"share": false})).want(t, http.StatusNoContent)
	first, second := m.read("creds/a"), m.read("creds/a")
	m.set(`{"faults": [{"kind": "close-before", "on": "revoke", "count": 1}]}`)
	m.end(first)
	m.clock.advance(30 * time.Second) // a cooldown
	m.end(second)
	eventually(t, "the first is revoked too", func() bool { return m.queued() == 0 })
	if m.alive(first.data["access_token"].(string)) {
		t.Error("it is alive")
	}
}

// What the provider will never do is not asked of it again.
func TestRevocationThatIsUnsupported(t *testing.T) {
	p := &revoking{fake: newFake(lives("fake-token", time.Hour)), err: &token.Error{Kind: token.Refused, Status: 400, Code: "unsupported_token_type"}}
	m := newMount(t, p)
	m.write("config/a", also(fields{"share": false, "verify_connection": false}, revokingConfig)).want(t, http.StatusNoContent)
	m.end(m.read("creds/a"))
	if m.queued() != 0 || p.calls.Load() != 1 || !strings.Contains(m.log.String(), "unsupported_token_type") {
		t.Errorf("%d queued, asked %d times; the log: %s", m.queued(), p.calls.Load(), m.log)
	}
}

// max_ttl ends the lease, and so has to end the token, which the provider would let
// live on.
func TestUnsharedWithMaxTTL(t *testing.T) {
	m := newMount(t)
	m.write("config/a", m.revocable(fields{"share": false, "max_ttl": "60s"})).want(t, http.StatusNoContent)
	a := m.read("creds/a")
	m.clock.advance(61 * time.Second)
	m.end(a)
	if m.alive(a.data["access_token"].(string)) {
		t.Error("the token outlives its lease")
	}
}

// Whoever has a token replaced and gives up waiting gets it revoked all the same.
func TestRotateOfOneWhoGivesUp(t *testing.T) {
	m := newMount(t)
	m.write("config/a", m.revocable(nil)).want(t, http.StatusNoContent)
	old := m.token("a")
	m.clock.advance(time.Minute)
	m.set(`{"latency": 0.2}`)
	requests := m.sim.State().Total.Requests
	ctx, leave := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		_, _ = m.HandleRequest(ctx, &logical.Request{Operation: logical.UpdateOperation, Path: "rotate/a", Storage: m.storage})
	}()
	eventually(t, "the provider is asked", func() bool { return m.sim.State().Total.Requests > requests })
	leave()
	<-done
	if m.alive(old) || !m.alive(m.token("a")) {
		t.Errorf("the old token is alive: %t, the new one: %t", m.alive(old), m.alive(m.token("a")))
	}
}

// A provider that answers each login with the same token is not asked to end it.
func TestRotateToTheSameToken(t *testing.T) {
	p := &revoking{fake: newFake(lives("fake-token", time.Hour))}
	m := newMount(t, p)
	m.write("config/a", revokingConfig).want(t, http.StatusNoContent)
	m.token("a")
	m.clock.advance(time.Minute)
	a := m.rotate("a")
	a.want(t, http.StatusOK)
	if p.calls.Load() != 0 || !strings.Contains(strings.Join(a.warnings, ""), "the same token") {
		t.Errorf("asked %d times; warnings %q", p.calls.Load(), a.warnings)
	}
}

// Whatever happens in the revocation of a lease, the lease is gone: after six failures
// Vault would keep it for good.
func TestRevocationThatPanics(t *testing.T) {
	p := &revoking{fake: newFake(lives("fake-token", time.Hour))}
	m := newMount(t, panicking{p})
	m.write("config/a", also(fields{"share": false, "verify_connection": false}, revokingConfig)).want(t, http.StatusNoContent)
	m.end(m.read("creds/a"))
	if !strings.Contains(m.log.String(), "recovered from a panic") {
		t.Errorf("the log does not say so: %s", m.log)
	}
}

type panicking struct{ *revoking }

func (panicking) Revoke(context.Context, *providers.Client, providers.Settings, secret.String, secret.String) error {
	panic("hunter2")
}
