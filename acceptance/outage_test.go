// SPDX-License-Identifier: MPL-2.0

package acceptance

import (
	"errors"
	"testing"
	"time"

	"vault-plugin-secrets-messaging/acceptance/harness"
)

// While the provider is down, reads return the cached token until 2 s before the token's end. After
// the first failed refresh, reads also return a warning. After the outage, reads soon succeed.
func TestProviderIsDown(t *testing.T) {
	w := newWorld(t)
	w.sim.Configure(t, `{"access_ttl": 12}`)
	w.writeConfig(t, sinch, harness.Fields{"refresh_window": "8s"})
	w.sim.Configure(t, `{"faults": [{"kind": "status", "status": 503}]}`)
	token := w.token(t, sinch)

	var refused harness.Response
	warned := 0
	harness.Within(t, 20*time.Second, "a read fails", func() error {
		left, refreshes := w.sim.Token(t, token).ExpiresIn, w.sim.State(t).Total.Faults
		r := w.Read(t, sinch.creds())
		switch {
		case r.Status != 200:
			refused = r
			return nil
		case r.Text("access_token") != token:
			t.Fatal("read while the provider is down: got another token, want the cached one")
		case left < 1.9:
			t.Fatalf("read %.1f s before the token's end: got the token, want an error", left)
		case len(r.Warnings) > 0:
			warned++
		case refreshes > 1: // at least the first refresh has failed
			t.Errorf("read while refreshes fail: got no warning, want one: %s", r.Raw)
		}
		return errors.New("the token is still served")
	})
	// The engine stops serving a token 2 s before the token's end, or earlier. Rounding costs up to
	// 1 s. A slow login costs more, because the engine counts the lifetime from its request.
	if left := w.sim.Token(t, token).ExpiresIn; left > 5 {
		t.Errorf("read %.1f s before the token's end: got an error, want the token", left)
	}
	if warned == 0 {
		t.Error("reads while refreshes fail: got no warning, want at least one")
	}
	refused.Refused(t, 502, "sinch", "503", "next attempt")

	w.sim.Configure(t, `{"faults": []}`)
	// After four failures, the backoff lasts up to 8 s.
	harness.Within(t, 20*time.Second, "reads are served again", func() error {
		return failed(w.Do("GET", sinch.creds(), nil))
	})
	w.wantNewToken(t, sinch, token, "after the outage")
}

// After a refused password, the engine waits a minute before the next login, even with many
// readers.
func TestRefusedPasswordIsNotRepeated(t *testing.T) {
	w := newWorld(t)
	w.writeConfig(t, sinch, harness.Fields{"password": "wrong", "verify_connection": false})
	for range 50 {
		w.Read(t, sinch.creds()).Refused(t, 400, "Invalid user credentials", "next attempt")
	}
	w.wantLogins(t, sinch, 1)
	// a config write ends the backoff
	w.writeConfig(t, sinch)
	w.readCreds(t, sinch)
}
