// SPDX-License-Identifier: MPL-2.0

package acceptance

import (
	"fmt"
	"strings"
	"testing"

	"vault-plugin-secrets-messaging/acceptance/harness"
)

// A write that changes the token endpoint must repeat the secrets.
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
