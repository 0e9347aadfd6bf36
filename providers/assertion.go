// SPDX-License-Identifier: MPL-2.0

package providers

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/google/uuid"

	"vault-plugin-secrets-messaging/internal/secret"
	"vault-plugin-secrets-messaging/internal/token"
)

// Config fields with a special meaning if the definition signs JWTs.
const (
	fieldPrivateKey  = "private_key"       // the key, in PEM
	fieldGenerateKey = "generate_key"      // the kind of the key that the engine makes
	fieldKeyID       = "key_id"            // of private_key; a generated key has its own ID
	fieldAlgorithm   = "signing_algorithm" // "" means the default of the key
	fieldCertificate = "certificate"       // of private_key, for x5t#S256
)

const (
	defaultLifetime   = time.Minute    // of an assertion
	maxSignedLifetime = 24 * time.Hour // of an assertion, or of a token that the engine signs
)

// signedClaims are the claims that the engine sets.
var signedClaims = []string{"iat", "nbf", "exp", "jti"}

// signature describes a JWT that the engine signs (RFC 7519): an assertion (RFC 7523), or a
// token.
type signature struct {
	algorithm                  template // nil for the default of the key
	header                     []param  // besides alg, typ and x5t#S256
	issuer, subject, audience  template
	claims                     []param  // further claims
	add                        []string // of signedClaims
	lifetime                   time.Duration
	needsCertificate, leavesID bool // leavesID: the token request has no client_id beside the assertion
}

// fields returns the names of the config fields in the claims.
func (d *signature) fields() []string {
	return slices.Concat(d.issuer.fields(), d.subject.fields(), d.audience.fields(), value{members: d.claims}.fields())
}

// sign returns the signed JWT and its lifetime. The parameter id is the default issuer and subject;
// audience is the default audience.
//
// Validate has checked the key, so an error means a damaged config or a bug.
func (d *signature) sign(now time.Time, s Settings, id, audience string) (jwt string, lifetime time.Duration, err error) {
	end := now.Add(d.lifetime).Truncate(time.Second)
	jwt, err = d.signUntil(now, end, s, id, audience)
	if err != nil {
		return "", 0, &token.Error{Kind: token.Malformed, Step: "signing", Problem: fmt.Sprintf("the private key %v", err)}
	}
	return jwt, end.Sub(now), nil
}

func (d *signature) signUntil(now, end time.Time, s Settings, id, audience string) (string, error) {
	key, algorithm, values, err := d.key(s)
	if err != nil {
		return "", err
	}
	options := (&jose.SignerOptions{}).WithType("JWT")
	if thumbprint := certificateThumbprint(s.Value(fieldCertificate)); thumbprint != "" {
		options = options.WithHeader("x5t#S256", thumbprint)
	}
	for _, h := range d.header {
		if text, ok := h.value.text.fill(values); ok {
			options = options.WithHeader(jose.HeaderKey(h.name), text)
		}
	}
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.SignatureAlgorithm(algorithm), Key: key.signer}, options)
	if err != nil {
		return "", err
	}
	object, err := signer.Sign(d.payload(now, end, values, id, audience))
	if err != nil {
		return "", err
	}
	return object.CompactSerialize()
}

// payload returns the claims as JSON.
func (d *signature) payload(now, end time.Time, values map[string]secret.String, id, audience string) []byte {
	var claims []param
	for _, claim := range []struct {
		name      string
		text      template
		byDefault string
	}{{"iss", d.issuer, id}, {"sub", d.subject, id}, {"aud", d.audience, audience}} {
		text, ok := claim.text.fill(values)
		if !ok {
			text = claim.byDefault
		}
		if text != "" {
			claims = append(claims, param{claim.name, value{text: template{{text: text}}}})
		}
	}
	seconds := func(t time.Time) value { return value{literal: strconv.FormatInt(t.Unix(), 10)} }
	for name, v := range map[string]value{
		"iat": seconds(now), "nbf": seconds(now), "exp": seconds(end), "jti": {text: template{{text: uuid.NewString()}}},
	} {
		if slices.Contains(d.add, name) {
			claims = append(claims, param{name, v})
		}
	}
	return appendObject(nil, append(claims, d.claims...), values)
}

