// SPDX-License-Identifier: MPL-2.0

package acceptance

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"vault-plugin-secrets-messaging/acceptance/harness"
)

func TestWrongPasswordIsRefusedAtTheWrite(t *testing.T) {
	w := newWorld(t)
	words := map[string]string{
		sinch.config:    "Invalid user credentials",
		whatsapp.config: "invalid credentials or the account has been deactivated",
		rcs.config:      "invalid credentials or the account has been deactivated",
	}
	for _, a := range accounts {
		t.Run(a.provider, func(t *testing.T) {
			wrong := a.body(w.sim, harness.Fields{a.secretField: "not-the-secret"})
			w.Write(t, a.path(), wrong).Refused(t, 400, words[a.config])
			w.Read(t, a.path()).Refused(t, 404)
			if keys := w.List(t, "messaging/config").Keys(); slices.Contains(keys, a.config) {
				t.Errorf("after a refused write: got configs %q, want no %s", keys, a.config)
			}

			// an update with a wrong secret changes nothing
			w.writeConfig(t, a)
			config, token := w.Read(t, a.path()).OK(t), w.token(t, a)
			w.Write(t, a.path(), wrong).Refused(t, 400, words[a.config])
			wantSameConfig(t, w.Server, a, config)
			w.wantToken(t, a, token, "after a refused write")

			// without verification the write succeeds, and the read reports the error
			wrong["verify_connection"] = false
			w.Write(t, a.path(), wrong).OK(t)
			w.Read(t, a.creds()).Refused(t, 400, a.config, words[a.config])
			w.Delete(t, a.path()).OK(t)
		})
	}
}

func TestBadConfigsAreRefused(t *testing.T) {
	w := newWorld(t)
	for _, a := range accounts {
		w.Write(t, "messaging/config/good-"+a.config, a.body(w.sim)).OK(t)
	}
	logins := w.sim.State(t).Total

	tests := []struct {
		what   string
		of     account
		change harness.Fields
		words  []string // of the error; the first is the field
	}{
		{"missing provider", sinch, harness.Fields{"provider": nil}, []string{"provider"}},
		{"unknown provider", sinch, harness.Fields{"provider": "sinch-mars"}, []string{"provider", "list providers/"}},
		{"missing username", sinch, harness.Fields{"username": nil}, []string{"username"}},
		{"missing password", sinch, harness.Fields{"password": nil}, []string{"password"}},
		{"empty password", sinch, harness.Fields{"password": ""}, []string{"password"}},
		{"missing app id", whatsapp, harness.Fields{"app_id": nil}, []string{"app_id"}},
		{"missing app key", rcs, harness.Fields{"app_key": nil}, []string{"app_key"}},
		{"field of EnableX", sinch, harness.Fields{"app_key": "x"}, []string{"app_key", "sinch-india"}},
		{"field of Sinch", whatsapp, harness.Fields{"password": "x"}, []string{"password", "enablex-whatsapp"}},
		{"environment of Sinch", rcs, harness.Fields{"environment": "uat"}, []string{"environment"}},
		{"unknown environment", sinch, harness.Fields{"environment": "staging"}, []string{"environment", "production", "uat"}},
		{"bad duration", sinch, harness.Fields{"refresh_window": "soon"}, []string{"refresh_window", "30s"}},
		{"negative duration", sinch, harness.Fields{"min_ttl": "-5s"}, []string{"min_ttl"}},
		{"duration under a second", sinch, harness.Fields{"min_ttl": "500ms"}, []string{"min_ttl", "seconds"}},
		{"endless duration", sinch, harness.Fields{"max_ttl": "99999999999999999999s"}, []string{"max_ttl"}},
		{"bad PEM", sinch, harness.Fields{"ca_cert": "-----BEGIN NONSENSE-----"}, []string{"ca_cert", "PEM"}},
		{"http to the world", sinch, harness.Fields{"token_url": "http://auth.example.com/token"}, []string{"token_url", "https", "loopback"}},
		{"no URL", whatsapp, harness.Fields{"token_url": "auth.example.com"}, []string{"token_url", "https"}},
		{"other scheme", whatsapp, harness.Fields{"token_url": "ftp://auth.example.com/token"}, []string{"token_url", "https"}},
		{"user in the URL", rcs, harness.Fields{"token_url": "https://me:mine@auth.example.com/"}, []string{"token_url"}},
		{"map instead of a string", sinch, harness.Fields{"password": harness.Fields{"x": "hunter2"}}, []string{"password"}},
	}
	for _, tt := range tests {
		t.Run(tt.what, func(t *testing.T) {
			fields := tt.of.body(w.sim, tt.change)
			r := w.Write(t, "messaging/config/bad", fields)
			r.Refused(t, 400, tt.words...)
			if strings.Contains(r.Raw, "hunter2") || strings.Contains(r.Raw, "me:mine") {
				t.Errorf("got an error that quotes a secret: %s", r.Raw)
			}
			w.Read(t, "messaging/config/bad").Refused(t, 404)

			if slices.Contains(slices.Collect(maps.Values(tt.change)), nil) {
				return // an update may leave out a required field
			}
			good := account{config: "good-" + tt.of.config}
			before := w.Read(t, good.path()).OK(t)
			w.Write(t, good.path(), tt.change).Refused(t, 400, tt.words[0])
			wantSameConfig(t, w.Server, good, before)
		})
	}
	if keys := w.List(t, "messaging/config").OK(t).Keys(); len(keys) != len(accounts) {
		t.Errorf("after the refused writes: got configs %q, want %d", keys, len(accounts))
	}
	if got := w.sim.State(t).Total; got.Logins() != logins.Logins() {
		t.Errorf("refused writes: got %d logins, want 0", got.Logins()-logins.Logins())
	}
}

