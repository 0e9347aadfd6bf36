// SPDX-License-Identifier: MPL-2.0

package oauth

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"maps"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"vault-plugin-secrets-messaging/acceptance/harness"
)

// TestOIDCProvider runs all tests with oidc-provider. These tests share the servers.
func TestOIDCProvider(t *testing.T) {
	t.Parallel()
	w := &oidcServers{oidc: startOIDCProvider(t), vault: harness.StartDev(t)}
	w.vault.InstallPlugin(t)
	for name, run := range map[string]func(*testing.T, *oidcServers){
		"ClientSecrets":       testClientSecrets,
		"OddClientSecrets":    testOddClientSecrets,
		"PrivateKeys":         testPrivateKeys,
		"ClientCertificates":  testClientCertificates,
		"SelfSigned":          testSelfSigned,
		"Revocation":          testOIDCRevocation,
		"Unshared":            testOIDCUnshared,
		"RefreshTokenRotates": testRefreshTokenRotates,
		"RefreshTokenGrant":   testRefreshTokenGrant,
		"GeneratedKey":        testGeneratedKey,
		"KeyActivated":        testKeyActivatedEarly,
		"KeyRotation":         testOIDCKeyRotation,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			run(t, w)
		})
	}
}

// oidcServers holds the servers that the subtests share.
type oidcServers struct {
	oidc  *oidcProvider
	vault *harness.Server
}

// config returns a config with the provider oauth2. It does not write the config.
func (w *oidcServers) config(t *testing.T, name, clientID string, more harness.Fields) *config {
	t.Helper()
	c := &config{w.vault, w.oidc, name, harness.Fields{"provider": "oauth2", "token_url": w.oidc.endpoint("token"), "ca_cert": string(w.oidc.ca.PEM), "client_id": clientID}}
	maps.Copy(c.fields, more)
	c.deleteAfter(t)
	return c
}

// A client sends its secret in the header or in the form. The server accepts only the registered
// way.
func testClientSecrets(t *testing.T, w *oidcServers) {
	for style, method := range map[string]string{"header": "client_secret_basic", "body": "client_secret_post"} {
		client := w.oidc.register(t, object{"token_endpoint_auth_method": method, "scope": "send read"})
		c := w.config(t, "secret-"+style, client.ID, harness.Fields{"auth_style": style, "client_secret": client.Secret, "scopes": "send,read"})
		c.write(t, harness.Fields{"client_secret": "wrong"}).Refused(t, 400, "nothing was stored", "credentials refused", "invalid_client", "client authentication failed")
		c.write(t, harness.Fields{"client_id": "nobody"}).Refused(t, 400, "credentials refused", "invalid_client")
		c.write(t, nil).OK(t)
		r := w.vault.Read(t, c.path("creds")).OK(t)
		if r.LeaseDuration < 1 || r.LeaseDuration > int(tokenTTL.Seconds()) || r.Text("token_type") != "Bearer" {
			t.Errorf("%s: got a lease of %d s and token_type %q, want at most %s and Bearer", style, r.LeaseDuration, r.Text("token_type"), tokenTTL)
		}
		if c.activeToken(t) != r.Text("access_token") {
			t.Errorf("%s: got two tokens, want one for all readers", style)
		}
	}
}

// The engine encodes special characters in client IDs and secrets (RFC 6749 §2.3.1).
func testOddClientSecrets(t *testing.T, w *oidcServers) {
	for _, style := range []string{"header", "body"} {
		c := w.config(t, "odd-"+style, "acme & sons: 100%", harness.Fields{"auth_style": style, "client_secret": `a+b %20:&="/?~'`})
		c.write(t, nil).OK(t)
		c.activeToken(t)
	}
}

// newKey returns a private key for an algorithm, and its PEM.
func newKey(t *testing.T, algorithm string) (key crypto.Signer, text string) {
	t.Helper()
	var err error
	switch algorithm {
	case "ES256":
		key, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	case "ES384":
		key, err = ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	case "EdDSA":
		_, key, err = ed25519.GenerateKey(rand.Reader)
	default:
		key, err = rsa.GenerateKey(rand.Reader, 2048)
	}
	if err != nil {
		t.Fatal(err)
	}
	return key, harness.KeyPEM(t, key)
}

