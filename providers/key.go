// SPDX-License-Identifier: MPL-2.0

package providers

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/go-jose/go-jose/v4"

	"vault-plugin-secrets-messaging/internal/secret"
)

// minRSABits and maxRSABits limit the size of RSA keys. RFC 7518 §3.3 sets the minimum.
// Signatures with larger keys would take too long.
const minRSABits, maxRSABits = 2048, 8192

// A Key is a private key that signs assertions and tokens. A Key never changes, is safe for
// concurrent use, and never prints its private part.
type Key struct {
	id     string
	signer crypto.Signer
}

// ID returns the key's ID at the provider, or "". It becomes the kid of signed JWTs.
func (k *Key) ID() string { return k.id }

// Format implements [fmt.Formatter], so that printing a Key does not print its private part.
func (k *Key) Format(f fmt.State, _ rune) { fmt.Fprint(f, "[private key]") }

// keyKinds are the kinds of keys that the engine can make.
var keyKinds = []string{"rsa-2048", "rsa-4096", "ec-p256", "ed25519"}

// GenerateKey makes a key of a kind that generate_key allows. The key's ID is its JWK thumbprint
// (RFC 7638).
func GenerateKey(kind string) (*Key, error) {
	var (
		signer crypto.Signer
		err    error
	)
	switch kind {
	case "rsa-2048":
		signer, err = rsa.GenerateKey(rand.Reader, 2048)
	case "rsa-4096":
		signer, err = rsa.GenerateKey(rand.Reader, 4096)
	case "ec-p256":
		signer, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	case "ed25519":
		_, signer, err = ed25519.GenerateKey(rand.Reader)
	default:
		err = fmt.Errorf("there is no kind of key %q", kind)
	}
	if err != nil {
		return nil, fmt.Errorf("making a key: %w", err)
	}
	sum, err := (&jose.JSONWebKey{Key: signer.Public()}).Thumbprint(crypto.SHA256)
	if err != nil {
		return nil, fmt.Errorf("making the ID of a key: %w", err)
	}
	return &Key{base64.RawURLEncoding.EncodeToString(sum), signer}, nil
}

// ParseKey returns the private key in a PEM, with the given ID. It refuses keys that fit no
// algorithm. Errors do not quote the PEM.
func ParseKey(text secret.String, id string) (*Key, error) {
	signer, err := parsePrivateKey(text)
	if err != nil {
		return nil, err
	}
	switch key := signer.(type) {
	case *rsa.PrivateKey:
		if bits := key.N.BitLen(); bits < minRSABits || bits > maxRSABits {
			return nil, fmt.Errorf("is an RSA key of %d bits; use a key of %d to %d bits", bits, minRSABits, maxRSABits)
		}
	case *ecdsa.PrivateKey:
		if algorithmsOf(key) == nil {
			return nil, fmt.Errorf("is an EC key on the curve %s; use a key on P-256 or P-384", key.Curve.Params().Name)
		}
	case ed25519.PrivateKey:
	default:
		return nil, errors.New("must be an RSA, EC or Ed25519 key")
	}
	return &Key{id, signer}, nil
}

// signingAlgorithms are the algorithms that the engine signs with (RFC 7518 §3.1, RFC 8037).
var signingAlgorithms = []string{"RS256", "PS256", "ES256", "ES384", "EdDSA"}

// algorithmsOf returns the algorithms for a key, the default first. It returns nil for an EC key on
// an unsupported curve.
func algorithmsOf(signer crypto.Signer) []string {
	switch key := signer.(type) {
	case *rsa.PrivateKey:
		return []string{"RS256", "PS256"}
	case *ecdsa.PrivateKey:
		return map[elliptic.Curve][]string{elliptic.P256(): {"ES256"}, elliptic.P384(): {"ES384"}}[key.Curve]
	case ed25519.PrivateKey:
		return []string{"EdDSA"}
	}
	return nil
}

// kindAlgorithms lists the algorithms for each value of generate_key.
var kindAlgorithms = map[string][]string{
	"rsa-2048": {"RS256", "PS256"}, "rsa-4096": {"RS256", "PS256"}, "ec-p256": {"ES256"}, "ed25519": {"EdDSA"},
}

// keyNeeded names the key that each algorithm needs.
var keyNeeded = map[string]string{
	"RS256": "an RSA key", "PS256": "an RSA key", "ES256": "an EC key on the curve P-256", "ES384": "an EC key on the curve P-384", "EdDSA": "an Ed25519 key",
}

// algorithm returns the wanted algorithm if it fits the key. If wanted is "", algorithm returns the
// key's default.
func (k *Key) algorithm(wanted string) (string, error) {
	all := algorithmsOf(k.signer)
	switch {
	case wanted == "":
		return all[0], nil
	case !slices.Contains(all, wanted):
		return "", fmt.Errorf("is %s; the algorithm %s needs %s", keyNeeded[all[0]], wanted, keyNeeded[wanted])
	}
	return wanted, nil
}

