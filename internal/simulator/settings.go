// SPDX-License-Identifier: MPL-2.0

package simulator

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// Settings are the knobs of all providers and, on top of those, of single ones. In JSON the knobs of all providers
// stand at the top level: {"access_ttl": 60, "providers": {"enablex-rcs": {"clock_offset": "24h"}}}.
type Settings struct {
	Knobs
	Providers map[string]Knobs `json:"providers,omitempty"`
}

// Knobs are what can be turned. A nil field is not turned: the knob of all providers counts, else the default.
// Durations are in seconds, or text such as "1h30m".
type Knobs struct {
	// AccessTTL is an access token's lifetime in whole seconds, at least 1; default 3600.
	AccessTTL *Duration `json:"access_ttl,omitempty"`
	// RefreshTTL is a refresh token's lifetime in whole seconds; 0 is an offline token, which does not expire;
	// default 1800.
	RefreshTTL *Duration `json:"refresh_ttl,omitempty"`
	// RefreshTokens says whether a login also gets a refresh token; default true for sinch-india, else false.
	// EnableX and Sinch Conversation have none.
	RefreshTokens *bool `json:"refresh_tokens,omitempty"`
	// RotateRefresh says whether a refresh answers with a new refresh token; default true. The old one lives on to its
	// own expiry, unless RevokeRefreshToken says otherwise.
	RotateRefresh *bool `json:"rotate_refresh,omitempty"`
	// RevokeRefreshToken says whether a refresh that answers with a new refresh token ends the old one, whose use after
	// that ends the session and all its tokens; default false, as in Keycloak.
	RevokeRefreshToken *bool `json:"revoke_refresh_token,omitempty"`
	// SessionMax is how long a session lasts from its login, in whole seconds, however often it is refreshed: no token
	// of it outlives it. 0, the default, means for ever; sessions of offline tokens (RefreshTTL 0) last for ever too.
	// EnableX and Sinch Conversation have no sessions.
	SessionMax *Duration `json:"session_max,omitempty"`
	// SingleToken says whether a new access token ends the account's previous one; default false.
	SingleToken *bool `json:"single_token,omitempty"`

	// Accounts adds accounts or changes them, by name.
	Accounts map[string]Account `json:"accounts,omitempty"`
	// AnyAccount lets in any name whose secret is "<name>-secret"; default false.
	AnyAccount *bool `json:"any_account,omitempty"`
	// LockoutAfter is how many failed logins in a row lock an account; 0, the default, means never. A locked account
	// answers even the right secret as if it were wrong.
	LockoutAfter *int `json:"lockout_after,omitempty"`
	// LockoutFor is how long an account stays locked; default 60.
	LockoutFor *Duration `json:"lockout_for,omitempty"`
	// QuickLoginLockout says whether two failed logins within a second lock an account for a minute, whatever
	// LockoutAfter and LockoutFor say; default false. A Keycloak realm with brute-force detection does so by default.
	QuickLoginLockout *bool `json:"quick_login_lockout,omitempty"`
	// OneLoginAtATime says whether a password grant is refused, as if the password were wrong, while another one of the
	// same user is under way: from its arrival until its answer is sent (latency included) or its client has gone. It
	// does not count towards the lockout. Default true for sinch-india, as a Keycloak realm with brute-force detection
	// does it, else false. Refreshes are not concerned.
	OneLoginAtATime *bool `json:"one_login_at_a_time,omitempty"`

	// Latency is waited before every answer, after the provider has acted; at most 10 minutes; default 0.
	Latency *Duration `json:"latency,omitempty"`
	// ClockOffset is how far the provider's clock is ahead (or, negative, behind): it shifts EnableX's expiry, the Date
	// header and the claims in a token. How long a token really lives is not affected.
	ClockOffset *Duration `json:"clock_offset,omitempty"`
	// DateHeader is "normal", "none" or "garbage".
	DateHeader *string `json:"date_header,omitempty"`
	// ExpiryFormat is how expires_in or expiry is sent: "number", "string" (of digits) or "absent".
	ExpiryFormat *string `json:"expiry_format,omitempty"`
	// SuccessStatus is the HTTP status of a token answer; 0, the default, means 200.
	SuccessStatus *int `json:"success_status,omitempty"`
	// FailureStatus is the HTTP status of a refusal; 0, the default, means the documented one (EnableX: 200). Sinch
	// India documents 400 and 401: Keycloak answers a refused login ("Invalid user credentials") with 400 from 26.6 on,
	// and before with 401. Which one Sinch runs is not known, so the default is 401, the older; 400 here is the newer.
	FailureStatus *int `json:"failure_status,omitempty"`
	// EchoSecrets puts the secrets of a request into every failure's text: "raw", "url", "base64", "json" (each
	// character as \u00XX on the wire) or "json-twice" (the same, and still so once the JSON is decoded).
	EchoSecrets []string `json:"echo_secrets,omitzero"`

	// Faults go wrong in this order; those of the single provider come before those of all.
	Faults []Fault `json:"faults,omitzero"`
}

