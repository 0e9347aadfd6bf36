// SPDX-License-Identifier: MPL-2.0

package providers

import (
	"encoding/base64"
	"encoding/json"
	"math"
	"slices"
	"strings"
	"time"

	"vault-plugin-secrets-messaging/internal/token"
)

// maxSkew is how far apart two clocks may be and still agree.
const maxSkew = 5 * time.Minute

// operatorTTL returns the lesser of default_ttl and max_ttl, ignoring unset values. It returns 0 if
// both are unset.
func (s Settings) operatorTTL() time.Duration {
	if s.DefaultTTL > 0 && s.MaxTTL > 0 {
		return min(s.DefaultTTL, s.MaxTTL)
	}
	return max(s.DefaultTTL, s.MaxTTL)
}

// lifetimeUnits are the formats of a lifetime or an expiry time in an answer.
var lifetimeUnits = []string{"seconds", "milliseconds", "until_unix", "until_unix_ms", "until_time"}

// lifetime says how long tokens live. The earliest end counts.
type lifetime struct {
	stated []statedLife  // by the answer
	jwt    bool          // the exp claim of the token counts, if the token is a JWT
	fixed  time.Duration // a limit; the lifetime itself if stated is nil and no exp counts; 0 for none
}

// statedLife says where an answer states a lifetime, and in which of the [lifetimeUnits].
type statedLife struct {
	unit string
	at   pointer
}

func (l lifetime) isZero() bool { return l.stated == nil && !l.jwt && l.fixed == 0 }

// of returns the lifetime of a token. default_ttl or max_ttl replaces an absurd lifetime, such as 0
// or 100 years. The error is a [*token.Error].
func (l lifetime) of(a *answer, f fields, access string, s Settings) (time.Duration, error) {
	var lives []time.Duration
	for _, stated := range l.stated {
		raw := f.at(stated.at)
		if raw == nil {
			continue
		}
		seconds, isAbsurd, problem := stated.read(a, raw)
		if problem != "" {
			return 0, a.fail(token.Malformed, stated.at.String()+" "+problem)
		}
		life := s.operatorTTL()
		if life <= 0 || !isAbsurd {
			var err error
			if life, err = a.duration(stated.at.String(), seconds); err != nil {
				return 0, err
			}
		}
		lives = append(lives, life)
	}
	if len(lives) == 0 && l.stated != nil {
		if s.DefaultTTL <= 0 {
			return 0, a.fail(token.Malformed, "the answer has no "+l.stated[0].at.String()+", so default_ttl must be set")
		}
		lives = append(lives, s.DefaultTTL)
	}
	if l.fixed > 0 {
		lives = append(lives, l.fixed)
	}
	if seconds, ok := a.jwtLifetime(access); ok && l.jwt && (len(lives) == 0 || seconds < slices.Min(lives).Seconds()) {
		life, err := a.duration("exp in the token", seconds)
		if err != nil {
			return 0, err
		}
		lives = append(lives, life)
	}
	if len(lives) > 0 {
		return slices.Min(lives), nil
	}
	if s.DefaultTTL <= 0 {
		return 0, a.fail(token.Malformed, "the token states no end, so default_ttl must be set")
	}
	return s.DefaultTTL, nil
}

// ofRefresh returns the lifetime of a refresh token in seconds. An unknown lifetime is 0.
func (l lifetime) ofRefresh(a *answer, f fields, refresh string) float64 {
	var lives []float64
	for _, stated := range l.stated {
		if raw := f.at(stated.at); raw != nil {
			if seconds, _, problem := stated.read(a, raw); problem == "" {
				lives = append(lives, seconds)
			}
		}
	}
	if l.fixed > 0 {
		lives = append(lives, l.fixed.Seconds())
	}
	if seconds, ok := a.jwtLifetime(refresh); ok && l.jwt {
		lives = append(lives, seconds)
	}
	if len(lives) == 0 {
		return 0
	}
	return slices.Min(lives)
}

// read returns the seconds until a token expires. isAbsurd means that the number in the answer is
// not positive, or that the expiry is over 10 years away. problem says why the value is unreadable,
// or is "".
func (l statedLife) read(a *answer, raw json.RawMessage) (left float64, isAbsurd bool, problem string) {
	var number float64
	if l.unit == "until_time" {
		end, err := time.Parse(time.RFC3339, strings.Replace(jsonString(raw), " ", "T", 1))
		if err != nil {
			return 0, false, "must be a date and time such as 2031-05-04T12:00:00Z (RFC 3339)"
		}
		number = seconds(end)
	} else {
		var ok bool
		if number, ok = jsonFloat(raw); !ok {
			return 0, false, "must be a number"
		}
	}
	if strings.HasSuffix(l.unit, "_ms") || l.unit == "milliseconds" {
		number /= 1000
	}
	left = number
	if strings.HasPrefix(l.unit, "until") {
		left = a.until(number, nil)
	}
	return left, number <= 0 || math.Abs(left) > token.MaxLifetime.Seconds(), ""
}

// duration converts seconds to a lifetime. It returns an error if the lifetime is not positive or
// exceeds 10 years.
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

// until returns the seconds from an answer to a Unix time. Three times may tell when the answer
// came: our clock, the answer's Date, and the token's iat claim. The parameter issued is iat, or
// nil if unknown. until uses the latest time, which gives the shortest lifetime. Two times agree if
// they differ by at most maxSkew. There are three exceptions:
//
//   - Date is ignored if it agrees with neither our clock nor issued.
//   - Our clock is ignored if Date agrees with issued, but not with our clock.
//   - If the token would already have expired, only issued counts, or only Date if issued is nil.
//     This exception does not apply if Date agrees with our clock but not with issued.
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

// jwtLifetime returns the seconds until a JWT's exp claim (RFC 7519 §4.1.4). The token comes from
// the endpoint itself, so jwtLifetime does not verify the signature.
func (a *answer) jwtLifetime(access string) (seconds float64, ok bool) {
	parts := strings.Split(access, ".")
	if len(parts) != 3 {
		return 0, false
	}
	var claims fields
	payload, err := base64.RawURLEncoding.DecodeString(parts[1])
	if err != nil || json.Unmarshal(payload, &claims) != nil {
		return 0, false
	}
	exp, ok := jsonFloat(claims["exp"])
	if !ok {
		return 0, false
	}
	if iat, ok := jsonFloat(claims["iat"]); ok {
		return a.until(exp, &iat), true
	}
	return a.until(exp, nil), true
}
