// SPDX-License-Identifier: MPL-2.0

package acceptance

import (
	"encoding/json"
	"testing"

	"vault-plugin-secrets-messaging/acceptance/harness"
)

func TestPolicyOfAnApp(t *testing.T) {
	w := newWorld(t)
	for _, a := range accounts {
		w.writeConfig(t, a)
	}
	app := w.As(w.AppToken(t, sinchPolicy))

	app.Read(t, "messaging/creds/sinch").OK(t)
	for _, path := range []string{"messaging/creds/whatsapp", "messaging/creds/rcs", "messaging/config/sinch", "messaging/providers/sinch-india"} {
		app.Read(t, path).Refused(t, 403, "permission denied")
	}
	for _, path := range []string{"messaging/config", "messaging/providers"} {
		app.List(t, path).Refused(t, 403, "permission denied")
	}
	app.Write(t, "messaging/config/sinch", sinch.body(w.sim)).Refused(t, 403, "permission denied")
	app.Patch(t, "messaging/config/sinch", harness.Fields{"min_ttl": "10s"}).Refused(t, 403, "permission denied")
	app.Delete(t, "messaging/config/sinch").Refused(t, 403, "permission denied")
}

func TestResponseWrapping(t *testing.T) {
	w := newWorld(t)
	w.writeConfig(t, sinch)
	token := w.token(t, sinch)

	wrapping := w.CLI(t, "read", "-wrap-ttl=60s", "-field=wrapping_token", sinch.creds()).OK(t).Stdout
	out := w.CLI(t, "unwrap", "-format=json", wrapping).OK(t).Stdout
	var unwrapped harness.Response
	if err := json.Unmarshal([]byte(out), &unwrapped); err != nil {
		t.Fatal(err)
	}
	if unwrapped.Text("access_token") != token {
		t.Error("unwrapped response: got another token, want that of the read before")
	}
	if unwrapped.LeaseID == "" || unwrapped.LeaseDuration == 0 {
		t.Errorf("unwrapped response: got lease %q of %d s, want a lease", unwrapped.LeaseID, unwrapped.LeaseDuration)
	}
	if w.CLI(t, "unwrap", wrapping).Code == 0 {
		t.Error("second unwrap: got success, want a failure")
	}
}
