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
	"vault-plugin-secrets-messaging/internal/simulator"
)

// TestOIDCProvider runs all tests with oidc-provider as subtests, which share the two servers.
func TestOIDCProvider(t *testing.T) {
	t.Parallel()
	w := &oidcServers{oidc: startOIDCProvider(t), vault: harness.StartDev(t)}
	w.vault.InstallPlugin(t)
	for name, run := range map[string]func(*testing.T, *oidcServers){
		"ClientSecrets":       testClientSecrets,
		"OddClientSecrets":    testOddClientSecrets,
		"PrivateKeys":         testPrivateKeys,
		"PrivateKeyUnknown":   testPrivateKeyUnknown,
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

// config is a config of the provider oauth2 at an oidc-provider.
type config struct {
	*oidcServers
	name   string
	fields harness.Fields
}

// config returns a config, which the test writes itself.
func (w *oidcServers) config(t *testing.T, name, clientID string, more harness.Fields) *config {
	t.Helper()
	c := &config{w, name, harness.Fields{"provider": "oauth2", "token_url": w.oidc.endpoint("token"), "ca_cert": string(w.oidc.ca.PEM), "client_id": clientID}}
	maps.Copy(c.fields, more)
	t.Cleanup(func() { w.vault.Delete(t, c.path()) }) // ends the background refreshes
	return c
}

func (c *config) path() string  { return "messaging/config/" + c.name }
func (c *config) creds() string { return "messaging/creds/" + c.name }

// write writes the config with further fields.
func (c *config) write(t *testing.T, more harness.Fields) harness.Response {
	t.Helper()
	fields := maps.Clone(c.fields)
	maps.Copy(fields, more)
	return c.vault.Write(t, c.path(), fields)
}

// token reads creds, and fails the test unless the token is active.
func (c *config) token(t *testing.T) string {
	t.Helper()
	token := c.vault.Read(t, c.creds()).OK(t).Text("access_token")
	c.oidc.wantActive(t, token, true)
	return token
}

// next reads creds until the token differs from old.
func (c *config) next(t *testing.T, old string) (token string) {
	t.Helper()
	harness.Until(t, "creds return the next token", func() bool {
		token = c.token(t)
		return token != old
	})
	return token
}

// A client authenticates with its secret in the header or in the form, as the server has registered it.
func testClientSecrets(t *testing.T, w *oidcServers) {
	for style, method := range map[string]string{"header": "client_secret_basic", "body": "client_secret_post"} {
		client := w.oidc.register(t, object{"token_endpoint_auth_method": method, "scope": "send read"})
		c := w.config(t, "secret-"+style, client.ID, harness.Fields{"auth_style": style, "client_secret": client.Secret, "scopes": "send,read"})
		c.write(t, harness.Fields{"client_secret": "wrong"}).Refused(t, 400, "nothing was stored", "credentials refused", "invalid_client", "client authentication failed")
		c.write(t, harness.Fields{"client_id": "nobody"}).Refused(t, 400, "credentials refused", "invalid_client")
		c.write(t, nil).OK(t)
		r := w.vault.Read(t, c.creds()).OK(t)
		if r.LeaseDuration < 1 || r.LeaseDuration > int(tokenTTL.Seconds()) || r.Text("token_type") != "Bearer" {
			t.Errorf("%s: got a lease of %d s and token_type %q, want at most %s and Bearer", style, r.LeaseDuration, r.Text("token_type"), tokenTTL)
		}
		if c.token(t) != r.Text("access_token") {
			t.Errorf("%s: got two tokens, want one for all readers", style)
		}
	}
}

// Client IDs and secrets with odd characters are encoded as RFC 6749 §2.3.1 says.
func testOddClientSecrets(t *testing.T, w *oidcServers) {
	for _, style := range []string{"header", "body"} {
		c := w.config(t, "odd-"+style, "acme & sons: 100%", harness.Fields{"auth_style": style, "client_secret": `a+b %20:&="/?~'`})
		c.write(t, nil).OK(t)
		c.token(t)
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
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return key, string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}))
}

