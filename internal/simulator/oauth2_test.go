// SPDX-License-Identifier: MPL-2.0

package simulator_test

import (
	"encoding/base64"
	"net/url"
	"testing"

	"vault-plugin-secrets-messaging/internal/simulator"
)

// basic returns a Basic header (RFC 6749 §2.3.1).
func basic(id, secret string) string {
	pair := url.QueryEscape(id) + ":" + url.QueryEscape(secret)
	return "Basic " + base64.StdEncoding.EncodeToString([]byte(pair))
}

// oauth sends a form. If authorization is "", there is no Authorization header.
func (r *rig) oauth(path, authorization string, params ...string) result {
	r.Helper()
	if authorization == "" {
		return r.send("POST", path, formType, form(params...))
	}
	return r.send("POST", path, formType, form(params...), "Authorization", authorization)
}

func TestConversation(t *testing.T) {
	r := newRig(t, simulator.Options{})
	auth := basic("conversation-key", "conversation-secret")
	got := r.oauth("/oauth2/token", auth, "grant_type", "client_credentials")
	r.want(got, 200, map[string]any{"expires_in": 3600.0, "token_type": "bearer", "scope": ""})
	in := r.introspect(got.str("access_token"))
	r.equal("provider", in.Provider, simulator.SinchConversation)
	r.equal("account", in.Account, "conversation-key")
	r.patch(`{"refresh_tokens": true}`) // does not apply
	r.want(r.oauth("/oauth2/token", auth, "grant_type", "client_credentials"), 200, map[string]any{"refresh_token": nil})
	refused := map[string]any{"error": "invalid_client"}
	r.want(r.oauth("/oauth2/token", basic("conversation-key", "wrong"), "grant_type", "client_credentials"), 401, refused)
	r.noViolations()
	r.want(r.oauth("/oauth2/token", "", "grant_type", "client_credentials"), 401, refused)
	r.want(r.oauth("/oauth2/token", auth, "grant_type", "password"), 400, nil)
	r.want(r.oauth("/oauth2/token", auth, "grant_type", "client_credentials", "grant_type", "x"), 400, nil)
	r.equal("violations", r.state().Total.Violations, 3)
}

func TestGenericClientAuthentication(t *testing.T) {
	r := newRig(t, simulator.Options{})
	r.patch(`{"accounts": {"odd id": {"secret": "a+b:c%d/é"}}}`)
	cc := []string{"grant_type", "client_credentials"}
	body := func(id, secret string) []string {
		return append([]string{"client_id", id, "client_secret", secret}, cc...)
	}
	for name, tt := range map[string]struct {
		authorization string
		params        []string
		status        int
		clientAuth    string
	}{
		"header":         {basic("generic-client", "generic-secret"), cc, 200, "header"},
		"body":           {"", body("generic-client", "generic-secret"), 200, "body"},
		"encoded header": {basic("odd id", "a+b:c%d/é"), cc, 200, "header"},
		"encoded body":   {"", body("odd id", "a+b:c%d/é"), 200, "body"},
		"wrong header":   {basic("generic-client", "x"), cc, 401, "header"},
		"wrong body":     {"", body("generic-client", "x"), 401, "body"},
		"both":           {basic("generic-client", "generic-secret"), body("generic-client", "generic-secret"), 400, "both"},
		"public":         {"", append([]string{"client_id", "public-client"}, cc...), 401, "public"},
		"none":           {"", cc, 401, ""},
	} {
		t.Run(name, func(t *testing.T) {
			r.T = t
			r.want(r.oauth("/generic/token", tt.authorization, tt.params...), tt.status, nil)
			r.equal("client_auth", r.state().Providers[simulator.OAuth2].LastRequest.ClientAuth, tt.clientAuth)
		})
	}
}

