// SPDX-License-Identifier: MPL-2.0

package providers

import (
	"slices"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"
)

// jwt decodes the protocol jwt.
func (d *decoder) jwt(root object) *jwtProtocol {
	o := root.object("jwt", "algorithm", "header", "claims", "add", "lifetime")
	o.must("lifetime", "say how long a token lives, such as 15m")
	p := &jwtProtocol{}
	d.signature(o, &p.signature)
	if root.has("endpoints") {
		root.fail("endpoints", "cannot be set beside jwt, which asks no endpoint")
	}
	d.definition.spec.SelfSigned = true
	return p
}

// assertions decodes what the protocol oauth2 signs.
func (d *decoder) assertions(oauth2 object, p *oauth2Protocol) {
	if slices.Contains(d.choices(p.style), stylePrivateKey) {
		p.clientAssertion = &signature{lifetime: defaultLifetime}
		o := oauth2.object("client_assertion", "algorithm", "header", "issuer", "subject", "audience", "claims", "add", "lifetime", "needs_certificate", "omit_client_id")
		d.signature(o, p.clientAssertion)
		p.needsSecret = p.secret != nil && !slices.Contains(d.choices(p.style), "none")
		p.clientAssertion.needsCertificate, p.clientAssertion.leavesID = o.boolean("needs_certificate"), o.boolean("omit_client_id")
		if p.id == nil {
			oauth2.fail("client_id", "must be set for private_key_jwt, which names the client by it")
		}
	} else if oauth2.has("client_assertion") {
		oauth2.fail("client_assertion", "can only be set for the auth_style private_key_jwt")
	}
	switch n := oauth2.values["assertion"]; {
	case n == nil:
	case n.Kind == yaml.ScalarNode:
		p.assertion = oauth2.template("assertion")
	default:
		p.signedAssertion = &signature{lifetime: defaultLifetime}
		o := oauth2.object("assertion", "algorithm", "header", "issuer", "subject", "audience", "claims", "add", "lifetime")
		o.must("issuer", "say who issues the assertion (RFC 7523 section 3)")
		d.signature(o, p.signedAssertion)
	}
}

// signature decodes the description of a JWT that the engine signs.
func (d *decoder) signature(o object, s *signature) {
	s.algorithm = o.template("algorithm")
	for _, name := range s.algorithm.fields() {
		if f := d.field(name); len(s.algorithm) > 1 || f != nil && (len(f.Allowed) == 0 || !within(f.Allowed, signingAlgorithms)) {
			o.fail("algorithm", "must be one of %s, or the placeholder of a field that allows only these", strings.Join(signingAlgorithms, ", "))
		}
	}
	if o.has("algorithm") && len(s.algorithm.fields()) == 0 && !slices.Contains(signingAlgorithms, s.algorithm[0].text) {
		o.fail("algorithm", "must be one of %s, or the placeholder of a field that allows only these", strings.Join(signingAlgorithms, ", "))
	}
	s.issuer, s.subject, s.audience = o.template("issuer"), o.template("subject"), o.template("audience")
	s.header = o.params("header")
	for _, h := range s.header {
		if slices.Contains([]string{"alg", "typ", "x5t#S256", "jwk", "jku", "x5u", "x5c", "crit", "b64"}, h.name) {
			o.object("header").fail(h.name, "cannot be set, because the engine sets it or because it changes how a signature is checked")
		}
	}
	if d.field(fieldKeyID) != nil && !hasParam(s.header, "kid") {
		s.header = append(s.header, param{"kid", value{text: template{{field: fieldKeyID}}}})
		d.used[fieldKeyID] = true
	}
	if o.has("claims") {
		s.claims = d.members(o.values["claims"], o.at("claims"))
	}
	for _, m := range s.claims {
		if slices.Contains(signedClaims, m.name) {
			o.object("claims").fail(m.name, "is set by the engine; list it in add instead")
		}
	}
	s.add = []string{"iat", "exp", "jti"}
	if o.has("add") {
		if s.add = o.texts("add"); !within(s.add, signedClaims) {
			o.fail("add", "must be a list of some of %s", strings.Join(signedClaims, ", "))
		}
	}
	if o.has("lifetime") {
		if s.lifetime = o.duration("lifetime", maxSignedLifetime); s.lifetime < time.Second {
			o.fail("lifetime", "must be at least 1s")
		}
	}
	for _, name := range s.fields() {
		if f := d.field(name); f != nil && f.Secret {
			o.fail("claims", "cannot contain the secret field %s, because everyone who gets the token can read its claims", name)
		}
	}
}

