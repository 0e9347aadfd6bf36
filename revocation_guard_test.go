// SPDX-License-Identifier: MPL-2.0

package messaging

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"testing"
	"time"

	"vault-plugin-secrets-messaging/internal/token"
)

// unsharedClient returns an unshared config with a client secret. The simulator revokes its tokens.
func (m *mount) unsharedClient(more fields) fields {
	config := m.oauth2(fields{"revocation_url": m.url + "/realms/ipmessaging/protocol/openid-connect/revoke", "share": false, "verify_connection": false})
	return with(config, more)
}

// A write that removes a secret cannot also change where or how secrets are sent.
func TestGuardCoversRemovedSecrets(t *testing.T) {
	m := newConfigMount(t, (*mount).unsharedClient, nil)
	ca := newCA(t)
	for _, change := range []fields{
		{"client_secret": nil, "ca_cert": ca},
		{"client_secret": "", "ca_cert": ca},
		{"client_secret": nil, "revocation_url": "https://evil.example/revoke"},
		{"client_secret": nil, "token_url": "https://evil.example/token"},
	} {
		change["verify_connection"] = false
		for _, write := range []func(string, fields) answer{m.write, m.patch} {
			write("config/a", change).want(t, http.StatusBadRequest, "a request that removes client_secret cannot change where or how secrets are sent",
				"write client_secret again in this request, and remove it in a later request")
		}
	}
	m.patch("config/a", fields{"client_secret": nil, "verify_connection": false}).want(t, http.StatusNoContent)
}

// After ca_cert changes, the engine sends no older tokens to the revocation endpoint.
func TestTokensOfLeasesFollowNoOtherCA(t *testing.T) {
	for name, change := range map[string]func(m *mount, ca string){
		"secret removed first": func(m *mount, ca string) {
			m.patch("config/a", fields{"client_secret": nil, "verify_connection": false}).want(m.t, http.StatusNoContent)
			m.patch("config/a", fields{"ca_cert": ca, "verify_connection": false}).want(m.t, http.StatusNoContent)
		},
		"deleted and written again": func(m *mount, ca string) {
			m.delete("config/a").succeeded(m.t, "before the second write")
			m.write("config/a", m.unsharedClient(fields{"ca_cert": ca, "client_secret": "hunter2-own"})).want(m.t, http.StatusNoContent)
		},
	} {
		for _, queued := range []bool{false, true} {
			m := newConfigMount(t, (*mount).unsharedClient, nil)
			a := m.read("creds/a").want(t, http.StatusOK)
			if queued {
				m.simulate(revokeDown)
				m.revokeLease(a)
			}
			change(m, newCA(t))
			m.simulate(`{"faults": null}`)
			m.clock.advance(time.Hour / 2)
			requests := m.requests()
			if !queued {
				m.revokeLease(a)
			}
			m.drain()
			equal(t, fmt.Sprintf("%s, queued=%t: requests", name, queued), m.requests()-requests, 0)
			m.wantLogged("left to expire")
		}
	}
}

// After a verified write of an unshared config, the engine revokes the minted token. The revocation
// also tests the revocation_url.
func TestVerifiedWriteReportsAWrongRevocationURL(t *testing.T) {
	m := newMount(t)
	var requests atomic.Int32
	wrong := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		requests.Add(1)
		http.NotFound(w, r)
	}))
	t.Cleanup(wrong.Close)
	m.write("config/a", m.sinch(fields{"share": false, "revocation_url": wrong.URL})).want(t, http.StatusOK).
		wantWarning(t, "404 Not Found", "revocation_url is probably wrong")
	var leases []answer
	for range 20 {
		leases = append(leases, m.read("creds/a"))
	}
	before := requests.Load()
	for _, a := range leases {
		m.revokeLease(a)
	}
	for range 3 {
		m.tick().want(t, http.StatusNoContent)
	}
	if got := requests.Load() - before; before == 0 || got > 1 {
		t.Errorf("got %d requests to the wrong address for the write and %d for 20 leases, want some and at most 1", before, got)
	}
	m.patch("config/a", fields{"revocation_url": m.revocable(nil)["revocation_url"], "password": "correct-horse"}).want(t, http.StatusNoContent)
}

// The login of a verified write may return the token in use. If the write is not stored, the engine
// does not revoke that token.
func TestVerifiedWriteThatIsNotStoredKeepsTheTokenInUse(t *testing.T) {
	m, p := newRevokingMount(t, func(context.Context) error { return &token.Error{Kind: token.Unavailable} }, nil)
	m.token("a")
	m.storage.failOn("put config/")
	m.write("config/a", fields{"password": "fake-hunter2", "verify_connection": true}).want(t, http.StatusInternalServerError)
	equal(t, "revocations of the token in use", int(p.calls.Load()), 0)
}

// If a verified write cannot be stored, the engine revokes the token that the write minted.
func TestVerifiedWriteThatIsNotStored(t *testing.T) {
	for _, share := range []bool{true, false} {
		m := newMount(t)
		m.storage.failOn("put config/")
		m.write("config/a", m.revocable(fields{"share": share})).want(t, http.StatusInternalServerError)
		m.wantLogins(1)
		differ(t, "revocations of the token that the write minted", m.sim.State().Total.RevocationsSucceeded, 0)
		m.storage.failWith(nil)
		m.wantStored()
		m.wantQueued(0)
	}
}
