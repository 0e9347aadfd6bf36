// SPDX-License-Identifier: MPL-2.0

package token

import (
	"fmt"
	"net/http"
	"strings"
	"time"
)

// Kind classifies a failed mint, and decides when the next attempt may start.
type Kind int

const (
	Unavailable Kind = iota // no answer, or an answer that says to try later
	Malformed               // an answer without a usable token
	RateLimited             // the provider asks for fewer requests
	Refused                 // the provider rejects the credentials; repeating may lock the account

	NumKinds = iota
)

// String returns the name of k in status, metrics and events.
func (k Kind) String() string {
	return [NumKinds]string{Unavailable: "unavailable", Malformed: "malformed", RateLimited: "rate_limited", Refused: "refused"}[k]
}

// phrase returns what k is called in an error.
func (k Kind) phrase() string {
	return [NumKinds]string{Unavailable: "unavailable", Malformed: "malformed answer", RateLimited: "rate-limited", Refused: "credentials refused"}[k]
}

// MaxRetryAfter limits how long a provider can delay the next request.
const MaxRetryAfter = 15 * time.Minute

// Error says why a provider did not issue or revoke a token. It contains no secret, so it may be
// logged and shown. Do not modify an Error that was returned.
type Error struct {
	Kind     Kind
	Step     string // what failed, such as "refreshing the token"; "" means the login
	Endpoint string // host and path of the URL; never its query or user info
	Status   int    // the HTTP status; 0 if there was no answer
	Problem  string // what is wrong and how to correct it, in the plugin's words

	// Operator means that requests fail until somebody changes the account at the provider.
	// Kind is then Refused.
	Operator bool

	// Client means that the provider refused the client, for example its secret. The refresh token
	// may still be valid. Kind is then Refused.
	Client bool

	Unsent bool // no byte of the request was sent
	Lost   bool // the refresh token, which is the credential, no longer works. Kind is then Refused.

	Code  string // the provider's error code ("invalid_grant", "1003"); "" if it sent none
	Words string // the provider's own words: printable, at most 300 characters

	// RetryAfter is how long the provider asks to wait, at most MaxRetryAfter. If the provider
	// does not ask, RetryAfter is 0.
	RetryAfter time.Duration

	Cause error // an error for errors.Is, such as context.Canceled; may be nil
}

// Error returns a text such as:
//
//	credentials refused: auth.example.com/token answered 401 Unauthorized: invalid_grant "Invalid user credentials"
func (e *Error) Error() string {
	var parts []string
	add := func(part string) {
		if part != "" {
			parts = append(parts, part)
		}
	}
	add(e.Step)
	if e.Operator {
		add("account blocked")
	} else {
		add(e.Kind.phrase())
	}
	where := e.Endpoint
	if e.Status != 0 {
		where = strings.TrimSpace(fmt.Sprintf("%s answered %d %s", e.Endpoint, e.Status, http.StatusText(e.Status)))
	}
	add(where)
	add(e.Problem)
	if e.RetryAfter > 0 {
		parts[len(parts)-1] += ", asking to wait " + e.RetryAfter.Round(time.Second).String()
	}
	said := e.Code
	if e.Words != "" {
		said = strings.TrimPrefix(said+` "`+e.Words+`"`, " ")
	}
	add(said)
	return strings.Join(parts, ": ")
}

// Unwrap returns Cause. An Error wraps nothing else, because other errors might show a secret.
func (e *Error) Unwrap() error { return e.Cause }
