// SPDX-License-Identifier: MPL-2.0

package providers

import (
	"crypto/ecdh"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/json"
	"testing"

	"vault-plugin-secrets-messaging/internal/secret"
)

func number(text string) json.Number { return json.Number(text) }

type parseKeyTest struct{ pem, want string }

// parseKeyTests returns keys in PEM. Each has the expected error from ParseKey, or "".
func parseKeyTests(t testing.TB) map[string]parseKeyTest {
	t.Helper()
	t.(interface{ Setenv(key, value string) }).Setenv("GODEBUG", "rsa1024min=0") // allows short keys
	keys := testKeys()
	rsaKey, p256 := keys["rsa key"].(*rsa.PrivateKey), keys["p256 key"].(*ecdsa.PrivateKey)
	sec1 := block("EC PRIVATE KEY", must(x509.MarshalECPrivateKey(p256)))
	pkcs1 := block("RSA PRIVATE KEY", x509.MarshalPKCS1PrivateKey(rsaKey))
	public := must(x509.MarshalPKIXPublicKey(rsaKey.Public()))
	short, p521 := must(rsa.GenerateKey(rand.Reader, 1024)), must(ecdsa.GenerateKey(elliptic.P521(), rand.Reader))
	x25519 := must(ecdh.X25519().GenerateKey(rand.Reader))
	return map[string]parseKeyTest{
		"PKCS 8":                    {keyPEM(rsaKey), ""},
		"PKCS 8, EC":                {keyPEM(p256), ""},
		"PKCS 8, Ed25519":           {keyPEM(keys["ed25519 key"]), ""},
		"PKCS 1":                    {pkcs1, ""},
		"SEC 1":                     {sec1, ""},
		"SEC 1 after parameters":    {block("EC PARAMETERS", []byte{6, 8}) + sec1, ""},
		"text around":               {"Bag Attributes\n" + pkcs1 + "\nend\n", ""},
		"two keys":                  {pkcs1 + sec1, "must be a single private key"},
		"public key":                {block("PUBLIC KEY", public), "is a public key; write the private key"},
		"PKCS 1 public key":         {block("RSA PUBLIC KEY", x509.MarshalPKCS1PublicKey(&rsaKey.PublicKey)), "is a public key"},
		"certificate":               {block("CERTIFICATE", testCertificate().Raw), "is a certificate"},
		"encrypted":                 {block("ENCRYPTED PRIVATE KEY", []byte{1}), "is encrypted; decrypt the key first"},
		"encrypted, PKCS 1":         {block("RSA PRIVATE KEY", []byte{1}, "Proc-Type", "4,ENCRYPTED", "DEK-Info", "AES-128-CBC,00"), "is encrypted"},
		"OpenSSH":                   {block("OPENSSH PRIVATE KEY", []byte{1}), "is in the format of OpenSSH"},
		"RSA of 1024 bits":          {keyPEM(short), "is an RSA key of 1024 bits; use a key of 2048 to 8192 bits"},
		"P-521":                     {keyPEM(p521), "is an EC key on the curve P-521; use a key on P-256 or P-384"},
		"X25519, which cannot sign": {keyPEM(x25519), "must be a private key in PEM"},
		"empty":                     {"", "must be a private key in PEM"},
		"a word":                    {"hunter2", "must be a private key in PEM"},
		"damaged":                   {block("PRIVATE KEY", []byte("damaged")), "must be a private key in PEM"},
		"another block":             {block("DSA PRIVATE KEY", []byte{1}), "must be a private key in PEM"},
	}
}

func FuzzParseKey(f *testing.F) {
	for _, test := range parseKeyTests(f) {
		f.Add(test.pem)
	}
	f.Fuzz(func(t *testing.T, text string) {
		key, err := ParseKey(secret.String(text), "id")
		if err != nil {
			if got := err.Error(); got != printable(got) || len(got) > 200 {
				t.Errorf("got the error %q, want a short one in our own words", got)
			}
			return
		}
		d := parse(t, signing)
		s := Settings{Values: values("account", "a"), Key: key}
		if _, err := d.Mint(t.Context(), testClient(t), s); err != nil {
			t.Errorf("got %v for a key that was accepted", err)
		}
	})
}
