// SPDX-License-Identifier: MPL-2.0

package simulator

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"slices"
	"strconv"
	"time"
)

// Duration is a length of time that JSON shows in seconds, and reads as seconds or as text such as "1h30m".
type Duration time.Duration

// For returns a knob's duration.
func For(d time.Duration) *Duration {
	v := Duration(d)
	return &v
}

// To returns a knob's value.
func To[T any](v T) *T { return &v }

// MarshalJSON writes seconds.
func (d Duration) MarshalJSON() ([]byte, error) {
	return strconv.AppendFloat(nil, time.Duration(d).Seconds(), 'f', -1, 64), nil
}

// UnmarshalJSON reads seconds or a duration's text.
func (d *Duration) UnmarshalJSON(data []byte) error {
	var text string
	if err := json.Unmarshal(data, &text); err == nil {
		v, err := time.ParseDuration(text)
		*d = Duration(v)
		return err
	}
	var seconds float64
	if err := json.Unmarshal(data, &seconds); err != nil {
		return fmt.Errorf("want seconds or a duration such as \"1h30m\", not %s", data)
	}
	const century = 100 * 365 * 24 * 3600
	if math.Abs(seconds) > century {
		return fmt.Errorf("%s seconds is too long", data)
	}
	*d = Duration(math.Round(seconds * float64(time.Second)))
	return nil
}

// What the knobs date_header and expiry_format can be.
const (
	dateNormal, dateNone, dateGarbage          = "normal", "none", "garbage"
	expiryNumber, expiryString, expiryIsAbsent = "number", "string", "absent"
)

// What the knob echo_secrets can name.
const (
	echoRaw, echoURL, echoBase64, echoJSON, echoJSONTwice = "raw", "url", "base64", "json", "json-twice"
)

// validate returns all that is wrong, each naming its knob.
func (k Knobs) validate() error {
	errs := []error{
		k.validateTimes(),
		oneOf("date_header", k.DateHeader, dateNormal, dateNone, dateGarbage),
		oneOf("expiry_format", k.ExpiryFormat, expiryNumber, expiryString, expiryIsAbsent),
		statusIn("success_status", k.SuccessStatus, 200, 299),
		statusIn("failure_status", k.FailureStatus, 200, 599),
	}
	if k.LockoutAfter != nil && *k.LockoutAfter < 0 {
		errs = append(errs, errors.New(`knob "lockout_after": must not be negative`))
	}
	for _, form := range k.EchoSecrets {
		errs = append(errs, oneOf("echo_secrets", &form, echoRaw, echoURL, echoBase64, echoJSON, echoJSONTwice))
	}
	for i, f := range k.Faults {
		if err := f.validate(); err != nil {
			errs = append(errs, fmt.Errorf("knob \"faults\": number %d: %w", i+1, err))
		}
	}
	return errors.Join(errs...)
}

func (k Knobs) validateTimes() error {
	for _, t := range []struct {
		name       string
		value      *Duration
		min, whole time.Duration
		max        time.Duration
	}{
		{"access_ttl", k.AccessTTL, time.Second, time.Second, math.MaxInt64},
		{"refresh_ttl", k.RefreshTTL, 0, time.Second, math.MaxInt64},
		{"session_max", k.SessionMax, 0, time.Second, math.MaxInt64},
		{"lockout_for", k.LockoutFor, 0, 1, math.MaxInt64},
		{"latency", k.Latency, 0, 1, 10 * time.Minute},
	} {
		if t.value == nil {
			continue
		}
		d := time.Duration(*t.value)
		if d < t.min || d > t.max {
			return fmt.Errorf("knob %q: %v is out of range", t.name, d)
		}
		if d%t.whole != 0 {
			return fmt.Errorf("knob %q: must be whole seconds, not %v", t.name, d)
		}
	}
	return nil
}

func oneOf(knob string, value *string, allowed ...string) error {
	if value != nil && !slices.Contains(allowed, *value) {
		return fmt.Errorf("knob %q: must be one of %q, not %q", knob, allowed, *value)
	}
	return nil
}

func statusIn(knob string, value *int, low, high int) error {
	if value != nil && *value != 0 && (*value < low || *value > high) {
		return fmt.Errorf("knob %q: must be an HTTP status from %d to %d, not %d", knob, low, high, *value)
	}
	return nil
}

// rules are the knobs as they count for one request: every one has a value.
type rules struct {
	accessTTL, refreshTTL        time.Duration
	sessionMax                   time.Duration
	refreshTokens, rotateRefresh bool
	revokeRefreshToken           bool
	singleToken, anyAccount      bool
	lockoutAfter                 int
	lockoutFor                   time.Duration
	quickLoginLockout            bool
	oneLoginAtATime              bool
	latency, clockOffset         time.Duration
	dateHeader, expiryFormat     string
	successStatus, failureStatus int
	echoSecrets                  []string
}

// rules returns what counts for a provider: its own knobs over those of all providers over the defaults.
func (s Settings) rules(provider string) rules {
	r := rules{
		accessTTL:       time.Hour,
		refreshTTL:      30 * time.Minute,
		refreshTokens:   provider == SinchIndia,
		rotateRefresh:   true,
		lockoutFor:      time.Minute,
		oneLoginAtATime: provider == SinchIndia,
		dateHeader:      dateNormal,
		expiryFormat:    expiryNumber,
	}
	for _, k := range []Knobs{s.Knobs, s.Providers[provider]} {
		override(&r.accessTTL, (*time.Duration)(k.AccessTTL))
		override(&r.refreshTTL, (*time.Duration)(k.RefreshTTL))
		override(&r.refreshTokens, k.RefreshTokens)
		override(&r.rotateRefresh, k.RotateRefresh)
		override(&r.revokeRefreshToken, k.RevokeRefreshToken)
		override(&r.sessionMax, (*time.Duration)(k.SessionMax))
		override(&r.singleToken, k.SingleToken)
		override(&r.anyAccount, k.AnyAccount)
		override(&r.lockoutAfter, k.LockoutAfter)
		override(&r.lockoutFor, (*time.Duration)(k.LockoutFor))
		override(&r.quickLoginLockout, k.QuickLoginLockout)
		override(&r.oneLoginAtATime, k.OneLoginAtATime)
		override(&r.latency, (*time.Duration)(k.Latency))
		override(&r.clockOffset, (*time.Duration)(k.ClockOffset))
		override(&r.dateHeader, k.DateHeader)
		override(&r.expiryFormat, k.ExpiryFormat)
		override(&r.successStatus, k.SuccessStatus)
		override(&r.failureStatus, k.FailureStatus)
		if k.EchoSecrets != nil {
			r.echoSecrets = slices.Clone(k.EchoSecrets)
		}
	}
	return r
}

func override[T any](dst, value *T) {
	if value != nil {
		*dst = *value
	}
}