// within reports whether each of some texts is one of others.
func within(some, others []string) bool {
	return !slices.ContainsFunc(some, func(text string) bool { return !slices.Contains(others, text) })
}

// keyFields marks the fields that provide the signing key, if the protocol signs.
func (d *decoder) keyFields(root object) {
	fields := root.object("fields")
	uses := d.definition.protocol.signatures()
	sources := 0
	spec := &d.definition.spec
	for i := range spec.Fields {
		f := &spec.Fields[i]
		for name := range f.Sets {
			target := d.field(name)
			switch {
			case target == nil:
				fields.object(f.Name).object("sets").fail(name, "names no field of the definition")
				return
			case target.Default != "" || target.Kind == Pairs || target.Kind == List || target.Kind == JSON:
				fields.object(f.Name).object("sets").fail(name, "must be a text field without a default")
			}
		}
		if len(uses) == 0 {
			continue
		}
		sources += d.keyField(f, fields, uses)
	}
	if len(uses) > 0 && sources == 0 {
		root.fail("fields", "must have private_key or generate_key, because the definition signs")
	}
	for _, u := range uses {
		for _, name := range u.signature.fields() {
			if f := d.field(name); f != nil && !d.isClientID(name) {
				f.RequiresSecrets = true
			}
		}
	}
}

// isClientID reports whether a field is the client ID of the protocol oauth2. A client ID
// identifies an account as a user name does.
func (d *decoder) isClientID(name string) bool {
	p, ok := d.definition.protocol.(*oauth2Protocol)
	return ok && slices.Contains(p.id.fields(), name)
}

// keyField marks a field that provides or describes the signing key. It returns how many ways
// to provide a key the field adds.
func (d *decoder) keyField(f *Field, fields object, uses []use) (sources int) {
	switch f.Name {
	case fieldPrivateKey:
		f.Kind, sources = PEM, 1
		if !f.Secret {
			fields.fail(f.Name, "must be secret")
		}
	case fieldCertificate:
		f.Kind = PEM
		if f.Secret {
			fields.fail(f.Name, "cannot be secret; a certificate is public")
		}
	case fieldGenerateKey:
		if sources = 1; len(f.Allowed) == 0 {
			f.Allowed = d.fittingKinds(uses)
		}
		if f.Secret || !within(f.Allowed, keyKinds) || len(f.Allowed) == 0 {
			fields.fail(f.Name, "cannot be secret, and can only allow some of %s", strings.Join(keyKinds, ", "))
		}
	case fieldKeyID, fieldAlgorithm:
	default:
		if f.OfKey = f.Sets[fieldPrivateKey] != nil; f.OfKey {
			d.used[f.Name] = true
			return 1
		}
		return 0
	}
	if f.Required && f.Name != fieldKeyID {
		fields.fail(f.Name, "cannot be required, because the engine knows when the field is")
	}
	f.OfKey = !f.Required
	if f.Name != fieldKeyID && f.Name != fieldAlgorithm {
		d.used[f.Name] = true
	}
	f.RequiresSecrets = f.Name == fieldAlgorithm // JWK Sets name the algorithm of a key
	return sources
}

// fittingKinds returns the kinds of keys that fit all signatures' algorithms.
func (d *decoder) fittingKinds(uses []use) []string {
	var fitting []string
	for _, kind := range keyKinds {
		fits := true
		for _, u := range uses {
			fits = fits && (u.signature.algorithm == nil || slices.ContainsFunc(d.choices(u.signature.algorithm),
				func(algorithm string) bool { return slices.Contains(kindAlgorithms[kind], algorithm) }))
		}
		if fits {
			fitting = append(fitting, kind)
		}
	}
	return fitting
}
