// SPDX-License-Identifier: MPL-2.0

package acceptance

import (
	"cmp"
	"fmt"
	"testing"
	"time"

	"vault-plugin-secrets-messaging/acceptance/harness"
)

// For each way to log in, the engine sends the documented request. Two reads cause one login.
func TestProviderLogins(t *testing.T) {
	w := newWorld(t)
	for _, test := range []struct {
		account
		knobs  string // the provider's settings in the simulator
		op     string
		auth   string            // how the client authenticates
		params map[string]string // some of the request's parameters
		life   float64           // of the token in seconds, as the engine knows it; 0 means as the simulator knows it
	}{
		{account: sinch, op: "password", auth: "public"},
		{account: whatsapp, op: "app_key"},
		{account: rcs, op: "app_key"},
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
		{account: publicUser, op: "password", auth: "public"},
	} {
		t.Run(test.config, func(t *testing.T) {
			w.sim.Configure(t, forProvider(test.provider, "null"))
			w.sim.Configure(t, forProvider(test.provider, cmp.Or(test.knobs, "null")))
			before := w.sim.Logins(t, test.provider)
			w.writeConfig(t, test.account)
			first, second := w.readCreds(t, test.account), w.readCreds(t, test.account)
			w.wantLogins(t, test.account, before+1)
			if first.Text("access_token") != second.Text("access_token") || first.LeaseID == second.LeaseID {
				t.Errorf("two reads: got the lease ids %q and %q, want the same token with two leases", first.LeaseID, second.LeaseID)
			}
			if first.Text("token_type") != "Bearer" || first.Text("provider") != test.provider {
				t.Errorf("got token_type %q, provider %q, want Bearer, %s", first.Text("token_type"), first.Text("provider"), test.provider)
			}
			known := w.sim.Token(t, first.Text("access_token"))
			if known.Kind != "access" || known.Provider != test.provider {
				t.Errorf("got the token %+v, want an access token of %s", known, test.provider)
			}
			if test.life > 0 {
				known.ExpiresIn = test.life - time.Since(known.IssuedAt).Seconds()
			}
			wantLease(t, "second read", known, second)
			end, err := time.Parse(time.RFC3339, second.Text("expire_time"))
			if left := time.Until(end).Seconds(); err != nil || left > known.ExpiresIn+1 || left < known.ExpiresIn-5 {
				t.Errorf("got expire_time %q (error %v), %.1f s from now, want about %.1f s from now", second.Text("expire_time"), err, left, known.ExpiresIn)
			}
			asked := w.sim.State(t).Providers[test.provider].LastRequest
			if asked.Op != test.op || asked.ClientAuth != test.auth {
				t.Errorf("request: got %q with client authentication %q, want %q with %q", asked.Op, asked.ClientAuth, test.op, test.auth)
			}
			for name, want := range test.params {
				if asked.Params[name] != want {
					t.Errorf("parameter %s: got %q, want %q", name, asked.Params[name], want)
				}
			}
		})
	}
	w.wantNoViolations(t)
}

