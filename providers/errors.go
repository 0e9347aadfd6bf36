// SPDX-License-Identifier: MPL-2.0

package providers

import (
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// Kind is what a failure means for the next attempt. Its text is for people.
type Kind string

const (
	// Refused: the provider does not accept the credentials. Repeating that
	// soon may lock the account.
	Refused Kind = "credentials refused"
	// RateLimited: the provider asks for fewer requests.
	RateLimited Kind = "rate-limited"
	// Unavailable: no answer, or one that says to try later.
	Unavailable Kind = "unavailable"
	// Malformed: an answer that no token can be had from.
	Malformed Kind = "malformed answer"
)

// Error is why a provider gave no token, or did not end one. No field of it and no part of its
// text holds a secret; it may be logged and shown to people. It is not changed
// once returned.
type Error struct {
	Kind   Kind
	Status int    // the HTTP status; 0 if there was no answer
	Code   string // the provider's own error code ("invalid_grant", "1003"); "" if none was given

	// Words are the provider's own, from the fields it documents for them:
	// printable, at most 300 characters, every secret of ours blanked out.
	Words string

	// RetryAfter is how long the provider asks to be left alone, counted from
	// its answer: at most 15 min, 0 if it did not say.
	RetryAfter time.Duration

	step     string // what was being done, where it was not a login
	endpoint string // host and path, never query or user info
	problem  string // ours: what was wrong, and what would be right if known
	cause    error  // context.Canceled, context.DeadlineExceeded or nil
}

// Error says what was wrong, where, and what would be right if that is known:
//
//	credentials refused: auth.example.com/token answered 401 Unauthorized: invalid_grant "Invalid user credentials"
func (e *Error) Error() string {
	var b strings.Builder
	if e.step != "" {
		b.WriteString(e.step + ": ")
	}
	b.WriteString(string(e.Kind))
	if e.Status != 0 {
		answered := strings.TrimSpace(fmt.Sprintf("%d %s", e.Status, http.StatusText(e.Status)))
		b.WriteString(": " + strings.TrimSpace(e.endpoint+" answered "+answered))
	} else if e.endpoint != "" {
		b.WriteString(": " + e.endpoint)
	}
	if e.problem != "" {
		b.WriteString(": " + e.problem)
	}
	if e.RetryAfter > 0 {
		b.WriteString(", asking to wait " + e.RetryAfter.Round(time.Second).String())
	}
	if e.Code != "" || e.Words != "" {
		b.WriteString(": " + e.Code)
		if e.Code != "" && e.Words != "" {
			b.WriteString(" ")
		}
		if e.Words != "" {
			b.WriteString(`"` + e.Words + `"`)
		}
	}
	return b.String()
}

// Unwrap returns [context.Canceled] or [context.DeadlineExceeded] where that
// ended the exchange, else nil. Other causes stay inside: their text may show
// what Error does not.
func (e *Error) Unwrap() error { return e.cause }

// FieldError is a field of a config that breaks one of its provider's rules.
type FieldError struct {
	Field   string // its name
	Problem string // what is wrong with it; never its value
}

func (e *FieldError) Error() string { return e.Field + ": " + e.Problem }

// kindOf is what an HTTP status means where the body says nothing better.
func kindOf(status int) Kind {
	switch {
	case status == http.StatusUnauthorized, status == http.StatusForbidden:
		return Refused
	case status == http.StatusTooManyRequests:
		return RateLimited
	case status == http.StatusRequestTimeout, status == http.StatusTooEarly, status >= 500:
		return Unavailable
	}
	return Malformed
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
	case kindOf(status) == Malformed && status/100 != 2 && status != http.StatusBadRequest:
		return "not a status of a " + a.role.title
	}
	return ""
}

// maxRetryAfter bounds how long a provider can keep us from asking again.
const maxRetryAfter = 15 * time.Minute

// retryAfter reads a Retry-After header (RFC 9110 §10.2.3): seconds, or a date,
// which is on the provider's clock and so taken relative to now on that clock.
// It is 0 if the header is not there, makes no sense, or is of the past.
func retryAfter(header string, now time.Time) time.Duration {
	header = strings.TrimSpace(header)
	if header == "" {
		return 0
	}
	wait := maxRetryAfter
	if strings.Trim(header, "0123456789") != "" {
		at, err := http.ParseTime(header)
		if err != nil {
			return 0
		}
		wait = at.Sub(now)
	} else if seconds, err := strconv.ParseUint(header, 10, 16); err == nil { // more than 16 bits is more than the bound
		wait = time.Duration(seconds) * time.Second
	}
	return min(max(wait, 0), maxRetryAfter)
}
