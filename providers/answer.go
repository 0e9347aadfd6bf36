// SPDX-License-Identifier: MPL-2.0

package providers

import (
	"net/http"
	"strconv"
	"strings"
	"time"

	"vault-plugin-secrets-messaging/internal/clock"
	"vault-plugin-secrets-messaging/internal/secret"
	"vault-plugin-secrets-messaging/internal/token"
)

// answer is the answer of an endpoint.
type answer struct {
	role     role   // of the endpoint
	endpoint string // host and path, fit to be shown
	redact   redactor

	status int
	header http.Header
	body   []byte       // nil if unread is set
	unread *token.Error // why the body could not be read

	sent  clock.Instant // when the request was sent
	now   time.Time     // of the answer: its Date, or our time if dated is false
	dated bool
}

// fail returns an error about the answer, or about the lack of an answer.
func (a *answer) fail(kind token.Kind, problem string) *token.Error {
	e := &token.Error{Kind: kind, Step: a.role.step, Endpoint: a.endpoint, Status: a.status, Problem: problem}
	if kind == token.RateLimited || kind == token.Unavailable {
		e.RetryAfter = retryAfter(a.header.Get("Retry-After"), a.now)
	}
	return e
}

// refuse returns an error with the provider's code and words.
func (a *answer) refuse(kind token.Kind, code, words string) *token.Error {
	e := a.fail(kind, "")
	if kind == token.Malformed {
		e.Problem = a.statusHint()
		if e.Problem == "" && code == "" {
			e.Problem = a.role.unexplained
		}
	}
	e.Code = a.redact.show(code, maxCode)
	e.Words = a.redact.show(words, maxWords)
	return e
}

// object decodes the body. If the body is not a JSON object, the error tells what the status
// means, or what is wrong with the body if the status tells nothing. Later errors about the
// answer withhold its tokens.
func (a *answer) object() (fields, error) {
	var f fields
	problem := ""
	if a.unread == nil {
		f, problem = decode(a.body)
	}
	hint := a.statusHint()
	switch {
	case a.unread == nil && problem == "":
		for _, name := range []string{"token", "access_token", "refresh_token", "id_token"} {
			if text, ok := f.text(name); ok {
				a.redact = a.redact.withToken(text)
			}
		}
		return f, nil
	case kindOf(a.status) != token.Malformed, hint != "":
		return nil, a.fail(kindOf(a.status), hint)
	case a.unread != nil:
		return nil, a.unread
	}
	return nil, a.fail(token.Malformed, problem)
}

// token returns a token with a valid lifetime, or an error if access cannot be a token.
func (a *answer) token(access string, lifetime time.Duration) (token.Token, error) {
	if problem := badToken(access); problem != "" {
		return token.Token{}, a.fail(token.Malformed, problem)
	}
	return token.Token{
		Access:   secret.String(access),
		Type:     bearer,
		Sent:     a.sent,
		Lifetime: lifetime,
	}, nil
}

const (
	bearer  = "Bearer"
	noToken = "the answer contains no token"
)

// badToken returns what is wrong with a token; "" if the token is good. RFC 6750 §2.1 allows
// fewer characters, but providers send others. Visible ASCII cannot split a header.
func badToken(access string) string {
	switch {
	case access == "":
		return noToken
	case len(access) > token.MaxSize:
		return "the token is larger than 32 KiB"
	}
	for _, b := range []byte(access) {
		if b < 0x21 || b > 0x7e {
			return "the token contains bytes that cannot be sent in a header"
		}
	}
	return ""
}

// lifetime returns the lifetime of the token in the answer, or defaultTTL if f does not have
// the named field. The function turns the value of the field into seconds.
func (a *answer) lifetime(f fields, name string, seconds func(value float64) float64, defaultTTL time.Duration) (time.Duration, error) {
	if f.has(name) {
		value, ok := f.number(name)
		if !ok {
			return 0, a.fail(token.Malformed, name+" must be a number")
		}
		return a.duration(name, seconds(value))
	}
	if defaultTTL <= 0 {
		return 0, a.fail(token.Malformed, "the answer has no "+name+", so default_ttl must be set")
	}
	return defaultTTL, nil
}

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

// until returns the seconds from the answer to a Unix time, both on the provider's clock.
func (a *answer) until(unix float64) float64 {
	return unix - float64(a.now.Unix()) - float64(a.now.Nanosecond())/1e9
}

// kindOf returns what an HTTP status means unless the body says more.
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

// statusHint returns what is probably wrong if an endpoint of this role never answers with
// the status; "" for other statuses.
func (a *answer) statusHint() string {
	switch status := a.status; {
	case status/100 == 3:
		return "redirects are not followed; " + a.role.field + " must be the address that this redirect leads to"
	case status == http.StatusNotFound, status == http.StatusGone:
		return "nothing exists at this address; " + a.role.field + " is probably wrong"
	case status == http.StatusMethodNotAllowed:
		return "this address does not accept POST; " + a.role.field + " is probably wrong"
	case kindOf(status) == token.Malformed && status/100 != 2 && status != http.StatusBadRequest:
		return "a " + a.role.title + " does not use this status; " + a.role.field + " is probably wrong"
	}
	return ""
}

// retryAfter returns the delay of a Retry-After header (RFC 9110 §10.2.3), which is in
// seconds or a date; now is the time on the provider's clock. The delay is 0 if the header
// is missing, is not valid or names a time in the past.
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
	} else if seconds, err := strconv.ParseUint(header, 10, 16); err == nil { // more than 16 bits exceed the maximum
		wait = time.Duration(seconds) * time.Second
	}
	return min(max(wait, 0), token.MaxRetryAfter)
}