// PEM returns the private key as PKCS #8, for storage.
func (k *Key) PEM() (secret.String, error) {
	der, err := x509.MarshalPKCS8PrivateKey(k.signer)
	if err != nil {
		return "", errors.New("the key cannot be encoded")
	}
	return secret.String(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})), nil
}

// PublicPEM returns the public key as a PEM block (SubjectPublicKeyInfo).
func (k *Key) PublicPEM() (string, error) {
	der, err := x509.MarshalPKIXPublicKey(k.signer.Public())
	if err != nil {
		return "", fmt.Errorf("encoding the public key: %w", err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der})), nil
}

// JWK returns the public key as a JWK (RFC 7517) for the given algorithm.
func (k *Key) JWK(algorithm string) ([]byte, error) {
	public := jose.JSONWebKey{Key: k.signer.Public(), KeyID: k.id, Algorithm: algorithm, Use: "sig"}
	return public.MarshalJSON()
}

// certificateProblem returns why the first certificate in a PEM does not belong to the key, or "".
func (k *Key) certificateProblem(text string) string {
	block, _ := pem.Decode([]byte(text))
	if block == nil || block.Type != "CERTIFICATE" {
		return "must be a certificate in PEM, which begins with -----BEGIN CERTIFICATE-----"
	}
	certificate, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		return "must be an X.509 certificate in PEM"
	}
	public, ok := k.signer.Public().(interface{ Equal(crypto.PublicKey) bool })
	if !ok || !public.Equal(certificate.PublicKey) {
		return "must be the certificate of the private key; this certificate has another public key"
	}
	return ""
}

// certificateThumbprint returns the SHA-256 thumbprint of a PEM certificate, for x5t#S256 (RFC 7515
// §4.1.8). It returns "" if the text is not PEM.
func certificateThumbprint(text string) string {
	block, _ := pem.Decode([]byte(text))
	if block == nil {
		return ""
	}
	sum := sha256.Sum256(block.Bytes)
	return base64.RawURLEncoding.EncodeToString(sum[:])
}

// Errors of parsePrivateKey. None of them quotes the input.
var (
	errNoKey     = errors.New("must be a private key in PEM (PKCS #8, PKCS #1 or SEC 1), which begins with -----BEGIN PRIVATE KEY-----")
	errEncrypted = errors.New("is encrypted; decrypt the key first, for example with: openssl pkey -in key.pem -out plain.pem")
	errPublic    = errors.New("is a public key; write the private key, and give the public key to the provider")
	errCertified = errors.New("is a certificate; write the private key that belongs to the certificate")
	errOpenSSH   = errors.New("is in the format of OpenSSH; convert a copy of the key to PEM first, for example with: ssh-keygen -p -m PKCS8 -f copy")
	errManyKeys  = errors.New("must be a single private key")
)

// parsePrivateKey returns the private key in a PEM. Errors do not quote the PEM.
func parsePrivateKey(text secret.String) (found crypto.Signer, err error) {
	rest := []byte(text.Reveal())
	for {
		var block *pem.Block
		if block, rest = pem.Decode(rest); block == nil {
			break
		}
		switch {
		case block.Type == "EC PARAMETERS": // of openssl ecparam, before the key
			continue
		case found != nil:
			return nil, errManyKeys
		}
		if found, err = parseKeyBlock(block); err != nil {
			return nil, err
		}
	}
	if found == nil {
		return nil, errNoKey
	}
	return found, nil
}

func parseKeyBlock(block *pem.Block) (crypto.Signer, error) {
	var (
		key any
		err error
	)
	switch {
	case block.Type == "ENCRYPTED PRIVATE KEY", strings.Contains(block.Headers["Proc-Type"], "ENCRYPTED"):
		return nil, errEncrypted
	case strings.HasSuffix(block.Type, "PUBLIC KEY"):
		return nil, errPublic
	case strings.HasSuffix(block.Type, "CERTIFICATE"):
		return nil, errCertified
	case block.Type == "OPENSSH PRIVATE KEY":
		return nil, errOpenSSH
	case block.Type == "PRIVATE KEY":
		key, err = x509.ParsePKCS8PrivateKey(block.Bytes)
	case block.Type == "RSA PRIVATE KEY":
		key, err = x509.ParsePKCS1PrivateKey(block.Bytes)
	case block.Type == "EC PRIVATE KEY":
		key, err = x509.ParseECPrivateKey(block.Bytes)
	default:
		return nil, errNoKey
	}
	signer, ok := key.(crypto.Signer)
	if err != nil || !ok {
		return nil, errNoKey // err may quote the key
	}
	return signer, nil
}
