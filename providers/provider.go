// SPDX-License-Identifier: MPL-2.0

// Package providers knows the providers: what each wants in a config, where its
// token endpoint is, and what the two say to each other on the wire.
//
// A provider is a file of its own, its test, and a line in [All]. What providers
// share lies beside them: the HTTP exchange (client.go), RFC 6749 (rfc6749.go),
// and errors with what may be shown of them (errors.go). The package knows
// neither Vault nor the token cache.
package providers

import (
	"context"
	"time"

	"vault-plugin-secrets-messaging/internal/secret"
	"vault-plugin-secrets-messaging/internal/token"
)

// A Provider trades the long-lived credential of one account for short-lived
// bearer tokens. Implementations hold no state: one value serves every account,
// from any number of goroutines.
//
// A provider that can also trade a refresh token implements [Refresher].
type Provider interface {
	// Spec says what the provider is and what it wants in a config.
	Spec() Spec

	// Mint logs in with the account's credential and returns a new token. It
	// makes one exchange with the token endpoint and never repeats it: repeated
	// logins are what locks accounts. Errors are of type [*token.Error].
	Mint(ctx context.Context, c *Client, s Settings) (token.Token, error)
}

// A Refresher is a [Provider] whose tokens may come with a refresh token.
type Refresher interface {
	// Refresh trades a refresh token for a new token (RFC 6749 §6) in one
	// exchange. Where the answer brings no new refresh token, the old one is
	// in the result again, as §6 has it.
	Refresh(ctx context.Context, c *Client, s Settings, refresh secret.String) (token.Token, error)
}

// A Revoker is a [Provider] that can end a token before its time. A config of
// such a provider takes a revocation_url; without one nothing is revoked.
type Revoker interface {
	// Revoke ends an access token, and the session of its refresh token if it has
	// one, at s.RevocationURL. A token that the provider does not know, or that
	// has ended already, is no error (RFC 7009 §2.2). Errors are of type [*token.Error].
	Revoke(ctx context.Context, c *Client, s Settings, access, refresh secret.String) error
}

// A Validator is a [Provider] with rules about its fields that [Field] cannot
// say, such as a field that one value of another makes required.
type Validator interface {
	// Validate returns a [*FieldError] for the first rule that s breaks, or nil.
	Validate(s Settings) error
}

// Spec is what people and the config path are told of a provider.
type Spec struct {
	Name        string // as written in a config: "sinch-india"
	Description string // one sentence, for people
	Docs        string // address of the provider's own documentation; may be empty

	// Fields are the fields that this provider takes besides those that every
	// config has; any other provider's field is refused.
	Fields []Field

	// Endpoints maps environment to token URL; the first is the default. Without
	// any, a config must say its token_url.
	Endpoints []Endpoint
}

// Endpoint is the token URL of one environment of a provider.
type Endpoint struct {
	Environment string // "production", "uat"
	TokenURL    string
}

// FieldKind is how the value of a [Field] is written in a config, and so what
// its text in [Settings] looks like.
type FieldKind int

const (
	// Text is any text, kept as it is.
	Text FieldKind = iota
	// List is a list of words without white space, or a comma-separated text;
	// its text is the words joined by single spaces.
	List
	// Pairs is a map of text to text, or key=value texts; its text is the pairs
	// as [url.Values.Encode] has them.
	Pairs
)

// Field is one field of a provider's config.
type Field struct {
	Name        string
	Description string // help text: what it is, and where a user finds it
	Kind        FieldKind
	Required    bool     // refused when missing or empty
	Secret      bool     // write-only: never shown again, blanked out of errors
	Allowed     []string // where not empty, the only texts that are taken
	Default     string   // the text when none was written

	// RequiresSecrets says that the field determines where or how secrets are sent, so
	// that a write that changes the field must repeat the secrets.
	RequiresSecrets bool
}

// Settings are the part of a config that a provider sees, validated against
// its [Spec]. A Settings is not changed once made; it is safe to share.
type Settings struct {
	TokenURL string // where to mint: the config's own, or its environment's

	// RevocationURL is where a [Revoker] ends tokens; "" if they are left to expire.
	RevocationURL string

	// DefaultTTL is the lifetime to assume where the provider states none; 0
	// makes such an answer an error.
	DefaultTTL time.Duration

	// Timeout bounds each exchange as a whole, from dialling to the last byte
	// of the body; 0 means 10 s.
	Timeout time.Duration

	// Values holds the text of each field by its name, defaults filled in; a
	// field that is not set is absent. All are treated as secret.
	Values map[string]secret.String
}

// Value returns the text of a field, "" if it is not set.
func (s Settings) Value(field string) string { return s.Values[field].Reveal() }
