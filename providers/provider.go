// SPDX-License-Identifier: MPL-2.0

// Package providers describes the providers: which fields a config has, where the token
// endpoint is, and how to ask the endpoint for a token.
//
// A provider is data: a [Definition] in YAML or JSON. The catalogue directory holds the
// built-in definitions.
//
//	provider.go           Provider, Spec and Settings
//	definition.go         Definition, which implements Provider
//	definition_*.go       decode and check the text of a definition
//	template.go           placeholders in a definition
//	pointer.go            JSON Pointers in a definition
//	protocol_http.go      the protocol http: any request that a definition describes
//	protocol_oauth2.go    the protocol oauth2: RFC 6749, with revocation by RFC 7009
//	protocol_jwt.go       the protocol jwt: tokens that the engine signs
//	assertion.go          assertions (RFC 7523) and tokens that the engine signs
//	key.go                signing keys
//	file.go               fields that are JSON files
//	client.go             sends a request
//	answer.go             the answer to a request
//	reading.go            the token in an answer
//	lifetime.go           the lifetime of that token
//	fault.go              the reason why an answer has no token
//	redact.go             keeps secrets out of errors
//
// The package knows neither Vault nor the token cache.
package providers

import (
	"context"
	"maps"
	"net/url"
	"time"

	"vault-plugin-secrets-messaging/internal/secret"
	"vault-plugin-secrets-messaging/internal/token"
)

// A Provider trades the long-lived credential of an account for bearer tokens. It has no
// state: one value serves all accounts, and is safe for concurrent use. Errors of exchanges
// are of type [*token.Error].
type Provider interface {
	// Spec describes the provider.
	Spec() Spec

	// Validate checks rules that a [Field] cannot express, such as a field that only some
	// grants require. It returns a [*FieldError] for the first broken rule, or nil.
	Validate(s Settings) error

	// Mint logs in and returns a new token. It sends one request and never repeats it,
	// because repeated logins lock accounts.
	Mint(ctx context.Context, c *Client, s Settings) (token.Token, error)

	// Refresh trades a refresh token for a new token, with one request. Call Refresh only if
	// Spec().CanRefresh.
	Refresh(ctx context.Context, c *Client, s Settings, refresh secret.String) (token.Token, error)

	// Revoke revokes both tokens at s.RevocationURL; the refresh token may be "". An unknown or
	// ended token is not an error (RFC 7009 §2.2). Call Revoke only if Spec().CanRevoke.
	Revoke(ctx context.Context, c *Client, s Settings, access, refresh secret.String) error
}

// Base can be embedded in a [Provider] that only logs in.
type Base struct{}

// Validate implements [Provider].
func (Base) Validate(Settings) error { return nil }

// Refresh implements [Provider].
func (Base) Refresh(context.Context, *Client, Settings, secret.String) (token.Token, error) {
	return token.Token{}, &token.Error{Kind: token.Refused, Problem: "the provider does not use refresh tokens"}
}

// Revoke implements [Provider].
func (Base) Revoke(context.Context, *Client, Settings, secret.String, secret.String) error {
	return &token.Error{Kind: token.Refused, Problem: "the provider cannot revoke tokens"}
}

// Spec describes a provider.
type Spec struct {
	Name  string // as in a config: "sinch-india"
	Title string // one line, for people
	Docs  string // URL of the provider's documentation; may be ""
	Known string // how well the provider is known: "verified", "documented" or "reported"; may be ""
	Usage string // how apps present a token, with {token} in its place; may be ""

	// Fields are the provider's own config fields. Fields of all configs, such as max_ttl, are not
	// included.
	Fields []Field

	// SelfSigned says that the engine signs the tokens without a request. There are no Endpoints,
	// and a config cannot have a token_url.
	SelfSigned bool

	// Endpoints are the provider's environments, the default first. Without Endpoints, each
	// config must set token_url.
	Endpoints []Endpoint

	// Outputs are the names of the values that come with a token.
	Outputs []string

	CanRefresh bool // tokens may come with a refresh token
	CanRevoke  bool // a config may have a revocation_url

	// CanForce says that a login with Settings.Force always returns a new token. Without Force, a
	// login may return the current token. ForceInterval is the least time between forced logins;
	// ForceDailyLimit is the most per day. For both, 0 means no limit.
	CanForce        bool
	ForceInterval   time.Duration
	ForceDailyLimit int

	// SpendsRefresh says that a config may have a refresh token as its credential, in
	// [RefreshField]. A login may use up the refresh token. The answer then contains a new refresh
	// token.
	SpendsRefresh bool

	MinimumAge time.Duration // a token must be this old before a new one is asked for
	Exclusive  bool          // a new token ends the previous token
	Sliding    bool          // an answer with the current token extends the life of the token

	// SerialFields identify a user whose logins must run one after another; see [SerialKey].
	// Without SerialFields, logins may run at the same time.
	SerialFields []string
}