func TestGenericScopeAndParameters(t *testing.T) {
	r := newRig(t, simulator.Options{})
	got := r.oauth("/generic/token", "", "grant_type", "client_credentials", "client_id", "generic-client",
		"client_secret", "generic-secret", "scope", "send read", "audience", "https://api.example")
	r.want(got, 200, map[string]any{"scope": "send read", "token_type": "Bearer", "expires_in": 3600.0})
	r.equal("last request", *r.state().Providers[simulator.OAuth2].LastRequest, simulator.LastRequest{
		Path: "/generic/token", Op: "client_credentials", Account: "generic-client", ClientAuth: "body",
		Params: map[string]string{"grant_type": "client_credentials", "client_id": "generic-client",
			"scope": "send read", "audience": "https://api.example"},
	})
	r.noViolations()
}

func TestGenericPasswordAndRefresh(t *testing.T) {
	r := newRig(t, simulator.Options{})
	r.patch(`{"refresh_tokens": true}`)
	auth := basic("generic-client", "generic-secret")
	got := r.oauth("/generic/token", auth, "grant_type", "password", "username", "alice", "password", "wonderland")
	r.want(got, 200, nil)
	r.equal("account", r.introspect(got.str("access_token")).Account, "alice")
	refresh := []string{"grant_type", "refresh_token", "refresh_token", got.str("refresh_token")}
	r.want(r.oauth("/generic/token", "", append(refresh, "client_id", "public-client")...), 400,
		map[string]any{"error": "invalid_grant"}) // issued to another client
	r.want(r.oauth("/generic/token", auth, refresh...), 200, nil)

	r.want(r.oauth("/generic/token", "", "grant_type", "password", "client_id", "public-client",
		"username", "alice", "password", "wonderland"), 200, nil)
	r.want(r.oauth("/generic/token", auth, "grant_type", "password", "username", "alice", "password", "x"), 401,
		map[string]any{"error": "invalid_grant"})
	r.want(r.oauth("/generic/token", auth, "grant_type", "implicit"), 400,
		map[string]any{"error": "unsupported_grant_type"})
	r.want(r.oauth("/generic/token", auth, "grant_type", "password", "scope", "a", "scope", "b"), 400,
		map[string]any{"error": "invalid_request"})
}

func TestGenericExpiryFormats(t *testing.T) {
	r := newRig(t, simulator.Options{})
	for format, want := range map[string]any{"number": 3600.0, "string": "3600", "absent": nil} {
		r.patch(`{"expiry_format": "` + format + `"}`)
		got := r.oauth("/generic/token", basic("generic-client", "generic-secret"), "grant_type", "client_credentials")
		r.want(got, 200, map[string]any{"expires_in": want})
	}
}

func TestGenericRevocation(t *testing.T) {
	r := newRig(t, simulator.Options{})
	auth := basic("generic-client", "generic-secret")
	mint := func() string {
		return r.oauth("/generic/token", auth, "grant_type", "client_credentials").str("access_token")
	}
	token := mint()
	r.want(r.oauth("/generic/revoke", "", "token", token), 401, map[string]any{"error": "invalid_client"})
	r.want(r.oauth("/generic/revoke", "", "token", token, "client_id", "public-client"), 400,
		map[string]any{"error": "invalid_grant"})
	r.wantActive("token after another client's revocation", token, true)
	r.want(r.oauth("/generic/revoke", auth, "token", token, "token_type_hint", "access_token"), 200, nil)
	r.wantActive("revoked token", token, false)
	r.patch(`{"faults": [{"kind": "status", "on": "revoke", "count": 1}]}`)
	token = mint()
	r.want(r.oauth("/generic/revoke", auth, "token", token), 503, nil)
	r.want(r.oauth("/generic/revoke", auth, "token", token), 200, nil)
	r.want(r.oauth("/generic/revoke", auth), 400, map[string]any{"error": "invalid_request"})
	r.patch(`{"faults": [{"kind": "invalid-client", "on": "revoke"}]}`)
	r.want(r.oauth("/generic/revoke", auth, "token", token), 401, map[string]any{"error": "invalid_client"})
}