// A client signs assertions with each algorithm (RFC 7523 §2.2). The server has the public key.
func testPrivateKeys(t *testing.T, w *oidcServers) {
	for _, algorithm := range []string{"RS256", "PS256", "ES256", "ES384", "EdDSA"} {
		key, text := newKey(t, algorithm)
		client := w.oidc.register(t, object{"token_endpoint_auth_method": "private_key_jwt", "token_endpoint_auth_signing_alg": algorithm,
			"jwks": jose.JSONWebKeySet{Keys: []jose.JSONWebKey{{Key: key.Public(), KeyID: "key-1", Use: "sig"}}}})
		c := w.config(t, "key-"+algorithm, client.ID, harness.Fields{"auth_style": "private_key_jwt", "private_key": text, "key_id": "key-1", "signing_algorithm": algorithm})
		c.write(t, nil).OK(t)
		first := c.token(t)
		w.vault.Write(t, "messaging/rotate/"+c.name, nil).OK(t) // another assertion, with its own jti
		if c.token(t) == first {
			t.Errorf("%s: got the same token after a rotate, want another one", algorithm)
		}
	}
}

// If the server has another key, the write says so, and stores nothing.
func testPrivateKeyUnknown(t *testing.T, w *oidcServers) {
	key, _ := newKey(t, "ES256")
	_, other := newKey(t, "ES256")
	client := w.oidc.register(t, object{"token_endpoint_auth_method": "private_key_jwt", "token_endpoint_auth_signing_alg": "ES256",
		"jwks": jose.JSONWebKeySet{Keys: []jose.JSONWebKey{{Key: key.Public(), KeyID: "key-1", Use: "sig"}}}})
	c := w.config(t, "key-unknown", client.ID, harness.Fields{"auth_style": "private_key_jwt", "private_key": other, "key_id": "key-1"})
	c.write(t, nil).Refused(t, 400, "nothing was stored", "credentials refused", "invalid_client")
	w.vault.Read(t, c.path()).Refused(t, 404)
}

// A client authenticates with a certificate that a CA issued, and sends only its client ID (RFC 8705
// §2.1). The certificate must have the subject that is registered at the server.
func testClientCertificates(t *testing.T, w *oidcServers) {
	client := w.oidc.register(t, object{"token_endpoint_auth_method": "tls_client_auth", "tls_client_auth_subject_dn": "CN=acme"})
	c := w.config(t, "mutual", client.ID, harness.Fields{"auth_style": "none", "revocation_url": w.oidc.endpoint("token/revocation")})
	c.write(t, nil).Refused(t, 400, "credentials refused", "invalid_client")
	c.write(t, clientCert(t, w.oidc.ca, "mallory")).Refused(t, 400, "credentials refused", "invalid_client")
	other, err := simulator.NewCA(time.Now())
	if err != nil {
		t.Fatal(err)
	}
	c.write(t, clientCert(t, other, "acme")).Refused(t, 400, "credentials refused", "invalid_client")

	c.write(t, clientCert(t, w.oidc.ca, "acme")).OK(t)
	first := c.token(t)
	w.vault.Write(t, "messaging/rotate/"+c.name, nil).OK(t)
	w.oidc.wantActive(t, first, false) // the certificate authenticates the revocation too
	c.token(t)
}

func clientCert(t *testing.T, ca *simulator.CA, name string) harness.Fields {
	t.Helper()
	cert, key, err := ca.Client(name, time.Now().Add(-time.Hour), time.Now().Add(time.Hour))
	if err != nil {
		t.Fatal(err)
	}
	return harness.Fields{"client_cert": string(cert), "client_key": string(key)}
}

