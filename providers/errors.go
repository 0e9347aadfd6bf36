// SPDX-License-Identifier: MPL-2.0

package providers

import (
	"net/http"
	"strconv"
	"strings"
	"time"

	"vault-plugin-secrets-messaging/internal/token"
)

// FieldError is a field of a config that breaks one of its provider's rules.
type FieldError struct {
	Field   string // its name
	Problem string // what is wrong with it; never its value
}

func (e *FieldError) Error() string { return e.Field + ": " + e.Problem }

// kindOf is what an HTTP status means where the body says nothing better.
func kindOf(status int) token.Kind {
	switch {
	case status == http.StatusUnauthorized, status == http.StatusForbidden:
		return token.Refused
	case status == http.StatusTooManyRequests:
		return token.RateLimited
	case status == http.StatusRequestTimeout, status == http.StatusTooEarly, status >= 500:
		return token.Unavailable
	}
	return token.Malformed
}

// statusHint says what is probably wrong where a status has no place at an
// endpoint of this role; "" for the others.
func (a *answer) statusHint() string {
	switch status := a.status; {
	case status/100 == 3:
		return "a redirect, which is not followed; " + a.role.setting + " must be the address it leads to"
	case status == http.StatusNotFound, status == http.StatusGone:
		return "there is nothing at this address; " + a.role.setting + " is probably wrong"
	case status == http.StatusMethodNotAllowed:
		return "this address does not take a POST; " + a.role.setting + " is probably wrong"
	case kindOf(status) == token.Malformed && status/100 != 2 && status != http.StatusBadRequest:
		return "not a status of a " + a.role.title
	}
	return ""
}

// retryAfter reads a Retry-After header (RFC 9110 §10.2.3): seconds, or a date,
// which is on the provider's clock and so taken relative to now on that clock.
// It is 0 if the header is not there, makes no sense, or is of the past.
func retryAfter(header string, now time.Time) time.Duration {
	header = strings.TrimSpace(header)
	if header == "" {
		return 0
	}
	wait := token.MaxRetryAfter
	if strings.Trim(header, "0123456789") != "" {
		at, err := http.ParseTime(header)
		if err != nil {
			return 0
		}
		wait = at.Sub(now)
	} else if seconds, err := strconv.ParseUint(header, 10, 16); err == nil { // more than 16 bits is more than the bound
		wait = time.Duration(seconds) * time.Second
	}
	return min(max(wait, 0), token.MaxRetryAfter)
}
