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

// testKeys are private keys by name. Each run of the tests makes new keys.
var testKeys = sync.OnceValue(func() map[string]crypto.Signer {
	_, ed, err := ed25519.GenerateKey(rand.Reader)
	return map[string]crypto.Signer{
		"rsa key":     must(rsa.GenerateKey(rand.Reader, 2048)),
		"p256 key":    must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader)),
		"p384 key":    must(ecdsa.GenerateKey(elliptic.P384(), rand.Reader)),
		"ed25519 key": must(ed, err),
	}
})

// testCertificate is the certificate of the RSA key.
var testCertificate = sync.OnceValue(func() *x509.Certificate {
	key := testKeys()["rsa key"]
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotBefore: noon, NotAfter: noon.AddDate(1, 0, 0)}
	return must(x509.ParseCertificate(must(x509.CreateCertificate(rand.Reader, template, template, key.Public(), key))))
})

// block returns a PEM block. The parameter headers has pairs of name and value.
func block(kind string, der []byte, headers ...string) string {
	b := &pem.Block{Type: kind, Bytes: der, Headers: map[string]string{}}
	for i := 0; i+1 < len(headers); i += 2 {
		b.Headers[headers[i]] = headers[i+1]
	}
	return string(pem.EncodeToMemory(b))
}

// keyPEM returns a private key as PKCS #8.
func keyPEM(key any) string { return block("PRIVATE KEY", must(x509.MarshalPKCS8PrivateKey(key))) }

// withTestKey replaces the name of a test key or certificate with the PEM.
func withTestKey(text string) string {
	if key := testKeys()[text]; key != nil {
		return keyPEM(key)
	}
	if text == "certificate of the rsa key" {
		return block("CERTIFICATE", testCertificate().Raw)
	}
	return text
}

// caseFile returns a JSON file whose private_key is a test key.
func caseFile(t testing.TB, file any) string {
	t.Helper()
	members, ok := file.(map[string]any)
	if !ok {
		t.Fatalf("got a file of the type %T, want a mapping", file)
	}
	members["private_key"] = withTestKey(fmt.Sprint(members["private_key"]))
	return string(must(json.Marshal(members)))
}

// wantJWT is an expected JWT. In claims, "now" is the time of the request, "now+1h" is an hour
// later, and "uuid" matches any UUID. In the header, "thumbprint" means the test certificate's
// thumbprint.
type wantJWT struct {
	Key            string // the name of the test key
	Header, Claims map[string]any
}

// check verifies a JWT without the engine's code, and compares the header and the claims.
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
			value = json.Number(fmt.Sprint(noon.Add(must(time.ParseDuration("0s" + strings.TrimPrefix(after, "+")))).Unix()))
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

// verifyJWT verifies a JWT's signature and returns the header and the claims.
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
