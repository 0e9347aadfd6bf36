// SPDX-License-Identifier: MPL-2.0

package providers

import (
	"math"
	"time"

	"vault-plugin-secrets-messaging/internal/token"
)

// maxSkew is how far apart two clocks may be and still agree.
const maxSkew = 5 * time.Minute

// operatorTTL returns the lifetime that the operator set for tokens whose lifetime the
// provider does not state sensibly; 0 if the operator set none.
func (s Settings) operatorTTL() time.Duration {
	if s.DefaultTTL > 0 && s.MaxTTL > 0 {
		return min(s.DefaultTTL, s.MaxTTL)
	}
	return max(s.DefaultTTL, s.MaxTTL)
}

// expiresIn returns the lifetime in the named field, which holds seconds. A lifetime of 0,
// a negative lifetime and one of more than 10 years say nothing, so the operator's default_ttl
// or max_ttl counts.
func (a *answer) expiresIn(f fields, name string, s Settings) (time.Duration, error) {
	seconds, stated, err := a.statedNumber(f, name, s)
	if err != nil || !stated {
		return s.DefaultTTL, err
	}
	if ttl := s.operatorTTL(); ttl > 0 && (seconds <= 0 || isAbsurd(seconds)) {
		return ttl, nil
	}
	return a.duration(name, seconds)
}

// expiresAt returns the lifetime of a token that ends at the Unix time in the named field.
// A time of 0 or below, and a time more than 10 years away, say nothing, so the operator's
// default_ttl or max_ttl counts.
func (a *answer) expiresAt(f fields, name string, s Settings) (time.Duration, error) {
	unix, stated, err := a.statedNumber(f, name, s)
	if err != nil || !stated {
		return s.DefaultTTL, err
	}
	seconds := a.until(unix, nil)
	if ttl := s.operatorTTL(); ttl > 0 && (unix <= 0 || isAbsurd(seconds)) {
		return ttl, nil
	}
	return a.duration(name, seconds)
}

// statedNumber returns the number in a field, and whether the answer has the field. Without
// the field, the operator must have set default_ttl.
func (a *answer) statedNumber(f fields, name string, s Settings) (value float64, stated bool, err error) {
	if !f.has(name) {
		if s.DefaultTTL <= 0 {
			err = a.fail(token.Malformed, "the answer has no "+name+", so default_ttl must be set")
		}
		return 0, false, err
	}
	value, ok := f.number(name)
	if !ok {
		return 0, false, a.fail(token.Malformed, name+" must be a number")
	}
	return value, true, nil
}

func isAbsurd(seconds float64) bool { return math.Abs(seconds) > token.MaxLifetime.Seconds() }

// duration turns the seconds from the named field into a lifetime.
func (a *answer) duration(name string, seconds float64) (time.Duration, error) {
	if seconds > token.MaxLifetime.Seconds() {
		return 0, a.fail(token.Malformed, name+" gives a lifetime of more than 10 years; it may be in milliseconds")
	}
	d := time.Duration(max(seconds, 0) * float64(time.Second))
	if d == 0 {
		return 0, a.fail(token.Malformed, name+" gives a lifetime that has already ended")
	}
	return d, nil
}

// until returns the seconds from the answer to a Unix time that the provider names. Three
// clocks may tell the time of the answer: our clock, the answer's Date, and the time at which
// the token was issued (its iat claim; nil if unknown). The earliest end counts.
//
//   - A Date that agrees with neither our clock nor issued is not believed.
//   - Our clock is not believed if Date and issued agree and our clock differs.
//   - A token may be older than the answer, but is not dead on arrival because one clock
//     says so. The life that issued gives counts then.
func (a *answer) until(unix float64, issued *float64) float64 {
	ours, date := seconds(a.now), seconds(a.date)
	dated := !a.date.IsZero()
	dateIsOurs := dated && near(date, ours)
	var left float64
	switch {
	case dateIsOurs:
		left = unix - max(ours, date)
	case dated && issued != nil && near(date, *issued):
		left = unix - date
	default:
		left = unix - ours
	}
	if issued != nil {
		left = min(left, unix-*issued)
	}
	switch {
	case left > 0:
	case issued != nil && (!dateIsOurs || near(date, *issued)):
		return unix - *issued
	case issued == nil && dated && !dateIsOurs:
		return unix - date
	}
	return left
}

// seconds returns t as a Unix time.
func seconds(t time.Time) float64 { return float64(t.Unix()) + float64(t.Nanosecond())/1e9 }

func near(one, other float64) bool { return math.Abs(one-other) <= maxSkew.Seconds() }