// Endpoint is the token URL of one environment of a provider.
type Endpoint struct {
	Environment string // "production", "uat"
	TokenURL    string // may contain placeholders of fields, such as {region}; see URL
}

// RefreshField is the config field whose refresh token is the long-lived credential.
const RefreshField = "refresh_token"

// FieldKind says how a config states a [Field], and how [Settings] store the value.
type FieldKind int

const (
	// Text is a string. Settings store it unchanged.
	Text FieldKind = iota
	// List is a list of words or a comma-separated string. Settings separate the words with spaces.
	List
	// Pairs is a map of strings, or key=value strings. The value in
	// [Settings] is the result of [url.Values.Encode].
	Pairs
	// PEM is a key or a certificate in PEM. Settings store it unchanged.
	PEM
	// JSON is the text of a JSON file. Values in the file become the values of other fields; see
	// Field.Sets. Settings store the text unchanged.
	JSON
)

// Field is a field that only configs of this provider have.
type Field struct {
	Name        string
	Description string // help text: what the field is, and where users find the value
	Kind        FieldKind
	Required    bool     // cannot be missing or empty
	Secret      bool     // write-only; an error that quotes the provider never shows it
	Allowed     []string // the only valid values; empty if all values are valid
	Default     string   // the value if a config does not set the field

	// For a JSON file, Sets maps names of other fields to places in the file. A config cannot
	// contain both the file and those fields. Expect lists values that the file must contain.
	Sets   map[string]pointer
	Expect []expectation

	OfKey     bool // the field describes the signing key; only a config that signs can have it
	InAddress bool // the field is part of the address of an endpoint

	// RequiresSecrets says that the field changes where or how secrets are sent. A write that
	// changes the field must include the secrets again.
	RequiresSecrets bool
}

// Settings are the provider's part of a config. They are valid for the [Spec], never change, and
// are safe for concurrent use.
type Settings struct {
	TokenURL      string        // of the config, or of its environment
	RevocationURL string        // where tokens are revoked; "" to let tokens expire
	DefaultTTL    time.Duration // lifetime of a token if the provider states none; 0 to fail then
	MaxTTL        time.Duration // longest use of a token; 0 if there is no limit
	Timeout       time.Duration // of each exchange, from dialling to the last byte; 0 means 10 s
	Force         bool          // demand a new token; only if the Spec says CanForce

	// Key is a generated signing key. If Key is nil, the field private_key is the signing key.
	Key *Key

	// Values holds the value of each field by name, with defaults; see [Spec.WithDefaults].
	// A field without a value is absent.
	Values map[string]secret.String
}

// Value returns the value of a field, or "" for a missing value.
func (s Settings) Value(field string) string { return s.Values[field].Reveal() }

// WithDefaults adds values from JSON files, and defaults of unset fields. It does not change the
// given map, but may return that map.
func (spec Spec) WithDefaults(values map[string]secret.String) map[string]secret.String {
	all := map[string]secret.String{}
	for _, f := range spec.Fields {
		if value, ok := values[f.Name]; !ok && f.Default != "" {
			all[f.Name] = secret.String(f.Default)
		} else if f.Kind == JSON {
			maps.Copy(all, f.fileValues(value.Reveal()))
		}
	}
	if len(all) == 0 {
		return values
	}
	maps.Copy(all, values)
	return all
}

// Host returns the host of the token endpoint, or "" for an invalid TokenURL.
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
