// SPDX-License-Identifier: MPL-2.0

package simulator

import (
	"encoding/json"
	"math"
	"reflect"
	"strconv"
	"time"
)

// Settings change how the providers behave. In JSON, the general settings are at the top level:
// {"access_ttl": 60, "providers": {"enablex-rcs": {"clock_offset": "24h"}}}.
type Settings struct {
	ProviderSettings
	// Providers are the settings for single providers, by name. They override the general
	// settings.
	Providers map[string]ProviderSettings `json:"providers,omitempty"`
}

// ProviderSettings change how a provider behaves. If a setting is nil for a provider, the general
// setting applies. If the general setting is nil too, the default applies. Help prints the comments
// of the fields.
type ProviderSettings struct {
	// AccessTTL is the lifetime of an access token in whole seconds, at least 1; default 3600.
	AccessTTL *Duration `json:"access_ttl,omitempty"`
	// RefreshTTL is the lifetime of a refresh token in whole seconds, at least 1; default 1800.
	RefreshTTL *Duration `json:"refresh_ttl,omitempty"`
	// RefreshTokens makes a login return a refresh token too; default true for sinch-india,
	// otherwise false. EnableX and Sinch Conversation never return refresh tokens.
	RefreshTokens *bool `json:"refresh_tokens,omitempty"`
	// RevokeRefreshToken makes each refresh token valid for one use; default false, as in
	// Keycloak. A second use ends the session and all its tokens (RFC 9700 §4.14.2).
	RevokeRefreshToken *bool `json:"revoke_refresh_token,omitempty"`
	// RefreshGrace is how long a used refresh token still works if revoke_refresh_token is
	// true; default 0. Each use returns new tokens.
	RefreshGrace *Duration `json:"refresh_grace,omitempty"`

	// Accounts adds accounts or changes them, by name.
	Accounts map[string]Account `json:"accounts,omitempty"`
	// AnyAccount makes every name valid as an account, with the secret "<name>-secret"; default
	// false. Existing accounts keep their secrets.
	AnyAccount *bool `json:"any_account,omitempty"`
	// LockoutAfter is the number of failed logins in a row that lock an account for a minute;
	// the default, 0, means no lockout. A locked account refuses even the right secret.
	LockoutAfter *int `json:"lockout_after,omitempty"`

	// Latency is how long the provider waits before it sends a response; default 0, at most 10
	// minutes. A token is issued before the wait.
	Latency *Duration `json:"latency,omitempty"`
	// ClockOffset is added to the provider's clock, and may be negative; default 0. It shifts
	// EnableX's expiry, the Date header and the claims in a token. Lifetimes stay the same.
	ClockOffset *Duration `json:"clock_offset,omitempty"`
	// DateHeader is "normal" (the default) or "garbage".
	DateHeader *string `json:"date_header,omitempty"`
	// ExpiryFormat is the form of expires_in or expiry in a response: "number" (the default),
	// "string" (of digits) or "absent".
	ExpiryFormat *string `json:"expiry_format,omitempty"`
	// SuccessStatus is the HTTP status of a response with a token; the default, 0, means 200.
	SuccessStatus *int `json:"success_status,omitempty"`
	// FailureStatus is the HTTP status of a refusal. The default, 0, means the usual status, such
	// as 200 for EnableX, or 401 for a failed login at Sinch India. Sinch documents both 401 and
	// 400. Keycloak sends 400 since version 26.6.
	FailureStatus *int `json:"failure_status,omitempty"`
	// EchoSecrets makes every failure repeat the request's secrets in the listed forms: "raw",
	// "url", "base64", "json" (each character as \uXXXX) or "json-twice" (as \\uXXXX).
	EchoSecrets []string `json:"echo_secrets,omitzero"`

	// Faults make requests fail. Only the first fault that matches a request applies. The
	// faults of a single provider come first.
	Faults []Fault `json:"faults,omitzero"`
}

// Account is an account of a provider.
type Account struct {
	// Secret is the password, the app key or the client secret. An oauth2 account without a
	// secret is a public client.
	Secret string `json:"secret,omitempty"`
}

// Values of the settings date_header, expiry_format and echo_secrets.
const (
	dateNormal, dateGarbage                               = "normal", "garbage"
	expiryNumber, expiryString, expiryAbsent              = "number", "string", "absent"
	echoRaw, echoURL, echoBase64, echoJSON, echoJSONTwice = "raw", "url", "base64", "json", "json-twice"
)

// EchoForms returns all values of the setting echo_secrets.
func EchoForms() []string { return []string{echoRaw, echoURL, echoBase64, echoJSON, echoJSONTwice} }

// providerNames returns the names of all providers.
func providerNames() []string {
	return []string{SinchIndia, EnableXWhatsApp, EnableXRCS, EnableXSMS, SinchConversation, OAuth2}
}

// resolve returns a provider's settings, including defaults. No pointer in the result is nil.
func (s Settings) resolve(provider string) ProviderSettings {
	resolved := ProviderSettings{
		AccessTTL:     new(Duration(time.Hour)),
		RefreshTTL:    new(Duration(30 * time.Minute)),
		RefreshTokens: new(provider == SinchIndia),
		DateHeader:    new(dateNormal),
		ExpiryFormat:  new(expiryNumber),
	}
	all, single := reflect.ValueOf(s.ProviderSettings), reflect.ValueOf(s.Providers[provider])
	dst := reflect.ValueOf(&resolved).Elem()
	for i := range dst.NumField() {
		field := dst.Field(i)
		switch {
		case !single.Field(i).IsNil():
			field.Set(single.Field(i))
		case !all.Field(i).IsNil():
			field.Set(all.Field(i))
		case field.Kind() == reflect.Pointer && field.IsNil():
			field.Set(reflect.New(field.Type().Elem())) // the default is the zero value
		}
	}
	return resolved
}

// Duration is a time.Duration. In JSON, it is a number of seconds, or text such as "1h30m".
type Duration time.Duration

func (d *Duration) value() time.Duration { return time.Duration(*d) }

// MarshalJSON writes seconds.
func (d Duration) MarshalJSON() ([]byte, error) {
	return strconv.AppendFloat(nil, time.Duration(d).Seconds(), 'f', -1, 64), nil
}

// UnmarshalJSON reads a number of seconds, or text for time.ParseDuration.
func (d *Duration) UnmarshalJSON(data []byte) error {
	const century = 100 * 365 * 24 * 3600
	var text string
	var seconds float64
	if json.Unmarshal(data, &text) == nil {
		if v, err := time.ParseDuration(text); err == nil {
			*d = Duration(v)
			return nil
		}
	} else if json.Unmarshal(data, &seconds) == nil && math.Abs(seconds) <= century {
		*d = Duration(math.Round(seconds * float64(time.Second)))
		return nil
	}
	return &json.UnmarshalTypeError{Value: string(data), Type: reflect.TypeFor[Duration]()} // encoding/json adds the name of the setting
}