// A certificate that the server has registered authenticates a client, whoever signed it (RFC 8705
// §2.2).
func testSelfSigned(t *testing.T, w *oidcServers) {
	other, err := simulator.NewCA(time.Now())
	if err != nil {
		t.Fatal(err)
	}
	identity := clientCert(t, other, "acme")
	block, _ := pem.Decode([]byte(fmt.Sprint(identity["client_cert"])))
	cert, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	jwk := jose.JSONWebKey{Key: cert.PublicKey, KeyID: "key-1", Certificates: []*x509.Certificate{cert}}
	client := w.oidc.register(t, object{"token_endpoint_auth_method": "self_signed_tls_client_auth", "jwks": jose.JSONWebKeySet{Keys: []jose.JSONWebKey{jwk}}})
	c := w.config(t, "self-signed", client.ID, harness.Fields{"auth_style": "none"})
	c.write(t, clientCert(t, other, "acme")).Refused(t, 400, "credentials refused", "invalid_client")
	c.write(t, identity).OK(t)
	c.token(t)
}

// A rotate and the deletion of a config revoke the token (RFC 7009).
func testOIDCRevocation(t *testing.T, w *oidcServers) {
	client := w.oidc.register(t, object{"token_endpoint_auth_method": "client_secret_basic"})
	c := w.config(t, "revoked", client.ID, harness.Fields{"client_secret": client.Secret, "revocation_url": w.oidc.endpoint("token/revocation")})
	c.write(t, nil).OK(t)
	first := c.token(t)
	if r := w.vault.Write(t, "messaging/rotate/"+c.name, nil).OK(t); len(r.Warnings) > 0 {
		t.Errorf("rotate: got warnings %q, want none", r.Warnings)
	}
	w.oidc.wantActive(t, first, false)
	second := c.token(t)
	if r := w.vault.Delete(t, c.path()).OK(t); len(r.Warnings) > 0 {
		t.Errorf("delete: got warnings %q, want none", r.Warnings)
	}
	w.oidc.wantActive(t, second, false)
}

// Revoking the lease of an unshared token revokes this token and no other.
func testOIDCUnshared(t *testing.T, w *oidcServers) {
	client := w.oidc.register(t, object{"token_endpoint_auth_method": "client_secret_post"})
	c := w.config(t, "unshared", client.ID, harness.Fields{"client_secret": client.Secret, "auth_style": "body", "share": false,
		"revocation_url": w.oidc.endpoint("token/revocation")})
	c.write(t, nil).OK(t)
	first, second := w.vault.Read(t, c.creds()).OK(t), w.vault.Read(t, c.creds()).OK(t)
	w.vault.Write(t, "sys/leases/revoke", harness.Fields{"lease_id": first.LeaseID, "sync": true}).OK(t)
	w.oidc.wantActive(t, first.Text("access_token"), false)
	w.oidc.wantActive(t, second.Text("access_token"), true)
}

// The server accepts each refresh token once, and a second use ends all tokens of the session. The
// engine uses each of them once, and logs in once.
func testRefreshTokenRotates(t *testing.T, w *oidcServers) {
	client := w.oidc.register(t, object{"token_endpoint_auth_method": "client_secret_basic", "grant_types": []string{"password", "refresh_token"}})
	c := w.config(t, "rotating", client.ID, harness.Fields{"client_secret": client.Secret, "grant_type": "password",
		"username": "alice", "password": "alice-password", "refresh_window": "1h", "revocation_url": w.oidc.endpoint("token/revocation")})
	c.write(t, harness.Fields{"password": "wrong"}).Refused(t, 400, "credentials refused", "invalid_grant")
	c.write(t, nil).OK(t)
	token := c.token(t)
	for range 3 {
		token = c.next(t, token)
	}
	if got := w.oidc.grants(t, client.ID); got["password"] != 1 || got["refresh_token"] < 3 {
		t.Errorf("got grants %v, want 1 login and at least 3 refreshes", got)
	}
	w.vault.Delete(t, c.path()).OK(t)
	w.oidc.wantActive(t, token, false)
}

