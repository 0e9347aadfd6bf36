// SPDX-License-Identifier: MPL-2.0

package messaging

import (
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"
)

func TestRotate(t *testing.T) {
	m := newMount(t)
	m.rotate("a").want(t, http.StatusBadRequest, `there is no config "a"`)
	m.write("config/a", m.sinch(nil)).want(t, http.StatusNoContent)
	before := m.token("a")
	m.clock.advance(time.Minute)
	a := m.rotate("a")
	want := fields{"provider": "sinch-india", "minted_time": "2026-11-22T08:01:00Z", "expire_time": "2026-11-22T09:01:00Z"}
	equal(t, "data", a.data, want)
	equal(t, "lease", a.secret == nil, true)
	after := m.token("a")
	differ(t, "token after the rotate", after, before)
	// A rotate must log in, because a refresh would extend the session of a leaked token.
	m.wantLogins(2)
	equal(t, "refreshes", m.sim.State().Total.RefreshesSucceeded, 0)
	equal(t, "token after a restart", m.restart().token("a"), after)
}

func TestRotatesShareAMint(t *testing.T) {
	m := newSinchMount(t, nil)
	m.token("a")
	m.clock.advance(time.Minute)
	var all sync.WaitGroup
	for range 20 {
		all.Go(func() { m.rotate("a").succeeded(t, "at once") })
	}
	all.Wait()
	m.clock.advance(9 * time.Second)
	m.rotate("a").want(t, http.StatusOK)
	m.wantLogins(2)
	m.clock.advance(2 * time.Second)
	m.rotate("a").want(t, http.StatusOK)
	m.wantLogins(3)
}

func TestRotateFails(t *testing.T) {
	m := newSinchMount(t, nil)
	token := m.token("a")
	m.clock.advance(time.Minute)
	for fault, status := range map[string]int{`{"kind":"status","status":503}`: http.StatusBadGateway, `{"kind":"refuse"}`: http.StatusBadRequest} {
		m.simulate(`{"faults":[` + fault + `]}`)
		a := m.rotate("a")
		a.want(t, status, `config "a": `, "next attempt")
		first, _, _ := strings.Cut(a.text, "; the next attempt")
		m.rotate("a").want(t, status, first+"; rotate requests within 10s share one attempt") // also if a client repeats the rotate by itself
		equal(t, fault+": token", m.token("a"), token)
		m.clock.advance(11 * time.Second)
	}
	// A rotate does not wait for the backoff.
	m.simulate(`{"faults":null}`)
	m.rotate("a").want(t, http.StatusOK)
	differ(t, "token after the rotate", m.token("a"), token)
}

func TestRotateSaysNothingSecret(t *testing.T) {
	m := newSinchMount(t, nil)
	m.simulate(`{"faults":[{"kind":"refuse"}],"echo_secrets":["raw","url","base64","json","json-twice"]}`)
	m.rotate("a").want(t, http.StatusBadRequest, "text withheld because it contains a secret")
}

// A rotate waits 3 s for the login. A slower login continues, and the engine then revokes the old
// token.
func TestRotateTakesLong(t *testing.T) {
	t.Parallel()
	m := newRevocableMount(t, nil)
	old := m.token("a")
	m.clock.advance(time.Minute)
	release := m.hold()
	defer release()
	m.rotate("a").want(t, http.StatusBadGateway, "has not issued a token within 3s")
	equal(t, "token during the login", m.token("a"), old)
	release()
	eventually(t, "the new token", func() bool { return m.token("a") != old })
	eventually(t, "the revocation of the old token", func() bool { return !m.alive(old) })
	m.wantAlive("the new token", m.token("a"), true)
}

func TestRotateWarnings(t *testing.T) {
	f := newFake(numbered(time.Hour))
	m := newFakeMount(t, f, nil)
	m.token("a")
	m.clock.advance(time.Minute)
	equal(t, "warnings", len(m.rotate("a").warnings), 0)
	m.clock.advance(9 * time.Second)
	m.rotate("a").wantWarning(t, "another rotate logged in within the last 10s, and this rotate shares its token")

	m.clock.advance(time.Minute)
	m.storage.failOn("put token/a")
	m.rotate("a").wantWarning(t, "the new token is in use but could not be stored; the engine tries to store it again")
	equal(t, "stored token, because the old one may have leaked", m.storage.snapshot()["token/a"], "")
	m.storage.failWith(nil)
	current := m.token("a")
	m.clock.advance(time.Minute)
	m.tick().want(t, http.StatusNoContent)
	eventually(t, "the token is stored", func() bool { return m.storage.snapshot()["token/a"] != "" })
	equal(t, "token after a restart", m.restart().token("a"), current)

	m.clock.advance(time.Minute)
	f.set(minting("same-token", time.Hour))
	m.rotate("a").want(t, http.StatusOK)
	m.clock.advance(time.Minute)
	m.rotate("a").wantWarning(t, "the provider returned the same token again, so it stays in use")
}
