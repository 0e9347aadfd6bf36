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
			wrong := a.write(w.sim, harness.Fields{a.secret: "not-the-secret"})
			w.Write(t, a.path(), wrong).Refused(t, 400, words[a.config])
			w.Read(t, a.path()).Refused(t, 404)
			if keys := w.List(t, "messaging/config").Keys(); slices.Contains(keys, a.config) {
				t.Errorf("it was stored: %q", keys)
			}

			// an update with a wrong secret leaves all as it was
			w.Write(t, a.path(), a.write(w.sim)).OK(t)
			config, token := w.Read(t, a.path()).OK(t), w.Read(t, a.creds()).OK(t).Text("access_token")
			w.Write(t, a.path(), wrong).Refused(t, 400, words[a.config])
			wantSameConfig(t, w.Server, a, config)
			if w.Read(t, a.creds()).OK(t).Text("access_token") != token {
				t.Error("a refused write cost the account its token")
			}

			// without the check the write is taken, and the read says what is wrong
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
		w.Write(t, "messaging/config/good-"+a.config, a.write(w.sim)).OK(t)
	}
	logins := w.sim.State(t).Total

	tests := []struct {
		what   string
		of     account
		change harness.Fields
		words  []string // the field, and what would be right
	}{
		{"unknown provider", sinch, harness.Fields{"provider": "sinch-mars"}, []string{"provider", "sinch-india", "enablex-rcs"}},
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
		{"a map for a text", sinch, harness.Fields{"password": harness.Fields{"x": "hunter2"}}, []string{"password"}},
	}
	for _, tt := range tests {
		t.Run(tt.what, func(t *testing.T) {
			fields := tt.of.write(w.sim, tt.change)
			r := w.Write(t, "messaging/config/bad", fields)
			r.Refused(t, 400, tt.words...)
			if strings.Contains(r.Raw, "hunter2") || strings.Contains(r.Raw, "me:mine") {
				t.Errorf("the error quotes a secret: %s", r.Raw)
			}
			w.Read(t, "messaging/config/bad").Refused(t, 404)

			if slices.Contains(slices.Collect(maps.Values(tt.change)), nil) {
				return // what is not named stays: an update without it is fine
			}
			good := account{config: "good-" + tt.of.config}
			before := w.Read(t, good.path()).OK(t)
			w.Write(t, good.path(), tt.change).Refused(t, 400, tt.words[0])
			wantSameConfig(t, w.Server, good, before)
		})
	}
	if keys := w.List(t, "messaging/config").OK(t).Keys(); len(keys) != len(accounts) {
		t.Errorf("stored are %q", keys)
	}
	if got := w.sim.State(t).Total; got.Logins() != logins.Logins() {
		t.Errorf("refused writes made %d logins", got.Logins()-logins.Logins())
	}
}

func TestMissingProvider(t *testing.T) {
	w := newWorld(t)
	w.Write(t, "messaging/config/bad", harness.Fields{"username": "acme", "password": "x"}).Refused(t, 400, "provider")
	w.Read(t, "messaging/config/bad").Refused(t, 404)
}

// Whoever may change where a secret is sent must know the secret.
func TestNewEndpointWantsTheSecretAgain(t *testing.T) {
	w := newWorld(t)
	w.Write(t, sinch.path(), sinch.write(w.sim)).OK(t)
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
	w.Write(t, whatsapp.path(), whatsapp.write(w.sim)).OK(t)
	before := w.Read(t, whatsapp.path()).OK(t)
	w.Write(t, whatsapp.path(), harness.Fields{"provider": "enablex-rcs"}).Refused(t, 400, "provider")
	wantSameConfig(t, w.Server, whatsapp, before)
}

func TestUpdateMerges(t *testing.T) {
	w := newWorld(t)
	w.Write(t, sinch.path(), sinch.write(w.sim, harness.Fields{"min_ttl": "45s"})).OK(t)
	token := w.Read(t, sinch.creds()).OK(t).Text("access_token")
	fresh := w.Read(t, sinch.path()).OK(t)

	want := func(field, value string) {
		t.Helper()
		if got := w.Read(t, sinch.path()).OK(t).Text(field); got != value {
			t.Errorf("%s is %q, want %q", field, got, value)
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

	if w.Read(t, sinch.creds()).OK(t).Text("access_token") != token || w.sim.Logins(t, sinch.provider) != 1 {
		t.Error("writes of lifetimes cost the account its token")
	}
}

func TestPatchOfNoConfig(t *testing.T) {
	w := newWorld(t)
	w.Patch(t, "messaging/config/none", sinch.write(w.sim)).Refused(t, 404)
	w.Read(t, "messaging/config/none").Refused(t, 404)
	if r := w.CLI(t, "patch", "messaging/config/none", "min_ttl=1m"); r.Code == 0 {
		t.Errorf("vault patch: %+v", r)
	}
}

func TestReadShowsNoSecret(t *testing.T) {
	w := newWorld(t)
	for _, a := range accounts {
		w.Write(t, a.path(), a.write(w.sim)).OK(t)
		r := w.Read(t, a.path()).OK(t)
		if value := fmt.Sprint(a.fields[a.secret]); strings.Contains(r.Raw, value) {
			t.Errorf("the secret is in %s", r.Raw)
		}
		if !strings.Contains(r.Raw, a.secret) {
			t.Errorf("it does not say that %s is set: %s", a.secret, r.Raw)
		}
		if r.Text("provider") != a.provider {
			t.Errorf("provider %q", r.Text("provider"))
		}
	}
}

func TestDeleteForgetsTheToken(t *testing.T) {
	w := newWorld(t)
	w.Write(t, sinch.path(), sinch.write(w.sim)).OK(t)
	token := w.Read(t, sinch.creds()).OK(t).Text("access_token")
	w.CLI(t, "delete", sinch.path()).OK(t)
	w.Read(t, sinch.creds()).Refused(t, 400, "no config", "sinch")
	w.CLI(t, "delete", sinch.path()).OK(t)

	w.Write(t, sinch.path(), sinch.write(w.sim)).OK(t)
	if w.Read(t, sinch.creds()).OK(t).Text("access_token") == token {
		t.Error("the token outlived its config")
	}
}

func wantSameConfig(t *testing.T, s *harness.Server, a account, before harness.Response) {
	t.Helper()
	after := s.Read(t, a.path()).OK(t)
	if got, want := fmt.Sprint(after.Data), fmt.Sprint(before.Data); got != want {
		t.Errorf("the config was\n%s\nand is\n%s", want, got)
	}
}
