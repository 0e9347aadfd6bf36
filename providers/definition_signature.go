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
	o := root.at("jwt").object("algorithm", "header", "claims", "add", "lifetime")
	o.at("lifetime").must("say how long a token lives, such as 15m")
	p := &jwtProtocol{}
	d.signature(o, &p.signature)
	if root.has("endpoints") {
		root.at("endpoints").fail("cannot be set beside jwt, which asks no endpoint")
	}
	d.spec.SelfSigned = true
	return p
}

// assertions decodes what the protocol oauth2 signs.
func (d *decoder) assertions(oauth2 object, p *oauth2Protocol) {
	keys := []string{"algorithm", "header", "issuer", "subject", "audience", "claims", "add", "lifetime"}
	if slices.Contains(d.choices(p.style), stylePrivateKey) {
		o := oauth2.at("client_assertion").object(append(keys, "needs_certificate", "omit_client_id")...)
		p.clientAssertion = &signature{
			lifetime: defaultLifetime, needsCertificate: o.at("needs_certificate").boolean(), leavesID: o.at("omit_client_id").boolean(),
		}
		d.signature(o, p.clientAssertion)
		p.needsSecret = p.secret != nil && !slices.Contains(d.choices(p.style), "none")
		if p.id == nil {
			oauth2.at("client_id").fail("must be set for private_key_jwt, because the assertion contains the client ID")
		}
	} else if oauth2.has("client_assertion") {
		oauth2.at("client_assertion").fail("can only be set for the auth_style private_key_jwt")
	}
	switch n := oauth2.at("assertion"); {
	case !n.exists():
	case n.yaml.Kind == yaml.ScalarNode:
		p.assertion = n.template()
		p.bearerFields = p.assertion.fields()
	default:
		o := n.object(keys...)
		o.at("issuer").must("say who issues the assertion (RFC 7523 section 3)")
		p.signedAssertion = &signature{lifetime: defaultLifetime}
		d.signature(o, p.signedAssertion)
		p.bearerFields = p.signedAssertion.issuer.fields()
	}
}

// signature decodes the description of a JWT that the engine signs.
func (d *decoder) signature(o object, s *signature) {
	if s.algorithm = o.at("algorithm").template(); s.algorithm != nil {
		if all := d.choices(s.algorithm); len(s.algorithm) > 1 || len(all) == 0 || !within(all, signingAlgorithms) {
			o.at("algorithm").fail("must be one of %s, or the placeholder of a field that allows only these", strings.Join(signingAlgorithms, ", "))
		}
	}
	s.issuer, s.subject, s.audience = o.at("issuer").template(), o.at("subject").template(), o.at("audience").template()
	s.header = o.at("header").params()
	for _, h := range s.header {
		if slices.Contains([]string{"alg", "typ", "x5t#S256", "jwk", "jku", "x5u", "x5c", "crit", "b64"}, h.name) {
			o.at("header").object().at(h.name).fail("cannot be set, because the engine sets it or because it changes how a signature is checked")
		}
	}
	if d.field(fieldKeyID) != nil && !hasParam(s.header, "kid") {
		s.header = append(s.header, param{"kid", value{text: template{{field: fieldKeyID}}}})
		d.used[fieldKeyID] = true
	}
	s.claims = o.at("claims").members()
	for _, m := range s.claims {
		if slices.Contains(signedClaims, m.name) {
			o.at("claims").object().at(m.name).fail("is set by the engine; list it in add instead")
		}
	}
	s.add = []string{"iat", "exp", "jti"}
	if add := o.at("add"); add.exists() {
		if s.add = add.texts(); !within(s.add, signedClaims) {
			add.fail("must be a list of some of %s", strings.Join(signedClaims, ", "))
		}
	}
	if lifetime := o.at("lifetime"); lifetime.exists() {
		if s.lifetime = lifetime.duration(maxSignedLifetime); s.lifetime < time.Second {
			lifetime.fail("must be at least 1s")
		}
	}
	for _, name := range s.fields() {
		if f := d.field(name); f != nil && f.Secret {
			o.at("claims").fail("cannot contain the secret field %s, because everyone who gets the token can read its claims", name)
		}
	}
}

// within reports whether each of some texts is one of others.
func within(some, others []string) bool {
	return !slices.ContainsFunc(some, func(text string) bool { return !slices.Contains(others, text) })
}

// keyFields checks the fields that describe the signing key, and the fields with values from a JSON
// file. It sets RequiresSecrets for each field in a signed JWT. The client ID is an exception,
// because it only names the account.
func (d *decoder) keyFields(fields object) {
	uses := d.protocol.signatures()
	for i := range d.spec.Fields {
		f := &d.spec.Fields[i]
		for name := range f.Sets {
			target, n := d.field(name), fields.at(f.Name).object().at("sets").object().at(name)
			switch {
			case target == nil:
				n.fail("names no field of the definition")
			case target.Default != "" || target.Kind == Pairs || target.Kind == List || target.Kind == JSON:
				n.fail("must be a text field without a default")
			}
		}
		if len(uses) > 0 {
			d.keyField(f, fields.at(f.Name), uses)
		}
	}
	if len(uses) > 0 && !slices.ContainsFunc(d.spec.Fields, Field.isKey) {
		fields.fail("must have private_key or generate_key, because the definition signs")
	}
	for _, u := range uses {
		for _, name := range u.signature.fields() {
			if f := d.field(name); f != nil && !d.isClientID(name) {
				f.RequiresSecrets = true
			}
		}
	}
}

// isClientID reports whether a field is the client ID in the protocol oauth2.
func (d *decoder) isClientID(name string) bool {
	p, ok := d.protocol.(*oauth2Protocol)
	return ok && slices.Contains(p.id.fields(), name)
}

// keyField applies the rules for fields with special names, such as private_key.
func (d *decoder) keyField(f *Field, n node, uses []use) {
	switch f.Name {
	case fieldPrivateKey:
		f.Kind = PEM
		d.used[f.Name] = true
		if !f.Secret {
			n.fail("must be secret")
		}
	case fieldCertificate:
		f.Kind = PEM
		if f.Secret {
			n.fail("cannot be secret; a certificate is public")
		}
	case fieldGenerateKey:
		if len(f.Allowed) == 0 {
			f.Allowed = d.fittingKinds(uses)
		}
		if f.Secret || !within(f.Allowed, keyKinds) || len(f.Allowed) == 0 {
			n.fail("cannot be secret, and can only allow some of %s", strings.Join(keyKinds, ", "))
		}
	case fieldKeyID, fieldAlgorithm:
	default:
		f.OfKey = f.isKey()
		return
	}
	if f.Required && f.Name != fieldKeyID {
		n.fail("cannot be required, because the engine decides when a config needs the field")
	}
	f.OfKey = !f.Required
	f.RequiresSecrets = f.Name == fieldAlgorithm // JWK Sets name the algorithm of a key
}

// fittingKinds returns the kinds of keys that can sign every JWT in the definition.
func (d *decoder) fittingKinds(uses []use) []string {
	kinds := slices.Clone(keyKinds)
	for _, u := range uses {
		if u.signature.algorithm != nil {
			allowed := d.choices(u.signature.algorithm)
			kinds = slices.DeleteFunc(kinds, func(kind string) bool {
				return !slices.ContainsFunc(kindAlgorithms[kind], func(a string) bool { return slices.Contains(allowed, a) })
			})
		}
	}
	return kinds
}
