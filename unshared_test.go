// SPDX-License-Identifier: MPL-2.0

package messaging

import (
	"context"
	"fmt"
	"net/http"
	"testing"
	"time"

	"github.com/hashicorp/vault/sdk/logical"
)

func TestUnshared(t *testing.T) {
	m := newRevocableMount(t, fields{"share": false})
	differ(t, "revocations of the token that verified the write", m.sim.State().Total.RevocationsSucceeded, 0)
	first, second := m.read("creds/a"), m.read("creds/a")
	differ(t, "second token", second.token(), first.token())
	m.wantLogins(3) // the first verified the write
	m.wantStored("config/a")
	m.revokeLease(first)
	m.wantAlive("the first token", first.token(), false)
	m.wantAlive("the second token", second.token(), true)
	m.rotate("a").want(t, http.StatusBadRequest, "share=false")
	m.patch("config/a", fields{"lease": false}).want(t, http.StatusBadRequest, "lease: must be true with share=false")
	m.patch("config/a", fields{"share": nil}).want(t, http.StatusNoContent)
	equal(t, "second token with share=true", m.token("a"), m.token("a"))
}

// If max_ttl shortens a lease, the engine revokes the token when the lease ends.
func TestUnsharedWithMaxTTL(t *testing.T) {
	m := newRevocableMount(t, fields{"share": false, "max_ttl": "60s"})
	a := m.read("creds/a")
	m.clock.advance(61 * time.Second)
	m.revokeLease(a)
	m.wantAlive("the token of the lease", a.token(), false)
}

// If a reader of an unshared config gives up, the next reader gets the token. If nobody reads for a
// minute, the engine revokes the token.
func TestUnsharedTokenOfAReaderWhoLeft(t *testing.T) {
	m := newRevocableMount(t, fields{"share": false})
	logins := m.logins()
	readAndLeave := func() {
		release := m.hold()
		defer release()
		ctx, cancel := context.WithCancel(t.Context())
		requests := m.requests()
		done := async(func() answer { return m.requestWith(ctx, logical.ReadOperation, "creds/a", nil) })
		eventually(t, "the provider gets a request", func() bool { return m.requests() > requests })
		cancel()
		(<-done).want(t, http.StatusServiceUnavailable)
		release()
		eventually(t, "the token is parked", func() bool { return m.status("parked_tokens") == 1 })
	}
	readAndLeave()
	m.wantAlive("the token of the next reader", m.token("a"), true)
	m.wantLogins(logins + 1)

	readAndLeave()
	before := m.sim.State().Total.RevocationsSucceeded
	m.clock.advance(time.Minute)
	eventually(t, "the token that nobody read is revoked", func() bool {
		m.tick().want(t, http.StatusNoContent)
		return m.sim.State().Total.RevocationsSucceeded > before
	})
}

// While a provider is down, revoking many leases causes only one request.
func TestUnsharedRevocationInAnOutage(t *testing.T) {
	for _, tainted := range []bool{false, true} {
		m := newRevocableMount(t, fields{"share": false})
		var leases []answer
		for range 5 {
			leases = append(leases, m.read("creds/a"))
		}
		m.system.set(func(s *system) { s.tainted = tainted })
		m.simulate(revokeDown)
		requests := m.requests()
		for _, a := range leases {
			m.revokeLease(a)
		}
		if got := m.requests() - requests; got > 1 {
			t.Errorf("tainted=%t: got %d requests in the outage, want at most 1", tainted, got)
		}
		m.wantQueued(len(leases))
		m.system.set(func(s *system) { s.tainted = false })
		m.simulate(`{"faults": null}`)
		m.clock.advance(time.Minute)
		m.drain()
		for _, a := range leases {
			m.wantAlive("a token after the outage", a.token(), false)
		}
	}
}

// The engine sends a token only to the revocation endpoint in the token's lease.
func TestUnsharedRevocationAfterTheConfigMoved(t *testing.T) {
	for name, move := range map[string]func(m *mount) answer{
		"deleted": func(m *mount) answer { return m.delete("config/a") },
		"moved": func(m *mount) answer {
			return m.patch("config/a", fields{"revocation_url": m.url + "/elsewhere", "password": "correct-horse", "verify_connection": false})
		},
	} {
		for _, queued := range []bool{false, true} {
			m := newRevocableMount(t, fields{"share": false})
			a := m.read("creds/a")
			if queued {
				m.simulate(revokeDown)
				m.revokeLease(a)
				m.simulate(`{"faults": null}`)
				m.clock.advance(time.Minute)
			}
			requests := m.requests()
			move(m).want(t, http.StatusNoContent)
			if name == "deleted" && queued {
				m.wantAlive("the queued token of a deleted config", a.token(), false)
				m.wantQueued(0)
				continue
			}
			if !queued {
				m.revokeLease(a)
			}
			m.drain()
			equal(t, fmt.Sprintf("%s, queued=%t: requests", name, queued), m.requests()-requests, 0)
			m.wantLogged("left to expire")
		}
	}
}
