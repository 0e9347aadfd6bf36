// SPDX-License-Identifier: MPL-2.0

package providers

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/sha512"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"math/big"
	"net/http"
	"reflect"
	"strings"
	"sync"
	"testing"
	"time"
)

// testKeys are the private keys of the cases, by name. They are made anew for each run of the
// tests.
var testKeys = sync.OnceValue(func() map[string]crypto.Signer {
	keys := map[string]crypto.Signer{}
	keep := func(name string, key crypto.Signer, err error) {
		if err != nil {
			panic(err)
		}
		keys[name] = key
	}
	rsaKey, err := rsa.GenerateKey(rand.Reader, 2048)
	keep("rsa key", rsaKey, err)
	p256, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	keep("p256 key", p256, err)
	p384, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	keep("p384 key", p384, err)
	_, ed, err := ed25519.GenerateKey(rand.Reader)
	keep("ed25519 key", ed, err)
	return keys
})

// testCertificate returns a certificate of a key, in PEM.
var testCertificate = sync.OnceValue(func() *x509.Certificate {
	key := testKeys()["rsa key"]
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotBefore: noon, NotAfter: noon.AddDate(1, 0, 0)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		panic(err)
	}
	certificate, err := x509.ParseCertificate(der)
	if err != nil {
		panic(err)
	}
	return certificate
})

// keyPEM returns a private key as PKCS #8.
func keyPEM(t testing.TB, key any) string {
	t.Helper()
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}))
}

// withTestKey returns the PEM of a test key or certificate if the text names one, and otherwise
// the text.
func withTestKey(t testing.TB, text string) string {
	t.Helper()
	if key := testKeys()[text]; key != nil {
		return keyPEM(t, key)
	}
	if text == "certificate of the rsa key" {
		return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: testCertificate().Raw}))
	}
	return text
}

// caseFile returns a case's JSON file with its private_key replaced by the test key of that
// name.
func caseFile(t testing.TB, file any) string {
	t.Helper()
	members, ok := file.(map[string]any)
	if !ok {
		t.Fatalf("got a file of the type %T, want a mapping", file)
	}
	members["private_key"] = withTestKey(t, fmt.Sprint(members["private_key"]))
	text, err := json.Marshal(members)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// wantJWT is an expected JWT. In claims, "now" is the time of the request, "now+1h" is an hour
// later, and "uuid" matches any UUID. In the header, "thumbprint" is that of the test
// certificate.
type wantJWT struct {
	Key            string // the name of the test key
	Header, Claims map[string]any
}

// check verifies a JWT's signature without the engine's JWT library, and compares the header
// and the claims exactly.
func (want wantJWT) check(t *testing.T, jwt string) {
	t.Helper()
	header, claims := verifyJWT(t, jwt, testKeys()[want.Key].Public())
	expected := map[string]any{"typ": "JWT"}
	for name, value := range want.Header {
		if expected[name] = value; value == "thumbprint" {
			sum := sha256.Sum256(testCertificate().Raw)
			expected[name] = base64.RawURLEncoding.EncodeToString(sum[:])
		}
	}
	if !reflect.DeepEqual(header, expected) {
		t.Errorf("got the header %v, want %v", header, expected)
	}
	expected = map[string]any{}
	for name, value := range want.Claims {
		text, _ := value.(string)
		if after, ok := strings.CutPrefix(text, "now"); ok {
			d, err := time.ParseDuration("0s" + strings.TrimPrefix(after, "+"))
			if err != nil {
				t.Fatal(err)
			}
			value = json.Number(fmt.Sprint(noon.Add(d).Unix()))
		}
		if id, _ := claims[name].(string); text == "uuid" && len(id) == 36 {
			value = id
		}
		expected[name] = value
	}
	if !reflect.DeepEqual(claims, expected) {
		t.Errorf("got the claims %v, want %v", claims, expected)
	}
}

// verifyJWT verifies a JWT's signature, and returns the header and the claims.
func verifyJWT(t testing.TB, jwt string, public crypto.PublicKey) (header, claims map[string]any) {
	t.Helper()
	parts := strings.Split(jwt, ".")
	if len(parts) != 3 {
		t.Fatalf("got %q, want a JWT of three parts", jwt)
	}
	decoded := make([][]byte, 3)
	for i, part := range parts {
		var err error
		if decoded[i], err = base64.RawURLEncoding.DecodeString(part); err != nil {
			t.Fatalf("part %d of %q: %v", i, jwt, err)
		}
	}
	for i, target := range []*map[string]any{&header, &claims} {
		decode := json.NewDecoder(bytes.NewReader(decoded[i]))
		decode.UseNumber()
		if err := decode.Decode(target); err != nil {
			t.Fatalf("part %d of %q: %v", i, jwt, err)
		}
	}
	if !verified(header["alg"], public, []byte(parts[0]+"."+parts[1]), decoded[2]) {
		t.Errorf("got a bad signature with the algorithm %v", header["alg"])
	}
	return header, claims
}

func verified(algorithm any, public crypto.PublicKey, text, signature []byte) bool {
	sum, sum384 := sha256.Sum256(text), sha512.Sum384(text)
	half := len(signature) / 2
	r, s := new(big.Int).SetBytes(signature[:half]), new(big.Int).SetBytes(signature[half:])
	switch key := public.(type) {
	case *rsa.PublicKey:
		if algorithm == "PS256" {
			return rsa.VerifyPSS(key, crypto.SHA256, sum[:], signature, &rsa.PSSOptions{SaltLength: rsa.PSSSaltLengthEqualsHash}) == nil
		}
		return algorithm == "RS256" && rsa.VerifyPKCS1v15(key, crypto.SHA256, sum[:], signature) == nil
	case *ecdsa.PublicKey:
		if key.Curve == elliptic.P384() {
			return algorithm == "ES384" && len(signature) == 96 && ecdsa.Verify(key, sum384[:], r, s)
		}
		return algorithm == "ES256" && len(signature) == 64 && ecdsa.Verify(key, sum[:], r, s)
	case ed25519.PublicKey:
		return algorithm == "EdDSA" && ed25519.Verify(key, text, signature)
	}
	return false
}

// runSelfSigned mints with a provider that asks no endpoint.
func (c testCase) runSelfSigned(t *testing.T, p Provider, s Settings) {
	t.Helper()
	if c.Token == nil {
		t.Fatal("got no token, want one for a provider whose tokens the engine signs")
	}
	client := testClient(t)
	client.http.Transport = transport{http.HandlerFunc(func(http.ResponseWriter, *http.Request) { t.Error("got a request, want none") })}
	got, err := p.Mint(t.Context(), client, s)
	wantToken(t, got, err, got.Access.Reveal(), c.Lifetime)
	if err == nil {
		checkToken(t, got)
		c.Token.check(t, got.Access.Reveal())
	}
}
