// SPDX-License-Identifier: MPL-2.0

package acceptance

import (
	"errors"
	"fmt"
	"maps"
	"strings"
	"testing"
	"time"

	"vault-plugin-secrets-messaging/acceptance/harness"
	"vault-plugin-secrets-messaging/internal/simulator"
)

// The accounts of the providers beyond the first three.
var (
	conversation = account{"conversation", simulator.SinchConversation, "client_secret",
		harness.Fields{"client_id": "conversation-key", "client_secret": "conversation-secret"}}
	sms = account{"sms", simulator.EnableXSMS, "app_key",
		harness.Fields{"app_id": "5f0c0ffee0ddba11acce55ed", "app_key": enablexKey}}
	generic = account{"generic", simulator.OAuth2, "client_secret",
		harness.Fields{"client_id": "generic-client", "client_secret": "generic-secret"}}
	genericUser = account{"generic-user", simulator.OAuth2, "password",
		harness.Fields{"client_id": "generic-client", "client_secret": "generic-secret",
			"grant_type": "password", "username": "alice", "password": "wonderland"}}
)

// with returns the account with more fields, under a name of its own.
func (a account) with(config string, more harness.Fields) account {
	fields := maps.Clone(a.fields)
	maps.Copy(fields, more)
	return account{config, a.provider, a.secret, fields}
}

// revocationURL returns where a provider's tokens are ended.
func revocationURL(sim *harness.Simulator, provider string) string {
	return strings.TrimSuffix(sim.TokenURL(provider), "token") + "revoke"
}

// Each way of logging in: what is asked is as the provider's documentation has it,
// two reads cost one login, and the lease ends just before the token.
func TestProviderLogins(t *testing.T) {
	w := newWorld(t)
	for _, test := range []struct {
		account
		knobs  string // of the provider
		op     string
		auth   string            // how the client says who it is
		params map[string]string // of the request, among others
		life   float64           // of the lease, where it is not the token's
	}{
		{account: conversation, op: "client_credentials", auth: "header"},
		{account: sms, op: "app_key"},
		{account: sms.with("sms-text", nil), knobs: `{"expiry_format": "string", "success_status": 201}`, op: "app_key"},
		{account: generic, op: "client_credentials", auth: "header"},
		{account: generic.with("header", harness.Fields{"auth_style": "header"}), op: "client_credentials", auth: "header"},
		{account: generic.with("body", harness.Fields{"auth_style": "body"}), op: "client_credentials", auth: "body"},
		{account: generic.with("asks", harness.Fields{"scopes": []string{"read", "write"}, "token_params": harness.Fields{"audience": "https://api.example.com", "resource": "a b"}}),
			op: "client_credentials", auth: "header", params: map[string]string{"scope": "read write", "audience": "https://api.example.com", "resource": "a b"}},
		{account: generic.with("text", nil), knobs: `{"expiry_format": "string"}`, op: "client_credentials", auth: "header"},
		{account: generic.with("absent", harness.Fields{"default_ttl": "5m"}), knobs: `{"expiry_format": "absent"}`, op: "client_credentials", auth: "header", life: 300},
		{account: generic.with("both", harness.Fields{"default_ttl": "5m"}), op: "client_credentials", auth: "header"},
		{account: genericUser, op: "password", auth: "header", params: map[string]string{"username": "alice"}},
		{account: genericUser.with("user-body", harness.Fields{"auth_style": "body", "scopes": "read"}), op: "password", auth: "body", params: map[string]string{"scope": "read"}},
		{account: genericUser.with("user-public", harness.Fields{"client_id": "public-client", "client_secret": ""}), op: "password", auth: "public"},
	} {
		t.Run(test.config, func(t *testing.T) {
			w.sim.Configure(t, fmt.Sprintf(`{"providers": {%q: null}}`, test.provider))
			if test.knobs != "" {
				w.sim.Configure(t, fmt.Sprintf(`{"providers": {%q: %s}}`, test.provider, test.knobs))
			}
			before := w.sim.Logins(t, test.provider)
			w.Write(t, test.path(), test.write(w.sim)).OK(t)
			first, second := w.Read(t, test.creds()).OK(t), w.Read(t, test.creds()).OK(t)
			if n := w.sim.Logins(t, test.provider) - before; n != 1 || first.Text("access_token") != second.Text("access_token") {
				t.Errorf("%d logins for two reads, want 1 and the same token", n)
			}
			known := w.sim.Token(t, first.Text("access_token"))
			life := known.ExpiresIn
			if test.life != 0 {
				life = test.life
			}
			if short := life - float64(second.LeaseDuration); !known.Active || known.Provider != test.provider || short < 0 || short > 2 {
				t.Errorf("lease_duration is %d, %.2f s short of the life of a token %+v", second.LeaseDuration, short, known)
			}
			asked := w.sim.State(t).Providers[test.provider].LastRequest
			if asked.Op != test.op || asked.ClientAuth != test.auth {
				t.Errorf("it asked for %q, authenticated by %q", asked.Op, asked.ClientAuth)
			}
			for name, want := range test.params {
				if asked.Params[name] != want {
					t.Errorf("parameter %s is %q, want %q", name, asked.Params[name], want)
				}
			}
		})
	}
	if v := w.sim.State(t).Violations; len(v) > 0 {
		t.Errorf("requests that are not as the providers' documentation has them: %+v", v)
	}
}