// A write that changes where secrets are sent must repeat the secrets.
func TestNewEndpointWantsTheSecretAgain(t *testing.T) {
	w := newWorld(t)
	w.writeConfig(t, sinch)
	before := w.Read(t, sinch.path()).OK(t)
	for field, value := range map[string]any{
		"token_url":   "https://auth.example.com/token",
		"environment": "uat",
	} {
		w.Write(t, sinch.path(), harness.Fields{field: value}).Refused(t, 400, field, "password")
		w.Patch(t, sinch.path(), harness.Fields{field: value}).Refused(t, 400, field, "password")
	}
	w.Patch(t, sinch.path(), harness.Fields{"token_url": nil}).Refused(t, 400, "token_url", "password")
	wantSameConfig(t, w.Server, sinch, before)
}

func TestProviderOfAConfigIsFixed(t *testing.T) {
	w := newWorld(t)
	w.writeConfig(t, whatsapp)
	before := w.Read(t, whatsapp.path()).OK(t)
	w.Write(t, whatsapp.path(), harness.Fields{"provider": "enablex-rcs"}).Refused(t, 400, "provider")
	wantSameConfig(t, w.Server, whatsapp, before)
}

func TestUpdateMerges(t *testing.T) {
	w := newWorld(t)
	w.writeConfig(t, sinch, harness.Fields{"min_ttl": "45s"})
	token := w.token(t, sinch)
	fresh := w.Read(t, sinch.path()).OK(t)

	want := func(field, value string) {
		t.Helper()
		if got := w.Read(t, sinch.path()).OK(t).Text(field); got != value {
			t.Errorf("%s: got %q, want %q", field, got, value)
		}
	}
	want("min_ttl", "45")
	w.CLI(t, "write", sinch.path(), "refresh_window=10m").OK(t)
	want("min_ttl", "45")
	want("refresh_window", "600")
	w.CLI(t, "patch", sinch.path(), "min_ttl=1m").OK(t)
	want("min_ttl", "60")
	want("refresh_window", "600")
	want("username", "acme")

	w.Patch(t, sinch.path(), harness.Fields{"min_ttl": nil}).OK(t)
	w.Write(t, sinch.path(), harness.Fields{"refresh_window": ""}).OK(t)
	want("min_ttl", "")
	want("refresh_window", "")
	w.Patch(t, sinch.path(), harness.Fields{"username": nil}).Refused(t, 400, "username")
	w.Patch(t, sinch.path(), harness.Fields{"password": ""}).Refused(t, 400, "password")
	want("token_url", fresh.Text("token_url"))

	w.wantToken(t, sinch, token, "after writes of lifetimes")
	w.wantLogins(t, sinch, 1)
}

func TestPatchOfNoConfig(t *testing.T) {
	w := newWorld(t)
	w.Patch(t, "messaging/config/none", sinch.body(w.sim)).Refused(t, 404)
	w.Read(t, "messaging/config/none").Refused(t, 404)
	if r := w.CLI(t, "patch", "messaging/config/none", "min_ttl=1m"); r.Code == 0 {
		t.Errorf("vault patch of no config: got %+v, want a failure", r)
	}
}

func TestReadShowsNoSecret(t *testing.T) {
	w := newWorld(t)
	for _, a := range accounts {
		w.writeConfig(t, a)
		r := w.Read(t, a.path()).OK(t)
		if value := fmt.Sprint(a.fields[a.secretField]); strings.Contains(r.Raw, value) {
			t.Errorf("read of %s: got the secret in %s", a.path(), r.Raw)
		}
		if !strings.Contains(r.Raw, a.secretField) || r.Text("provider") != a.provider {
			t.Errorf("read of %s: got %s, want provider %s and that %s is set", a.path(), r.Raw, a.provider, a.secretField)
		}
	}
}

func TestDeleteForgetsTheToken(t *testing.T) {
	w := newWorld(t)
	w.writeConfig(t, sinch)
	token := w.token(t, sinch)
	w.CLI(t, "delete", sinch.path()).OK(t)
	w.Read(t, sinch.creds()).Refused(t, 400, "no config", "sinch")
	w.CLI(t, "delete", sinch.path()).OK(t)

	w.writeConfig(t, sinch)
	w.wantNewToken(t, sinch, token, "after the config was deleted and written again")
}

func wantSameConfig(t *testing.T, s *harness.Server, a account, before harness.Response) {
	t.Helper()
	after := s.Read(t, a.path()).OK(t)
	if got, want := fmt.Sprint(after.Data), fmt.Sprint(before.Data); got != want {
		t.Errorf("%s after a refused write: got\n%s\nwant the unchanged config\n%s", a.path(), got, want)
	}
}
