// SPDX-License-Identifier: MPL-2.0

package messaging

import (
	"net/http"
	"reflect"
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
	// A refresh would continue the session of a token that may have leaked.
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
		m.rotate("a").want(t, status, a.text) // a client that repeats the rotate gets its result
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
