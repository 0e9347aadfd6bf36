// SPDX-License-Identifier: MPL-2.0

package simulator

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"reflect"
	"slices"
	"time"
)

// merge returns the settings after a JSON merge patch (RFC 7396). It returns an error if a setting
// is invalid.
func (s Settings) merge(patch []byte) (Settings, error) {
	var p, doc any
	if json.Unmarshal(patch, &p) != nil || reflect.TypeOf(p) != reflect.TypeFor[map[string]any]() {
		return Settings{}, errors.New("settings must be a JSON object")
	}
	dec := json.NewDecoder(bytes.NewReader(patch))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&Settings{}); err != nil {
		return Settings{}, err
	}
	if err := json.Unmarshal(s.encode(), &doc); err != nil {
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
	return merged, merged.validate()
}

// mergePatch implements RFC 7396 §2.
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

// validate checks the settings of all providers and of single providers.
func (s Settings) validate() error {
	if err := s.ProviderSettings.validate(); err != nil {
		return err
	}
	for name, settings := range s.Providers {
		if !slices.Contains(providerNames(), name) {
			return fmt.Errorf("unknown provider %q, must be one of %q", name, providerNames())
		}
		if err := settings.validate(); err != nil {
			return fmt.Errorf("providers.%s: %w", name, err)
		}
	}
	return nil
}

// validate returns an error that names each invalid setting.
func (p ProviderSettings) validate() error {
	const forever = math.MaxInt64
	errs := []error{
		checkDuration("access_ttl", p.AccessTTL, time.Second, time.Second, forever),
		checkDuration("refresh_ttl", p.RefreshTTL, time.Second, time.Second, forever),
		checkDuration("refresh_grace", p.RefreshGrace, 1, 0, forever),
		checkDuration("latency", p.Latency, 1, 0, 10*time.Minute),
		checkOneOf("date_header", p.DateHeader, dateNormal, dateGarbage),
		checkOneOf("expiry_format", p.ExpiryFormat, expiryNumber, expiryString, expiryAbsent),
		checkStatus("success_status", p.SuccessStatus, 200, 299),
		checkStatus("failure_status", p.FailureStatus, 200, 599),
	}
	if p.LockoutAfter != nil && *p.LockoutAfter < 0 {
		errs = append(errs, errors.New(`setting "lockout_after": must not be negative`))
	}
	for _, form := range p.EchoSecrets {
		errs = append(errs, checkOneOf("echo_secrets", &form, EchoForms()...))
	}
	for i, f := range p.Faults {
		if err := f.validate(); err != nil {
			errs = append(errs, fmt.Errorf("setting \"faults\": fault %d: %w", i+1, err))
		}
	}
	return errors.Join(errs...)
}

func checkDuration(name string, value *Duration, unit, low, high time.Duration) error {
	switch {
	case value == nil:
		return nil
	case value.value() < low:
		return fmt.Errorf("setting %q: must be at least %v, not %v", name, low, value.value())
	case value.value() > high:
		return fmt.Errorf("setting %q: must be at most %v, not %v", name, high, value.value())
	case value.value()%unit != 0:
		return fmt.Errorf("setting %q: must be whole seconds, not %v", name, value.value())
	}
	return nil
}

func checkOneOf(name string, value *string, allowed ...string) error {
	if value != nil && !slices.Contains(allowed, *value) {
		return fmt.Errorf("setting %q: must be one of %q, not %q", name, allowed, *value)
	}
	return nil
}

func checkStatus(name string, value *int, low, high int) error {
	if value != nil && *value != 0 && (*value < low || *value > high) {
		return fmt.Errorf("setting %q: must be an HTTP status from %d to %d, not %d", name, low, high, *value)
	}
	return nil
}

// clone returns a deep copy.
func (s Settings) clone() Settings {
	var c Settings
	if err := json.Unmarshal(s.encode(), &c); err != nil {
		panic(err) // encode returns valid JSON
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