// A client signs assertions with each algorithm (RFC 7523 §2.2). The server refuses assertions
// signed with another key.
func testPrivateKeys(t *testing.T, w *oidcServers) {
	for _, algorithm := range []string{"RS256", "PS256", "ES256", "ES384", "EdDSA"} {
		key, text := newKey(t, algorithm)
		client := w.oidc.register(t, object{"token_endpoint_auth_method": "private_key_jwt", "token_endpoint_auth_signing_alg": algorithm,
			"jwks": jose.JSONWebKeySet{Keys: []jose.JSONWebKey{{Key: key.Public(), KeyID: "key-1", Use: "sig"}}}})
		c := w.config(t, "key-"+algorithm, client.ID, harness.Fields{"auth_style": "private_key_jwt", "private_key": text, "key_id": "key-1", "signing_algorithm": algorithm})
		_, other := newKey(t, algorithm)
		c.write(t, harness.Fields{"private_key": other}).Refused(t, 400, "nothing was stored", "credentials refused", "invalid_client")
		w.vault.Read(t, c.path("config")).Refused(t, 404)
		c.write(t, nil).OK(t)
		first := c.activeToken(t)
		c.rotate(t).OK(t) // sends another assertion, with its own jti
		if c.activeToken(t) == first {
			t.Errorf("%s: got the same token after a rotate, want another one", algorithm)
		}
	}
}

// A client authenticates with a certificate from a CA (RFC 8705 §2.1). The server accepts only the
// registered subject.
func testClientCertificates(t *testing.T, w *oidcServers) {
	client := w.oidc.register(t, object{"token_endpoint_auth_method": "tls_client_auth", "tls_client_auth_subject_dn": "CN=acme"})
	c := w.config(t, "mutual", client.ID, harness.Fields{"auth_style": "none", "revocation_url": w.oidc.endpoint("token/revocation")})
	c.write(t, harness.ClientCert(t, harness.NewCA(t), "acme", inAnHour)).Refused(t, 400, "credentials refused", "invalid_client")
	testMutualTLS(t, c, w.oidc.ca, "invalid_client")
}

// The server accepts a registered certificate, whichever CA signed it (RFC 8705 §2.2).
func testSelfSigned(t *testing.T, w *oidcServers) {
	other := harness.NewCA(t)
	identity := harness.ClientCert(t, other, "acme", inAnHour)
	block, _ := pem.Decode([]byte(fmt.Sprint(identity["client_cert"])))
	cert, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	jwk := jose.JSONWebKey{Key: cert.PublicKey, KeyID: "key-1", Certificates: []*x509.Certificate{cert}}
	client := w.oidc.register(t, object{"token_endpoint_auth_method": "self_signed_tls_client_auth", "jwks": jose.JSONWebKeySet{Keys: []jose.JSONWebKey{jwk}}})
	c := w.config(t, "self-signed", client.ID, harness.Fields{"auth_style": "none"})
	c.write(t, harness.ClientCert(t, other, "acme", inAnHour)).Refused(t, 400, "credentials refused", "invalid_client")
	c.write(t, identity).OK(t)
	c.activeToken(t)
}

// A rotate revokes the old token (RFC 7009). Deleting the config revokes the last token.
func testOIDCRevocation(t *testing.T, w *oidcServers) {
	client := w.oidc.register(t, object{"token_endpoint_auth_method": "client_secret_basic"})
	c := w.config(t, "revoked", client.ID, harness.Fields{"client_secret": client.Secret, "revocation_url": w.oidc.endpoint("token/revocation")})
	c.write(t, nil).OK(t)
	first := c.activeToken(t)
	if r := c.rotate(t).OK(t); len(r.Warnings) > 0 {
		t.Errorf("rotate: got warnings %q, want none", r.Warnings)
	}
	w.oidc.wantActive(t, first, false)
	second := c.activeToken(t)
	if r := w.vault.Delete(t, c.path("config")).OK(t); len(r.Warnings) > 0 {
		t.Errorf("delete: got warnings %q, want none", r.Warnings)
	}
	w.oidc.wantActive(t, second, false)
}

// When a lease is revoked, the engine revokes the lease's unshared token and no other token.
func testOIDCUnshared(t *testing.T, w *oidcServers) {
	client := w.oidc.register(t, object{"token_endpoint_auth_method": "client_secret_post"})
	c := w.config(t, "unshared", client.ID, harness.Fields{"client_secret": client.Secret, "auth_style": "body", "share": false,
		"revocation_url": w.oidc.endpoint("token/revocation")})
	c.write(t, nil).OK(t)
	first, second := c.creds(t).OK(t), c.creds(t).OK(t)
	w.vault.Write(t, "sys/leases/revoke", harness.Fields{"lease_id": first.LeaseID, "sync": true}).OK(t)
	w.oidc.wantActive(t, first.Text("access_token"), false)
	w.oidc.wantActive(t, second.Text("access_token"), true)
}

