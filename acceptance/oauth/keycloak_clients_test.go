// SPDX-License-Identifier: MPL-2.0

package oauth

import (
	"encoding/json"
	"errors"
	"maps"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"vault-plugin-secrets-messaging/acceptance/harness"
	"vault-plugin-secrets-messaging/internal/simulator"
)

// addClient creates a client in Keycloak. It returns a config for the client, but does not write
// the config.
func (w *servers) addClient(t *testing.T, name string, settings object, fields harness.Fields) *config {
	t.Helper()
	whole := object{"clientId": name, "serviceAccountsEnabled": true, "standardFlowEnabled": false, "protocolMappers": mappers}
	maps.Copy(whole, settings)
	w.keycloak.admin(t, "POST", "/"+realm+"/clients", whole, nil)
	c := &config{w.vault, w.keycloak, name, harness.Fields{"provider": "oauth2", "client_id": name, "token_url": w.keycloak.endpoint("token")}}
	maps.Copy(c.fields, fields)
	c.deleteAfter(t)
	return c
}

// jwks returns the URL of the client's key set in Vault.
func (w *servers) jwks(name string) string { return w.vault.Addr + "/v1/messaging/jwks/" + name }

// The engine can send a client secret with special characters, in the header and in the form.
func testKeycloakClientSecret(t *testing.T, w *servers) {
	const secret = `a+b %20:&="/?~ü'`
	for _, style := range []string{"header", "body"} {
		c := w.addClient(t, "secret "+style+": 100%", object{"secret": secret}, harness.Fields{"auth_style": style, "client_secret": secret,
			"revocation_url": w.keycloak.endpoint("revoke")})
		c.name = "secret-" + style
		c.write(t, harness.Fields{"client_secret": "wrong"}).Refused(t, 400, "nothing was stored", "credentials refused", "unauthorized_client")
		c.write(t, nil).OK(t)
		first := c.activeToken(t)
		c.rotate(t).OK(t)
		w.keycloak.wantActive(t, first, false)
		w.vault.Delete(t, c.path("config")).OK(t)
	}
}

// If a write repeats the first refresh token, the engine does not use this token again. A second
// use would end the session.
func testKeycloakRefreshTokenGrant(t *testing.T, w *servers) {
	a := w.account(t)
	w.keycloak.configure(t, object{"revokeRefreshToken": true, "accessTokenLifespan": 20, "ssoSessionIdleTimeout": 60})
	consent := w.keycloak.login(t, a).ok(t)
	fields := harness.Fields{"provider": "oauth2", "client_id": client, "auth_style": "none", "grant_type": "refresh_token",
		"token_url": w.keycloak.endpoint("token"), "refresh_token": consent.RefreshToken, "refresh_window": "1h"}
	w.vault.Write(t, a.path("config"), fields).OK(t)
	token := a.token(t)
	for range 3 {
		token = a.next(t, token)
	}
	w.vault.Write(t, a.path("config"), fields).OK(t)
	a.next(t, token)
	if got := a.events(t); got["LOGIN"] != 1 || got["REFRESH_TOKEN"] < 5 || len(got) != 2 {
		t.Errorf("got events %v, want the LOGIN of the test, and at least 5 REFRESH_TOKEN", got)
	}
}

// signer creates a client that signs assertions. Keycloak fetches the public keys from Vault.
func (w *servers) signer(t *testing.T, name, kind, algorithm string) *config {
	t.Helper()
	return w.addClient(t, name, object{"clientAuthenticatorType": "client-jwt", "attributes": object{
		"use.jwks.url": "true", "jwks.url": w.jwks(name), "token.endpoint.auth.signing.alg": algorithm,
	}}, harness.Fields{"auth_style": "private_key_jwt", "generate_key": kind})
}

// A client signs assertions with a key that Keycloak has.
func testPrivateKeyOfClient(t *testing.T, w *servers) {
	for _, algorithm := range []string{"RS256", "PS256", "ES256", "ES384", "EdDSA"} {
		key, text := newKey(t, algorithm)
		set, err := json.Marshal(jose.JSONWebKeySet{Keys: []jose.JSONWebKey{{Key: key.Public(), KeyID: "key-1", Use: "sig", Algorithm: algorithm}}})
		if err != nil {
			t.Fatal(err)
		}
		c := w.addClient(t, "key-"+algorithm, object{"clientAuthenticatorType": "client-jwt", "attributes": object{
			"use.jwks.string": "true", "jwks.string": string(set), "token.endpoint.auth.signing.alg": algorithm,
		}}, harness.Fields{"auth_style": "private_key_jwt", "key_id": "key-1", "signing_algorithm": algorithm})
		_, other := newKey(t, algorithm)
		c.write(t, harness.Fields{"private_key": other}).Refused(t, 400, "nothing was stored", "credentials refused", "invalid_client")
		c.write(t, harness.Fields{"private_key": text}).OK(t)
		c.activeToken(t)
	}
}

