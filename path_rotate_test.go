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

func (m *mount) rotate(name string) answer {
	m.t.Helper()
	return m.write("rotate/"+name, nil)
}

func TestRotate(t *testing.T) {
	m := newMount(t)
	m.rotate("a").want(t, http.StatusBadRequest, `there is no config "a"`)
	m.write("config/a", m.sinch(nil)).want(t, http.StatusNoContent)
	before := m.token("a")
	m.clock.advance(time.Minute)
	a := m.rotate("a")
	a.want(t, http.StatusOK)
	if want := (fields{"provider": "sinch-india", "minted_time": "2026-11-22T08:01:00Z", "expire_time": "2026-11-22T09:01:00Z"}); !reflect.DeepEqual(a.data, want) {
		t.Errorf("%v, want %v", a.data, want)
	}
	if a.secret != nil {
		t.Error("a lease")
	}
	after := m.token("a")
	if after == before {
		t.Error("the token that leaked is still served")
	}
	// A login, not a refresh: the leaked token's session is not gone on with.
	if got := m.sim.State().Total; got.LoginsSucceeded != 2 || got.RefreshesSucceeded != 0 {
		t.Errorf("%+v", got)
	}
	if m.again().token("a") != after {
		t.Error("the old token is back after a restart")
	}
}

func TestRotatesShareAMint(t *testing.T) {
	m := newMount(t)
	m.write("config/a", m.sinch(nil)).want(t, http.StatusNoContent)
	m.token("a")
	m.clock.advance(time.Minute)
	var all sync.WaitGroup
	for range 20 {
		all.Go(func() { m.rotate("a").want(t, http.StatusOK) })
	}
	all.Wait()
	m.clock.advance(9 * time.Second)
	m.rotate("a").want(t, http.StatusOK)
	if m.logins() != 2 {
		t.Errorf("%d logins", m.logins())
	}
	m.clock.advance(2 * time.Second)
	m.rotate("a").want(t, http.StatusOK)
	if m.logins() != 3 {
		t.Errorf("%d logins", m.logins())
	}
}

func TestRotateFails(t *testing.T) {
	m := newMount(t)
	m.write("config/a", m.sinch(nil)).want(t, http.StatusNoContent)
	token := m.token("a")
	m.clock.advance(time.Minute)
	for fault, status := range map[string]int{`{"kind":"status","status":503}`: http.StatusBadGateway, `{"kind":"refuse"}`: http.StatusBadRequest} {
		m.set(`{"faults":[` + fault + `]}`)
		a := m.rotate("a")
		a.want(t, status, `config "a": `, "next attempt")
		if m.rotate("a").text != a.text {
			t.Error("a client that repeats a rotate does not get its outcome")
		}
		if m.token("a") != token {
			t.Error("the old token is not served any more")
		}
		m.clock.advance(11 * time.Second)
	}
	// A rotate forgets the failures, so it need not wait for the backoff.
	m.set(`{"faults":null}`)
	m.rotate("a").want(t, http.StatusOK)
	if m.token("a") == token {
		t.Error("the old token is still served")
	}
}

func TestRotateCold(t *testing.T) {
	m := newMount(t)
	m.write("config/a", m.sinch(nil)).want(t, http.StatusNoContent)
	token := m.token("a")
	m.clock.advance(time.Minute)
	n := m.again()
	n.rotate("a").want(t, http.StatusOK)
	if n.token("a") == token {
		t.Error("the old token is still served")
	}
}

func TestRotateTakesNoOtherOperation(t *testing.T) {
	m := newMount(t)
	for _, op := range []logical.Operation{logical.ReadOperation, logical.DeleteOperation, logical.PatchOperation, logical.ListOperation} {
		m.request(op, "rotate/a", nil).want(t, http.StatusMethodNotAllowed)
	}
}

func TestRotateSaysNothingSecret(t *testing.T) {
	m := newMount(t)
	m.write("config/a", m.sinch(nil)).want(t, http.StatusNoContent)
	m.set(`{"faults":[{"kind":"refuse"}],"echo_secrets":["raw","url","base64","json","json-twice"]}`)
	if a := m.rotate("a"); !strings.Contains(a.text, "(text withheld because it contains a secret)") {
		t.Errorf("%d %s", a.status, a.text)
	}
}
