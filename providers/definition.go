// SPDX-License-Identifier: MPL-2.0

package providers

import (
	"context"
	"crypto/sha256"
	"fmt"
	"slices"

	"vault-plugin-secrets-messaging/internal/secret"
	"vault-plugin-secrets-messaging/internal/token"
)

// MaxDefinition is the size of the largest definition, in bytes.
const MaxDefinition = 16 << 10

// A Definition is a [Provider] that is described as data: its config fields, its endpoints, and
// where an answer contains the token. It never changes.
type Definition struct {
	text     []byte
	spec     Spec
	protocol protocol
	checks   []fieldCheck
}

// A protocol gets tokens as a definition describes. Only [oauth2Protocol] can also refresh and
// revoke tokens.
type protocol interface {
	// signatures returns what the protocol signs.
	signatures() []use
	// validate returns a [*FieldError] for the first wrong or missing field, or nil.
	validate(s Settings) error
	mint(ctx context.Context, c *Client, s Settings, r redactor) (token.Token, error)
}

// fieldCheck is a rule for the value of a field.
type fieldCheck struct {
	field string
	check func(value string) string // returns what is wrong, or ""
}

// DefinitionError reports a definition that breaks a rule.
type DefinitionError struct {
	Place   string // the place in the definition, such as "http.lifetime.seconds"; "" for the whole
	Problem string // what is wrong, and what would be right
}

func (e *DefinitionError) Error() string {
	if e.Place == "" {
		return e.Problem
	}
	return e.Place + ": " + e.Problem
}

// ParseDefinition parses YAML or JSON text of at most [MaxDefinition] bytes. Errors are of type
// [*DefinitionError].
func ParseDefinition(name string, text []byte) (*Definition, error) {
	d := decoder{Definition: &Definition{text: slices.Clone(text), spec: Spec{Name: name}}, used: map[string]bool{}}
	d.decode(text)
	if d.err != nil {
		return nil, d.err
	}
	return d.Definition, nil
}

// Text returns the definition as it was written. Do not change the result.
func (d *Definition) Text() []byte { return d.text }

// Digest identifies the text: "sha256:" and the hash in hex.
func (d *Definition) Digest() string { return fmt.Sprintf("sha256:%x", sha256.Sum256(d.text)) }

// Spec implements [Provider]. Do not change the slices of the result.
func (d *Definition) Spec() Spec { return d.spec }

// Validate implements [Provider].
func (d *Definition) Validate(s Settings) error {
	for _, c := range d.checks {
		if value, ok := s.Values[c.field]; ok {
			if problem := c.check(value.Reveal()); problem != "" {
				return &FieldError{c.field, problem}
			}
		}
	}
	if err := d.validateKey(s); err != nil {
		return err
	}
	return d.protocol.validate(s)
}

// Mint implements [Provider].
func (d *Definition) Mint(ctx context.Context, c *Client, s Settings) (token.Token, error) {
	return d.protocol.mint(ctx, c, s, newRedactor(d.spec, s))
}

// Refresh implements [Provider]. If the provider sends no new refresh token, the result contains
// the old refresh token (RFC 6749 §6).
func (d *Definition) Refresh(ctx context.Context, c *Client, s Settings, refresh secret.String) (token.Token, error) {
	p, ok := d.protocol.(*oauth2Protocol)
	if !ok {
		return Base{}.Refresh(ctx, c, s, refresh)
	}
	t, err := p.refresh(ctx, c, s, newRedactor(d.spec, s, refresh), refresh)
	if err == nil && t.Refresh == "" {
		t.Refresh = refresh
	}
	return t, err
}

// Revoke implements [Provider].
func (d *Definition) Revoke(ctx context.Context, c *Client, s Settings, access, refresh secret.String) error {
	p, ok := d.protocol.(*oauth2Protocol)
	if !ok {
		return Base{}.Revoke(ctx, c, s, access, refresh)
	}
	return p.revoke(ctx, c, s, newRedactor(d.spec, s, access, refresh), access, refresh)
}
