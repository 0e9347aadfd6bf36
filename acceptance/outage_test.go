// SPDX-License-Identifier: MPL-2.0

package acceptance

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"vault-plugin-secrets-messaging/acceptance/harness"
)

// While the provider is down the token in hand is served until 2 s before its
// end, with a warning once refreshes fail; after that reads fail, saying why and
// when the next attempt will be; and soon after the provider is back they do not.
func TestProviderIsDown(t *testing.T) {
	w := newWorld(t)
	w.sim.Configure(t, `{"access_ttl": 12}`)
	w.Write(t, sinch.path(), sinch.write(w.sim, harness.Fields{"refresh_window": "8s"})).OK(t)
	w.sim.Configure(t, `{"faults": [{"kind": "status", "status": 503}]}`)
	token := w.Read(t, sinch.creds()).OK(t).Text("access_token")

	var refused harness.Response
	warned := 0
	harness.Within(t, 20*time.Second, "the token comes to its end", func() error {
		left, refreshes := w.sim.Token(t, token).ExpiresIn, w.sim.State(t).Total.Faults
		r := w.Read(t, sinch.creds())
		switch {
		case r.Status != 200:
			refused = r
			return nil
		case r.Text("access_token") != token:
			t.Fatal("there is another token, with the provider down")
		case left < 1.9:
			t.Fatalf("the token is still served with %.1f s left", left)
		case len(r.Warnings) > 0:
			warned++
		case refreshes > 1: // the first of which has failed for sure
			t.Errorf("a read while refreshes fail has no warning: %s", r.Raw)
		}
		return errors.New("it is being served")
	})
	if left := w.sim.Token(t, token).ExpiresIn; left > 2.1 {
		t.Errorf("the token is no longer served with %.1f s left", left)
	}
	if warned == 0 {
		t.Error("no read had a warning")
	}
	refused.Refused(t, 502, "sinch", "503", "next attempt")

	w.sim.Configure(t, `{"faults": []}`)
	harness.Within(t, 10*time.Second, "reads are served again", func() error {
		return failed(w.Do("GET", sinch.creds(), nil))
	})
	if w.Read(t, sinch.creds()).OK(t).Text("access_token") == token {
		t.Error("the dead token is back")
	}
}

// A refused password is not tried again for a minute, however many ask.
func TestRefusedPasswordIsNotRepeated(t *testing.T) {
	w := newWorld(t)
	w.Write(t, sinch.path(), sinch.write(w.sim, harness.Fields{"password": "wrong", "verify_connection": false})).OK(t)
	for range 50 {
		w.Read(t, sinch.creds()).Refused(t, 400, "Invalid user credentials", "next attempt")
	}
	if n := w.sim.Logins(t, sinch.provider); n != 1 {
		t.Errorf("%d logins, want 1", n)
	}
	// a config write is a reason to try again
	w.Write(t, sinch.path(), sinch.write(w.sim)).OK(t)
	w.Read(t, sinch.creds()).OK(t)
}

// failed returns an error unless a request was answered with success.
func failed(r harness.Response, err error) error {
	if err == nil && r.Status != 200 {
		err = fmt.Errorf("status %d: %s", r.Status, r.Raw)
	}
	return err
}