// A secret that is wrong is refused with the provider's words, at one login, and
// nothing is stored.
func TestProviderRefusals(t *testing.T) {
	w := newWorld(t)
	const invalidClient = `401 Unauthorized: invalid_client "Invalid client or Invalid client credentials"`
	for _, test := range []struct {
		account
		words string
	}{
		{conversation, invalidClient},
		{sms, `"Authentication failed"`},
		{generic, invalidClient},
		{generic.with("body", harness.Fields{"auth_style": "body"}), invalidClient},
		{genericUser, `401 Unauthorized: invalid_grant "Invalid user credentials"`},
	} {
		a := test.account
		before := w.sim.Logins(t, a.provider)
		w.Write(t, a.path(), a.write(w.sim, harness.Fields{a.secret: "wrong"})).Refused(t, 400, "nothing was stored", test.words)
		w.Read(t, a.path()).Refused(t, 404)
		if n := w.sim.Logins(t, a.provider) - before; n > 1 { // a client that is refused has not come to log in
			t.Errorf("%s: %d logins", a.config, n)
		}
	}
	w.sim.Configure(t, `{"expiry_format": "absent"}`)
	for _, a := range []account{conversation, sms, generic} {
		w.Write(t, a.path(), a.write(w.sim)).Refused(t, 502, "nothing was stored", "default_ttl must be set")
	}
	for _, a := range []account{conversation, sms} {
		w.Write(t, a.path(), a.write(w.sim, harness.Fields{"revocation_url": "https://revoke.example"})).Refused(t, 400, "revocation_url", "cannot end tokens")
	}
	w.Write(t, generic.path(), generic.write(w.sim, harness.Fields{"token_params": "scope=all"})).Refused(t, 400, "token_params")
	w.Write(t, generic.path(), generic.write(w.sim, harness.Fields{"grant_type": "password"})).Refused(t, 400, "username")
}

// Where there is a refresh token it is used, and no second login made.
func TestProviderRefreshes(t *testing.T) {
	w := newWorld(t)
	w.sim.Configure(t, `{"access_ttl": 5, "refresh_ttl": 60, "refresh_tokens": true}`)
	for _, a := range []account{
		genericUser,
		genericUser.with("user-public", harness.Fields{"client_id": "public-client", "client_secret": ""}),
		generic.with("body", harness.Fields{"auth_style": "body", "token_params": "audience=x"}),
	} {
		before := w.sim.State(t).Providers[a.provider]
		w.Write(t, a.path(), a.write(w.sim)).OK(t)
		token := w.Read(t, a.creds()).OK(t).Text("access_token")
		harness.Within(t, 15*time.Second, "there is a new token", func() error {
			if w.Read(t, a.creds()).OK(t).Text("access_token") == token {
				return errors.New("it is the old one")
			}
			return nil
		})
		after := w.sim.State(t).Providers[a.provider]
		if logins, refreshes := after.Logins()-before.Logins(), after.RefreshesSucceeded-before.RefreshesSucceeded; logins != 1 || refreshes == 0 {
			t.Errorf("%s: %d logins, %d refreshes", a.config, logins, refreshes)
		}
		w.Delete(t, a.path()).OK(t)
	}
	if v := w.sim.State(t).Violations; len(v) > 0 {
		t.Errorf("requests that are not as the providers' documentation has them: %+v", v)
	}
}

// A token that is replaced, or whose config is deleted, is ended at the provider if
// the config says where, and else is left alone.
func TestProviderEndsOldTokens(t *testing.T) {
	w := newWorld(t)
	w.sim.Configure(t, `{"refresh_tokens": true}`)
	public := harness.Fields{"client_id": "public-client", "client_secret": ""}
	for _, a := range []account{
		sinch, generic, generic.with("body", harness.Fields{"auth_style": "body"}), genericUser, genericUser.with("user-public", public),
	} {
		for _, ends := range []bool{true, false} {
			t.Run(fmt.Sprintf("%s ends=%t", a.config, ends), func(t *testing.T) {
				more := harness.Fields{}
				if ends {
					more["revocation_url"] = revocationURL(w.sim, a.provider)
				}
				w.Write(t, a.path(), a.write(w.sim, more)).OK(t)
				old := w.Read(t, a.creds()).OK(t).Text("access_token")
				rotated := w.Write(t, "messaging/rotate/"+a.config, nil).OK(t)
				replaced := w.Read(t, a.creds()).OK(t).Text("access_token")
				if replaced == old || !w.sim.Token(t, replaced).Active || len(rotated.Warnings) > 0 {
					t.Errorf("it is the old token: %t; warnings %q", replaced == old, rotated.Warnings)
				}
				if known := w.sim.Token(t, old); known.Active == ends {
					t.Errorf("after the rotate the old token is %+v", known)
				}
				w.Delete(t, a.path()).OK(t)
				if known := w.sim.Token(t, replaced); known.Active == ends {
					t.Errorf("after the deletion of its config the token is %+v", known)
				}
			})
		}
	}
	if v := w.sim.State(t).Violations; len(v) > 0 {
		t.Errorf("requests that are not as the providers' documentation has them: %+v", v)
	}
}
