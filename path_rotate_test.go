// SPDX-License-Identifier: MPL-2.0

package messaging

import (
	"net/http"
	"reflect"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hashicorp/vault/sdk/logical"
)

func TestRotate(t *testing.T) {
	m := newMount(t)
	m.rotate("a").want(t, http.StatusBadRequest, `there is no config "a"`)
	m.write("config/a", m.sinch(nil)).want(t, http.StatusNoContent)
	before := m.token("a")
	m.clock.advance(time.Minute)
	a := m.rotate("a")
	want := fields{"provider": "sinch-india", "minted_time": "2026-11-22T08:01:00Z", "expire_time": "2026-11-22T09:01:00Z"}
	if !reflect.DeepEqual(a.data, want) || a.secret != nil {
		t.Errorf("got %v with the lease %v, want %v without a lease", a.data, a.secret, want)
	}
	after := m.token("a")
	if after == before {
		t.Error("after the rotate: got the old token, want the new token")
	}
	// A rotate must log in, because a refresh would continue the session of a token that may
	// have leaked.
	if got := m.sim.State().Total; got.LoginsSucceeded != 2 || got.RefreshesSucceeded != 0 {
		t.Errorf("got %+v, want 2 logins and no refresh", got)
	}
	if m.restart().token("a") != after {
		t.Error("after a restart: got another token, want the new token")
	}
}

func TestRotatesShareAMint(t *testing.T) {
	m := newSinchMount(t, nil)
	m.token("a")
	m.clock.advance(time.Minute)
	var all sync.WaitGroup
	for range 20 {
		all.Go(func() {
			if a := m.rotate("a"); a.status != http.StatusOK {
				t.Errorf("got %d %s, want 200", a.status, a.text)
			}
		})
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
		m.rotate("a").want(t, status, first+"; rotates within 10s share one attempt") // also if a client repeats the rotate by itself
		if m.token("a") != token {
			t.Errorf("%s: got another token, want the old token", fault)
		}
		m.clock.advance(11 * time.Second)
	}
	// A rotate does not wait for the backoff.
	m.simulate(`{"faults":null}`)
	m.rotate("a").want(t, http.StatusOK)
	if m.token("a") == token {
		t.Error("after the rotate: got the old token, want the new token")
	}
}

func TestRotateAfterARestart(t *testing.T) {
	m := newSinchMount(t, nil)
	token := m.token("a")
	m.clock.advance(time.Minute)
	n := m.restart()
	n.rotate("a").want(t, http.StatusOK)
	if n.token("a") == token {
		t.Error("after the rotate: got the old token, want the new token")
	}
}

func TestRotateTakesNoOtherOperation(t *testing.T) {
	m := newMount(t)
	for _, op := range []logical.Operation{logical.ReadOperation, logical.DeleteOperation, logical.PatchOperation, logical.ListOperation} {
		m.request(op, "rotate/a", nil).want(t, http.StatusMethodNotAllowed)
	}
}

func TestRotateSaysNothingSecret(t *testing.T) {
	m := newSinchMount(t, nil)
	m.simulate(`{"faults":[{"kind":"refuse"}],"echo_secrets":["raw","url","base64","json","json-twice"]}`)
	m.rotate("a").want(t, http.StatusBadRequest, "text withheld because it contains a secret")
}

// A rotate waits 3 s for the login. After that, the login continues in the background, and the
// old token is revoked when the new token arrives.
func TestRotateTakesLong(t *testing.T) {
	t.Parallel()
	m := newRevocableMount(t, nil)
	old := m.token("a")
	m.clock.advance(time.Minute)
	m.simulate(`{"latency": 4}`)
	began := time.Now()
	m.rotate("a").want(t, http.StatusBadGateway, "has not issued a token within 3s")
	if took := time.Since(began); took > 4*time.Second {
		t.Errorf("got an answer after %s, want it after 3s", took)
	}
	if m.token("a") != old {
		t.Error("during the login: got another token, want the old token")
	}
	m.simulate(`{"latency": 0}`)
	eventually(t, "the new token", func() bool { return m.token("a") != old })
	eventually(t, "the revocation of the old token", func() bool { return !m.alive(old) })
	m.wantAlive("the new token", m.token("a"), true)
}

func TestRotateWarnings(t *testing.T) {
	f := newFake(numbered(time.Hour))
	m := newFakeMount(t, f, nil)
	m.token("a")
	m.clock.advance(time.Minute)
	if a := m.rotate("a"); len(a.warnings) > 0 {
		t.Errorf("got the warnings %q, want none", a.warnings)
	}
	m.clock.advance(9 * time.Second)
	m.rotate("a").wantWarning(t, "another rotate logged in within the last 10s, and this rotate shares its token")

	m.clock.advance(time.Minute)
	m.storage.failWith(func(op, key string) error {
		if op == "put" && key == "token/a" {
			return errStorage
		}
		return nil
	})
	m.rotate("a").wantWarning(t, "the new token is served, but storage does not have it yet; the engine tries again")
	if got := m.storage.snapshot()["token/a"]; got != "" {
		t.Errorf("got the stored token %s, want none, because the old token may have leaked", got)
	}
	m.storage.failWith(nil)
	current := m.token("a")
	m.clock.advance(time.Minute)
	m.tick().want(t, http.StatusNoContent)
	eventually(t, "the token is stored", func() bool { return m.storage.snapshot()["token/a"] != "" })
	if m.restart().token("a") != current {
		t.Error("after a restart: got another token, want the token of the rotate")
	}

	m.clock.advance(time.Minute)
	f.set(minting("same-token", time.Hour))
	m.rotate("a").want(t, http.StatusOK)
	m.clock.advance(time.Minute)
	m.rotate("a").wantWarning(t, "the provider returned the same token again, so it stays in use")
}