// The engine refuses a config with a wrong secret after one login, and stores nothing. The error
// has the provider's words.
func TestProviderRefusals(t *testing.T) {
	w := newWorld(t)
	const invalidClient = `401 Unauthorized: invalid_client "Invalid client or Invalid client credentials"`
	for _, test := range []struct {
		account
		words string
	}{
		{sinch, "Invalid user credentials"},
		{whatsapp, "invalid credentials or the account has been deactivated"},
		{rcs, "invalid credentials or the account has been deactivated"},
		{conversation, invalidClient},
		{sms, `"Authentication failed"`},
		{generic, invalidClient},
		{generic.with("body", harness.Fields{"auth_style": "body"}), invalidClient},
		{genericUser, `401 Unauthorized: invalid_grant "Invalid user credentials"`},
	} {
		t.Run(test.config, func(t *testing.T) {
			a := test.account
			before := w.sim.Logins(t, a.provider)
			wrong := a.body(w.sim, harness.Fields{a.secretField: "wrong"})
			w.Write(t, a.path(), wrong).Refused(t, 400, "nothing was stored", test.words)
			w.Read(t, a.path()).Refused(t, 404)
			if n := w.sim.Logins(t, a.provider) - before; n > 1 { // 0 if the provider refuses the client before the login
				t.Errorf("refused write: got %d logins, want at most 1", n)
			}

			// A refused update changes nothing.
			w.writeConfig(t, a)
			config, token := w.Read(t, a.path()).OK(t), w.token(t, a)
			w.Write(t, a.path(), wrong).Refused(t, 400, test.words)
			wantSameConfig(t, w.Server, a, config)
			w.wantToken(t, a, token, "after a refused write")

			// Without verification, the write succeeds. A read returns the error.
			wrong["verify_connection"] = false
			w.Write(t, a.path(), wrong).OK(t)
			w.Read(t, a.creds()).Refused(t, 400, a.config, test.words)
			w.Delete(t, a.path()).OK(t)
		})
	}
	if keys := w.List(t, "messaging/config").Keys(); len(keys) > 0 {
		t.Errorf("after the refused writes: got configs %q, want none", keys)
	}
	w.sim.Configure(t, `{"expiry_format": "absent"}`)
	for _, a := range []account{conversation, sms, generic} {
		w.Write(t, a.path(), a.body(w.sim)).Refused(t, 400, "nothing was stored", "default_ttl must be set")
	}
	for _, a := range []account{conversation, sms} {
		w.Write(t, a.path(), a.body(w.sim, harness.Fields{"revocation_url": "https://revoke.example"})).Refused(t, 400, "revocation_url", "cannot revoke tokens")
	}
	w.Write(t, generic.path(), generic.body(w.sim, harness.Fields{"token_params": "scope=all"})).Refused(t, 400, "token_params")
	w.Write(t, generic.path(), generic.body(w.sim, harness.Fields{"grant_type": "password"})).Refused(t, 400, "username")
}

// The engine uses the refresh token and does not log in again.
func TestProviderRefreshes(t *testing.T) {
	w := newWorld(t)
	w.sim.Configure(t, `{"access_ttl": 15, "refresh_ttl": 60, "refresh_tokens": true}`)
	for _, a := range []account{
		genericUser, publicUser, generic.with("body", harness.Fields{"auth_style": "body", "token_params": "audience=x"}),
	} {
		before := w.sim.State(t).Providers[a.provider]
		// The engine does not refresh a token with less than 2 s left. The engine logs in instead.
		// The long window lets a read start the refresh in time, even on a slow machine.
		w.writeConfig(t, a, harness.Fields{"refresh_window": "12s"})
		token := w.token(t, a)
		harness.Until(t, "the token is refreshed", func() bool { return w.token(t, a) != token })
		after := w.sim.State(t).Providers[a.provider]
		if logins, refreshes := after.Logins()-before.Logins(), after.RefreshesSucceeded-before.RefreshesSucceeded; logins != 1 || refreshes == 0 {
			t.Errorf("%s: got %d logins and %d refreshes, want 1 login and at least 1 refresh", a.config, logins, refreshes)
		}
		w.Delete(t, a.path()).OK(t)
	}
	w.wantNoViolations(t)
}

// A rotate revokes the old token if the config has a revocation URL. Deleting the config revokes
// the last token.
func TestProviderEndsOldTokens(t *testing.T) {
	w := newWorld(t)
	w.sim.Configure(t, `{"refresh_tokens": true}`)
	for _, a := range []account{
		sinch, generic, generic.with("body", harness.Fields{"auth_style": "body"}), genericUser, publicUser,
	} {
		for _, revocable := range []bool{true, false} {
			t.Run(fmt.Sprintf("%s revocable=%t", a.config, revocable), func(t *testing.T) {
				a := a
				if revocable {
					a = a.revocable(w.sim)
				}
				w.writeConfig(t, a)
				old := w.token(t, a)
				rotated := w.Write(t, a.rotatePath(), nil).OK(t)
				replaced := w.token(t, a)
				if replaced == old || !w.sim.Token(t, replaced).Active || len(rotated.Warnings) > 0 {
					t.Errorf("rotate: got the old token: %t, warnings %q, want a new active token and no warnings", replaced == old, rotated.Warnings)
				}
				if known := w.sim.Token(t, old); known.Active == revocable {
					t.Errorf("old token after the rotate: got %+v, want active %t", known, !revocable)
				}
				w.Delete(t, a.path()).OK(t)
				if known := w.sim.Token(t, replaced); known.Active == revocable {
					t.Errorf("token after its config was deleted: got %+v, want active %t", known, !revocable)
				}
			})
		}
	}
	w.wantNoViolations(t)
}