// key returns a config's signing key, the algorithm, and the values of the config's fields. In
// these values, key_id is the ID of the key.
func (d *signature) key(s Settings) (key *Key, algorithm string, values map[string]secret.String, err error) {
	key, values = s.Key, s.Values
	if key == nil {
		key, err = ParseKey(s.Values[fieldPrivateKey], s.Value(fieldKeyID))
	} else {
		values = maps.Clone(s.Values)
		values[fieldKeyID] = secret.String(key.ID())
	}
	if err == nil {
		wanted, _ := d.algorithm.fill(values)
		algorithm, err = key.algorithm(wanted)
	}
	return key, algorithm, values, err
}

// ShownKey returns the signing key of a config, and the algorithm. It returns nil if the config has
// no usable signing key.
func (d *Definition) ShownKey(s Settings) (*Key, string) {
	for _, u := range d.protocol.signatures() {
		if u.isUsed(s) {
			if key, algorithm, _, err := u.signature.key(s); err == nil {
				return key, algorithm
			}
		}
	}
	return nil, ""
}

// use is a signature that a protocol makes under a condition.
type use struct {
	signature *signature
	isUsed    func(s Settings) bool
	when      string // such as "auth_style=private_key_jwt"; "" for always
}

// validateKey checks the fields of the signing key.
func (d *Definition) validateKey(s Settings) error {
	all := d.protocol.signatures()
	used := slices.DeleteFunc(slices.Clone(all), func(u use) bool { return !u.isUsed(s) })
	_, written := s.Values[fieldPrivateKey]
	kind, generated := s.Values[fieldGenerateKey]
	source := d.spec.keySource(s)
	switch {
	case len(used) == 0:
		for _, f := range d.spec.Fields {
			if _, ok := s.Values[f.Name]; ok && f.OfKey && f.Default == "" && len(all) > 0 {
				return &FieldError{f.Name, "can only be set for " + all[0].when}
			}
		}
	case written && generated:
		return &FieldError{fieldGenerateKey, "cannot be set beside " + source + "; the key is either written or made by the engine"}
	case !written && !generated:
		return &FieldError{source, d.spec.keyRequired(used[0].when)}
	}
	for _, u := range used {
		wanted, _ := u.signature.algorithm.fill(s.Values)
		if generated {
			if err := validateGenerated(kind.Reveal(), wanted, s); err != nil {
				return err
			}
			continue
		}
		key, err := ParseKey(s.Values[fieldPrivateKey], "")
		if err == nil {
			_, err = key.algorithm(wanted)
		}
		if err != nil {
			return &FieldError{source, err.Error()}
		}
		if certificate, ok := s.Values[fieldCertificate]; ok {
			if problem := key.certificateProblem(certificate.Reveal()); problem != "" {
				return &FieldError{fieldCertificate, problem}
			}
		} else if u.signature.needsCertificate {
			return &FieldError{fieldCertificate, "is required beside private_key, because the provider finds the key by its certificate"}
		}
	}
	return nil
}

// validateGenerated checks the fields beside generate_key.
func validateGenerated(kind, algorithm string, s Settings) error {
	for _, name := range []string{fieldKeyID, fieldCertificate} {
		if _, ok := s.Values[name]; ok {
			return &FieldError{name, "cannot be set beside generate_key, because the field describes private_key; remove the field"}
		}
	}
	if algorithm != "" && !slices.Contains(kindAlgorithms[kind], algorithm) {
		return &FieldError{fieldGenerateKey, fmt.Sprintf("does not fit the algorithm %s, which needs %s", algorithm, keyNeeded[algorithm])}
	}
	return nil
}

// isKey reports whether a field can provide the signing key.
func (f Field) isKey() bool {
	return f.Name == fieldPrivateKey || f.Name == fieldGenerateKey || f.Sets[fieldPrivateKey] != nil
}

// keySource returns the field that contains the key: private_key, or a JSON file.
func (spec Spec) keySource(s Settings) string {
	for _, f := range spec.Fields {
		if _, ok := s.Values[f.Name]; ok && f.Sets[fieldPrivateKey] != nil {
			return f.Name
		}
	}
	return fieldPrivateKey
}

// keyRequired returns the error for a config without a key. The error also names the alternatives
// to private_key.
func (spec Spec) keyRequired(when string) string {
	problem := "is required"
	if when != "" {
		problem += " for " + when
	}
	for _, f := range spec.Fields {
		if f.isKey() && f.Name != fieldPrivateKey {
			problem += "; or set " + f.Name
		}
	}
	return problem
}
