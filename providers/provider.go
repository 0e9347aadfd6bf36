// SPDX-License-Identifier: MPL-2.0

// Package providers describes the providers: which fields a config has, where the token
// endpoint is, and how to ask the endpoint for a token.
//
// Each provider is a file with a test, and a line in [All]. The providers share the HTTP
// exchange (client.go), OAuth 2.0 (rfc6749.go) and the redaction of errors (redact.go).
// The package knows neither Vault nor the token cache.
package providers

import (
	"context"
	"net/url"
	"time"

	"vault-plugin-secrets-messaging/internal/secret"
	"vault-plugin-secrets-messaging/internal/token"
)

// A Provider trades the long-lived credential of an account for bearer tokens. It has no
// state: one value serves all accounts, and is safe for concurrent use. A Provider may also
// be a [Refresher], [Revoker], [Validator] or [SerialLogins].
type Provider interface {
	// Spec describes the provider.
	Spec() Spec

	// Mint logs in and returns a new token. It sends one request and never repeats it,
	// because repeated logins lock accounts. Errors are of type [*token.Error].
	Mint(ctx context.Context, c *Client, s Settings) (token.Token, error)
}

// A Refresher is a [Provider] whose tokens may come with a refresh token.
type Refresher interface {
	// Refresh trades a refresh token for a new token with one request (RFC 6749 §6). The
	// result contains the old refresh token if the provider sends no new one. Errors are
	// of type [*token.Error].
	Refresh(ctx context.Context, c *Client, s Settings, refresh secret.String) (token.Token, error)
}

// A Revoker is a [Provider] that can end a token before the token expires.
type Revoker interface {
	// Revoke ends an access token at s.RevocationURL, and the session of the refresh token
	// if refresh is not "". A token that has ended, or that the provider does not know, is
	// no error (RFC 7009 §2.2). Errors are of type [*token.Error].
	Revoke(ctx context.Context, c *Client, s Settings, access, refresh secret.String) error
}

// A Validator is a [Provider] with rules that a [Field] cannot express, such as a field that
// is required only if another field has a certain value.
type Validator interface {
	// Validate returns a [*FieldError] for the first rule that s breaks, or nil.
	Validate(s Settings) error
}

// Spec describes a provider.
type Spec struct {
	Name        string // as in a config: "sinch-india"
	Description string // one sentence
	Docs        string // URL of the provider's documentation; may be ""

	// Fields are the fields of a config besides the fields that all configs have. A config
	// cannot have other fields.
	Fields []Field

	// Endpoints are the environments; the first is the default. If there are none, a config
	// must have a token_url.
	Endpoints []Endpoint
}

// Endpoint is the token URL of one environment of a provider.
type Endpoint struct {
	Environment string // "production", "uat"
	TokenURL    string
}

// FieldKind is how a config states the value of a [Field], and how [Settings] store it.
type FieldKind int

const (
	// Text is a string. Settings store it unchanged.
	Text FieldKind = iota
	// List is a list of words, or a comma-separated string. Settings store the words with
	// a space between each two.
	List
	// Pairs is a map of strings, or key=value strings. Settings store the result of
	// [url.Values.Encode].
	Pairs
)

// Field is a field of a config that only configs of this provider have.
type Field struct {
	Name        string
	Description string // help text: what the field is, and where users find the value
	Kind        FieldKind
	Required    bool     // cannot be missing or empty
	Secret      bool     // write-only; an error that quotes the provider never shows it
	Allowed     []string // the only valid values; empty if all values are valid
	Default     string   // the value if a config does not set the field

	// RequiresSecrets says that the field determines where or how secrets are sent, so
	// that a write that changes the field must repeat the secrets.
	RequiresSecrets bool
}

// Settings are the part of a config that a provider needs, valid for its [Spec]. They do not
// change once made, and are safe for concurrent use.
type Settings struct {
	TokenURL      string        // of the config, or of its environment
	RevocationURL string        // where a [Revoker] ends tokens; "" to let tokens expire
	DefaultTTL    time.Duration // lifetime of a token if the provider states none; 0 to fail then
	MaxTTL        time.Duration // longest use of a token; 0 if there is no limit
	Timeout       time.Duration // of each exchange, from dialling to the last byte; 0 means 10 s

	// Values holds the value of each field by name, with defaults. A field without a
	// value is absent.
	Values map[string]secret.String
}

// Value returns the value of a field; "" if the field has none.
func (s Settings) Value(field string) string { return s.Values[field].Reveal() }

// Host returns the host of the token endpoint; "" if TokenURL is not valid.
func (s Settings) Host() string {
	u, err := url.Parse(s.TokenURL)
	if err != nil {
		return ""
	}
	return u.Host
}

// FieldError reports a field of a config with an invalid value.
type FieldError struct {
	Field   string // the name of the field
	Problem string // what is wrong; never contains the value
}

func (e *FieldError) Error() string { return e.Field + ": " + e.Problem }
