// SPDX-License-Identifier: MPL-2.0

package providers

import (
	"crypto"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"strings"

	"vault-plugin-secrets-messaging/internal/secret"
)

// Errors of parsePrivateKey. None of them quotes the input.
var (
	errNoKey     = errors.New("must be a private key in PEM (PKCS #8, PKCS #1 or SEC 1), which begins with -----BEGIN PRIVATE KEY-----")
	errEncrypted = errors.New("is encrypted; decrypt the key first, for example with: openssl pkey -in key.pem -out plain.pem")
	errPublic    = errors.New("is a public key; write the private key, and give the public key to the provider")
	errCertified = errors.New("is a certificate; write the private key that belongs to the certificate")
	errOpenSSH   = errors.New("is in the format of OpenSSH; convert a copy of the key to PEM first, for example with: ssh-keygen -p -m PKCS8 -f copy")
	errManyKeys  = errors.New("must be a single private key")
)

// parsePrivateKey returns the private key in a PEM. The error does not quote the PEM.
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