// The engine uses each refresh token only once. A second use would end all tokens.
func testRefreshTokenRotates(t *testing.T, w *oidcServers) {
	client := w.oidc.register(t, object{"token_endpoint_auth_method": "client_secret_basic", "grant_types": []string{"password", "refresh_token"}})
	c := w.config(t, "rotating", client.ID, harness.Fields{"client_secret": client.Secret, "grant_type": "password",
		"username": "alice", "password": "alice-password", "refresh_window": "1h", "revocation_url": w.oidc.endpoint("token/revocation")})
	c.write(t, harness.Fields{"password": "wrong"}).Refused(t, 400, "credentials refused", "invalid_grant")
	c.write(t, nil).OK(t)
	token := c.activeToken(t)
	for range 3 {
		token = c.next(t, token)
	}
	if got := w.oidc.grants(t, client.ID); got["password"] != 1 || got["refresh_token"] < 3 {
		t.Errorf("got grants %v, want 1 login and at least 3 refreshes", got)
	}
	w.vault.Delete(t, c.path("config")).OK(t)
	w.oidc.wantActive(t, token, false)
}

// The config has no password, only a refresh token. The server accepts each refresh token only
// once.
func testRefreshTokenGrant(t *testing.T, w *oidcServers) {
	client := w.oidc.register(t, object{"token_endpoint_auth_method": "client_secret_post", "grant_types": []string{"password", "refresh_token"}})
	consent := post(t, &w.oidc.client, w.oidc.endpoint("token"), "grant_type", "password", "client_id", client.ID, "client_secret", client.Secret,
		"username", "bob", "password", "bob-password").ok(t)
	c := w.config(t, "consented", client.ID, harness.Fields{"client_secret": client.Secret, "auth_style": "body", "grant_type": "refresh_token",
		"refresh_token": consent.RefreshToken, "refresh_window": "1h"})
	c.write(t, harness.Fields{"refresh_token": "wrong"}).Refused(t, 400, "invalid_grant")
	c.write(t, nil).OK(t)
	token := c.activeToken(t)
	for range 3 {
		token = c.next(t, token)
	}
	c.write(t, nil).OK(t) // repeats the first refresh token, as Terraform does
	c.next(t, token)
	if got := w.oidc.grants(t, client.ID); got["password"] != 1 || got["refresh_token"] < 5 {
		t.Errorf("got grants %v, want no login by the engine, and at least 5 refreshes", got)
	}
}

// generated writes a config with generate_key, so the server fetches the public key from Vault.
func (w *oidcServers) generated(t *testing.T, name, kind, algorithm string) *config {
	t.Helper()
	client := w.oidc.register(t, object{"token_endpoint_auth_method": "private_key_jwt", "token_endpoint_auth_signing_alg": algorithm,
		"jwks_uri": w.vault.Addr + "/v1/messaging/jwks/" + name})
	c := w.config(t, name, client.ID, harness.Fields{"auth_style": "private_key_jwt", "generate_key": kind})
	c.write(t, nil).OK(t)
	return c
}

// The server fetches the engine's public keys without a Vault token.
func testGeneratedKey(t *testing.T, w *oidcServers) {
	for kind, algorithm := range map[string]string{"rsa-2048": "RS256", "rsa-4096": "RS256", "ec-p256": "ES256", "ed25519": "EdDSA"} {
		w.generated(t, "generated-"+kind, kind, algorithm).token(t)
	}
}

// The server caches public keys for 5 minutes, so it refuses a new key. The engine uses the
// previous key again, and the mint succeeds.
func testKeyActivatedEarly(t *testing.T, w *oidcServers) {
	c := w.generated(t, "activated", "ec-p256", "ES256")
	first := c.activeToken(t)
	previous := c.keyID(t)
	w.vault.Write(t, c.path("keys")+"/rotate", nil).OK(t)
	if got := w.vault.Write(t, c.path("keys")+"/activate", nil).OK(t).Text("key_id"); got == previous {
		t.Fatal("activate: got the previous key, want the next one")
	}
	c.rotate(t).OK(t)
	if c.activeToken(t) == first {
		t.Error("rotate: got the first token, want a new one")
	}
	if got := c.keyID(t); got != previous {
		t.Errorf("after the server refused the next key: got key %s, want the previous key %s", got, previous)
	}
}

// The server caches public keys. The engine uses the new key only after the server knows this key,
// so no read fails.
func testOIDCKeyRotation(t *testing.T, w *oidcServers) {
	c := w.generated(t, "rotated-key", "ec-p256", "ES256")
	c.activeToken(t)
	const cacheTime = 5 * time.Minute
	began := time.Now()
	next, ok := w.vault.Write(t, c.path("keys")+"/rotate", nil).OK(t).Data["next"].(map[string]any)
	if !ok {
		t.Fatal("rotate: got no next key, want one")
	}
	harness.Within(t, cacheTime+time.Minute, "the engine adopts the next key", func() error {
		c.activeToken(t)
		if got := c.keyID(t); got != next["key_id"] {
			time.Sleep(time.Second)
			return fmt.Errorf("got key %s, want %v", got, next["key_id"])
		}
		return nil
	})
	if took := time.Since(began); took < cacheTime-time.Second {
		t.Errorf("got the next key after %s, want at least %s", took, cacheTime)
	}
	c.activeToken(t)
	c.wantNoFailures(t)
}