// Account is an account of a provider.
type Account struct {
	// Secret is the password, app key or client secret. Empty means that it stays what it is; an account that never had
	// one is a public client (oauth2 only).
	Secret string `json:"secret,omitempty"`
	// Disabled makes every login fail, with "Account disabled" where the provider says such things.
	Disabled bool `json:"disabled,omitempty"`
	// NotSetUp makes a login with the right secret fail with "Account is not fully set up".
	NotSetUp bool `json:"not_set_up,omitempty"`
}

// ParseSettings reads settings from JSON. An error names the unknown knob or the bad value's.
func ParseSettings(data []byte) (Settings, error) {
	return Settings{}.merge(data)
}

// Validate says what is wrong with the settings, naming the knob.
func (s Settings) Validate() error {
	if err := s.Knobs.validate(); err != nil {
		return err
	}
	for _, name := range slices.Sorted(maps.Keys(s.Providers)) {
		if !isProvider(name) {
			return fmt.Errorf("unknown provider %q", name)
		}
		if err := s.Providers[name].validate(); err != nil {
			return fmt.Errorf("providers.%s: %w", name, err)
		}
	}
	return nil
}

// merge returns the settings with the patch applied (RFC 7396), valid or an error.
func (s Settings) merge(patch []byte) (Settings, error) {
	if err := checkPatch(patch); err != nil {
		return Settings{}, err
	}
	var doc, p any
	if err := errors.Join(json.Unmarshal(s.encode(), &doc), json.Unmarshal(patch, &p)); err != nil {
		return Settings{}, err
	}
	data, err := json.Marshal(mergePatch(doc, p))
	if err != nil {
		return Settings{}, err
	}
	var merged Settings
	if err := json.Unmarshal(data, &merged); err != nil {
		return Settings{}, err
	}
	return merged, merged.Validate()
}

// mergePatch is the function of RFC 7396 §2.
func mergePatch(target, patch any) any {
	p, ok := patch.(map[string]any)
	if !ok {
		return patch
	}
	t, ok := target.(map[string]any)
	if !ok {
		t = map[string]any{}
	}
	for name, value := range p {
		if value == nil {
			delete(t, name)
		} else {
			t[name] = mergePatch(t[name], value)
		}
	}
	return t
}

// checkPatch decodes a patch knob by knob, so that an error can name the knob.
func checkPatch(patch []byte) error {
	var top map[string]json.RawMessage
	if err := json.Unmarshal(patch, &top); err != nil || top == nil {
		return errors.New("settings must be a JSON object")
	}
	var providers map[string]map[string]json.RawMessage
	if raw, ok := top["providers"]; ok {
		if err := json.Unmarshal(raw, &providers); err != nil {
			return errors.New("providers must be an object of provider name to knobs")
		}
		delete(top, "providers")
	}
	if err := checkKnobs(top); err != nil {
		return err
	}
	for _, name := range slices.Sorted(maps.Keys(providers)) {
		if !isProvider(name) {
			return fmt.Errorf("unknown provider %q", name)
		}
		if err := checkKnobs(providers[name]); err != nil {
			return fmt.Errorf("providers.%s: %w", name, err)
		}
	}
	return nil
}

func checkKnobs(raw map[string]json.RawMessage) error {
	for _, name := range slices.Sorted(maps.Keys(raw)) {
		one, err := json.Marshal(map[string]json.RawMessage{name: raw[name]})
		if err != nil {
			return err
		}
		dec := json.NewDecoder(bytes.NewReader(one))
		dec.DisallowUnknownFields()
		err = dec.Decode(&Knobs{})
		unknown := err != nil && strings.HasSuffix(err.Error(), fmt.Sprintf("unknown field %q", name))
		if unknown || name != strings.ToLower(name) { // in capitals, encoding/json takes it for the knob
			return fmt.Errorf("unknown knob %q", name)
		}
		if err != nil {
			return fmt.Errorf("knob %q: %w", name, err)
		}
	}
	return nil
}

// clone returns a copy that shares nothing.
func (s Settings) clone() Settings {
	var c Settings
	if err := json.Unmarshal(s.encode(), &c); err != nil {
		panic(err) // what we encoded we can decode
	}
	return c
}

func (s Settings) encode() []byte {
	data, err := json.Marshal(s)
	if err != nil {
		panic(err) // plain data always encodes
	}
	return data
}

func isProvider(name string) bool {
	switch name {
	case SinchIndia, EnableXWhatsApp, EnableXRCS, EnableXSMS, SinchConversation, OAuth2:
		return true
	}
	return false
}
