// SPDX-License-Identifier: MPL-2.0

package messaging

import (
	"context"
	"testing"
	"time"

	"github.com/hashicorp/vault/sdk/logical"
)

func TestLeaseTTL(t *testing.T) {
	for left, seconds := range map[time.Duration]time.Duration{
		0: 1, -5 * time.Second: 1, time.Millisecond: 1, 1999 * time.Millisecond: 1, 2 * time.Second: 1, 2999 * time.Millisecond: 1,
		3 * time.Second: 2, time.Hour: 3599, 24*time.Hour + 1: 86399,
	} {
		want := seconds * time.Second
		if got := lease(secretTokenType, left, 0, nil); got.TTL != want || got.MaxTTL != want || got.Renewable {
			t.Errorf("lease with %s left: got %+v, want TTL and MaxTTL of %s, not renewable", left, got.LeaseOptions, want)
		}
	}
}

func TestLeaseNeverOutlivesToken(t *testing.T) {
	m := newFakeMount(t, newFake(minting("fake-token", time.Hour)), fields{"refresh_window": 0, "min_ttl": 2})
	expires := m.read("creds/a").data["expire_time"]
	for _, step := range []struct{ after, ttl time.Duration }{
		{0, 3599 * time.Second},
		{time.Millisecond, 3598 * time.Second},
		{999 * time.Millisecond, 3598 * time.Second},
		{time.Minute, 3538 * time.Second},
		{time.Hour - 61*time.Second - 3500*time.Millisecond, 2 * time.Second},
		{time.Second, time.Second},
		{500 * time.Millisecond, time.Second},
	} {
		m.clock.advance(step.after)
		a := m.read("creds/a")
		if a.secret == nil || a.secret.TTL != step.ttl || a.data["expire_time"] != expires {
			t.Errorf("%s later: got the lease %+v of a token that ends at %v, want a TTL of %s and the end %v", step.after, a.secret, a.data["expire_time"], step.ttl, expires)
		}
	}
}

// Revoking the lease of a shared token needs no provider, config, storage or cache.
func TestRevokeSharedLease(t *testing.T) {
	m := newSinchMount(t, nil)
	a := m.read("creds/a")
	equal(t, "secret_type", a.secret.InternalData["secret_type"], secretTokenType)
	revoke := func(on *mount) {
		t.Helper()
		req := logical.RevokeRequest("creds/a", a.secret, a.data)
		req.Storage = on.storage
		on.storage.takeCalls()
		if resp, err := on.HandleRequest(context.Background(), req); err != nil || resp != nil {
			t.Errorf("revoking the lease: got %v, %v, want nothing", resp, err)
		}
		on.wantCalls()
	}
	revoke(m)
	equal(t, "token after the revocation", m.token("a"), a.token())
	requests := m.requests()
	m.storage.failOn("")
	revoke(m)
	revoke(m.restart())
	m.storage.failWith(nil)
	m.delete("config/a").want(t, 204)
	revoke(m)
	m.Cleanup(context.Background())
	revoke(m)
	equal(t, "requests to the provider", m.requests()-requests, 0)
}