// Keycloak fetches the engine's public keys without a Vault token.
func testSignedAssertion(t *testing.T, w *servers) {
	for kind, algorithm := range map[string]string{"rsa-2048": "RS256", "ec-p256": "ES256", "ed25519": "EdDSA"} {
		c := w.signer(t, "signer-"+kind, kind, algorithm)
		c.write(t, nil).OK(t)
		first := c.activeToken(t)
		c.rotate(t).OK(t)
		if c.activeToken(t) == first {
			t.Errorf("%s: got the same token after a rotate, want another one", kind)
		}
	}
	pss := w.signer(t, "signer-ps256", "rsa-2048", "PS256")
	pss.write(t, harness.Fields{"signing_algorithm": "PS256"}).OK(t)
	pss.activeToken(t)
	wrong := w.signer(t, "signer-wrong", "ec-p256", "RS256")
	wrong.write(t, nil).OK(t)
	wrong.creds(t).Refused(t, 400, "credentials refused", "invalid_client")
}

// Keycloak accepts a new key of the engine without a restart. An unknown key makes Keycloak fetch
// the keys again, at most once in ten seconds.
func testKeyActivated(t *testing.T, w *servers) {
	c := w.signer(t, "signer-activated", "ec-p256", "ES256")
	c.write(t, harness.Fields{"share": false}).OK(t) // each read is a mint
	c.activeToken(t)
	first := c.keyID(t)
	w.vault.Write(t, c.path("keys")+"/rotate", nil).OK(t)
	harness.Within(t, harness.Timeout, "Keycloak accepts the next key", func() error {
		w.vault.Write(t, c.path("keys")+"/activate", nil).OK(t)
		c.activeToken(t) // the engine goes back to the first key if Keycloak refuses the next one
		if c.keyID(t) == first {
			time.Sleep(time.Second)
			return errors.New("got the first key, want the next one")
		}
		return nil
	})
}

// The client gets tokens with a signed assertion (RFC 7523 §2.1). Keycloak has linked the
// assertion's subject to a user.
func testJWTAuthorizationGrant(t *testing.T, w *servers) {
	const name, issuer = "asserting", "https://vault.example.com/messaging"
	a := w.account(t)
	w.keycloak.admin(t, "POST", "/"+realm+"/identity-provider/instances", object{
		"alias": "vault", "providerId": "jwt-authorization-grant", "enabled": true,
		"config": object{"issuer": issuer, "useJwksUrl": "true", "jwksUrl": w.jwks(name), "validateSignature": "true",
			"jwtAuthorizationGrantEnabled": "true"},
	}, nil)
	w.keycloak.admin(t, "POST", "/"+realm+"/users/"+a.id+"/federated-identity/vault",
		object{"identityProvider": "vault", "userId": "acme-account", "userName": "acme-account"}, nil)
	c := w.addClient(t, name, object{"secret": "asserting-secret", "attributes": object{
		"oauth2.jwt.authorization.grant.enabled": "true", "oauth2.jwt.authorization.grant.idp": "vault",
	}}, harness.Fields{"client_secret": "asserting-secret", "grant_type": "jwt_bearer", "generate_key": "ec-p256",
		"assertion_issuer": issuer, "assertion_subject": "acme-account"})
	c.write(t, nil).OK(t)
	if got := read(t, c.activeToken(t)).Username; got != a.name {
		t.Errorf("got a token of user %q, want %q", got, a.name)
	}
	c.rotate(t).OK(t) // sends another assertion, with its own jti
	w.keycloak.admin(t, "DELETE", "/"+realm+"/users/"+a.id+"/federated-identity/vault", nil, nil)
	w.vault.Write(t, c.path("config"), harness.Fields{"verify_connection": true}).Refused(t, 400, "credentials refused", "invalid_grant", "User not found")
}

// Keycloak accepts only certificates with the expected subject (RFC 8705 §2.1).
func testX509(t *testing.T, w *servers) {
	c := w.addClient(t, "mutual", object{"clientAuthenticatorType": "client-x509", "attributes": object{"x509.subjectdn": "CN=acme"}},
		harness.Fields{"auth_style": "none", "ca_cert": string(w.keycloak.ca.PEM)})
	at := func(name string) string { return w.keycloak.secure + w.keycloak.endpoint(name)[len(w.keycloak.url):] }
	c.fields["token_url"], c.fields["revocation_url"] = at("token"), at("revoke")
	if r := c.write(t, harness.ClientCert(t, harness.NewCA(t), "acme", inAnHour)); r.Status != 400 && r.Status != 502 {
		t.Errorf("certificate from another CA: got status %d, want 400 or 502: %s", r.Status, r.Raw)
	}
	testMutualTLS(t, c, w.keycloak.ca, "client")
}

// testMutualTLS checks that the server accepts only a certificate for "acme" from the CA.
func testMutualTLS(t *testing.T, c *config, ca *simulator.CA, refusal string) {
	t.Helper()
	c.write(t, nil).Refused(t, 400, "credentials refused", refusal)
	c.write(t, harness.ClientCert(t, ca, "mallory", inAnHour)).Refused(t, 400, "credentials refused", refusal)
	c.write(t, harness.ClientCert(t, ca, "acme", inAnHour)).OK(t)
	first := c.activeToken(t)
	c.rotate(t).OK(t)
	c.server.wantActive(t, first, false) // the certificate also authenticates the revocation
	c.activeToken(t)
}