// A refresh token is the only credential. Each use brings the next one, and a second use of any of them
// would end them all. A crash of the plugin between two uses loses none.
func testRefreshTokenGrant(t *testing.T, w *oidcServers) {
	client := w.oidc.register(t, object{"token_endpoint_auth_method": "client_secret_post", "grant_types": []string{"password", "refresh_token"}})
	consent := post(t, &w.oidc.client, w.oidc.endpoint("token"), "grant_type", "password", "client_id", client.ID, "client_secret", client.Secret,
		"username", "bob", "password", "bob-password").want(t, 200, "", "")
	c := w.config(t, "consented", client.ID, harness.Fields{"client_secret": client.Secret, "auth_style": "body", "grant_type": "refresh_token",
		"refresh_token": consent.RefreshToken, "refresh_window": "1h"})
	c.write(t, harness.Fields{"refresh_token": "wrong"}).Refused(t, 400, "invalid_grant")
	c.write(t, nil).OK(t)
	token := c.token(t)
	for range 3 {
		token = c.next(t, token)
	}
	c.write(t, nil).OK(t) // repeats the refresh token that was spent first, as Terraform does
	c.next(t, token)
	if got := w.oidc.grants(t, client.ID); got["password"] != 1 || got["refresh_token"] < 5 {
		t.Errorf("got grants %v, want no login by the engine, and at least 5 refreshes", got)
	}
}

// generated writes a config whose key the engine makes and the server fetches from Vault.
func (w *oidcServers) generated(t *testing.T, name, kind, algorithm string) *config {
	t.Helper()
	client := w.oidc.register(t, object{"token_endpoint_auth_method": "private_key_jwt", "token_endpoint_auth_signing_alg": algorithm,
		"jwks_uri": w.vault.Addr + "/v1/messaging/jwks/" + name})
	c := w.config(t, name, client.ID, harness.Fields{"auth_style": "private_key_jwt", "generate_key": kind})
	c.write(t, nil).OK(t)
	return c
}

// The server fetches the public key of each kind from Vault, without a Vault token.
func testGeneratedKey(t *testing.T, w *oidcServers) {
	for kind, algorithm := range map[string]string{"rsa-2048": "RS256", "rsa-4096": "RS256", "ec-p256": "ES256", "ed25519": "EdDSA"} {
		w.generated(t, "generated-"+kind, kind, algorithm).token(t)
	}
}

// The server caches the key set for 5 minutes, so it refuses a key that is activated at once. The
// engine then steps back to the previous key, and the mint succeeds.
func testKeyActivatedEarly(t *testing.T, w *oidcServers) {
	c := w.generated(t, "activated", "ec-p256", "ES256")
	first := c.token(t)
	keys := "messaging/keys/" + c.name
	previous := w.vault.Read(t, keys).OK(t).Text("key_id")
	w.vault.Write(t, keys+"/rotate", nil).OK(t)
	if got := w.vault.Write(t, keys+"/activate", nil).OK(t).Text("key_id"); got == previous {
		t.Fatal("activate: got the previous key, want the next one")
	}
	w.vault.Write(t, "messaging/rotate/"+c.name, nil).OK(t)
	if c.token(t) == first {
		t.Error("rotate: got the first token, want a new one")
	}
	if got := w.vault.Read(t, keys).OK(t).Text("key_id"); got != previous {
		t.Errorf("after the server refused the next key: got key %s, want the previous key %s", got, previous)
	}
}

// The server learns of the next key when its cache ends, and the engine then adopts the key.
func testOIDCKeyRotation(t *testing.T, w *oidcServers) {
	c := w.generated(t, "rotated-key", "ec-p256", "ES256")
	c.token(t)
	wantKeyRotation(t, w.vault, c.name, func() { c.token(t) })
}
