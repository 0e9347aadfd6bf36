// SPDX-License-Identifier: MPL-2.0

package providers

import (
	"bytes"
	"encoding/json"
	"net/http"
	"time"

	"vault-plugin-secrets-messaging/internal/secret"
)

// answer is what an endpoint said.
type answer struct {
	role   role // of the endpoint
	status int
	header http.Header
	body   []byte // nil if it could not be read: unread says why
	unread *Error

	sent     time.Time // when the request was, by both clocks
	now      time.Time // of the answer, on the provider's clock; on ours if it sent no Date
	dated    bool      // whether it sent one
	endpoint string    // host and path, fit to be shown
	redact   redactor
}

// fail makes an Error about the answer, or about the lack of one.
func (a *answer) fail(kind Kind, problem string) *Error {
	e := &Error{Kind: kind, Status: a.status, step: a.role.step, endpoint: a.endpoint, problem: problem}
	if kind == RateLimited || kind == Unavailable {
		e.RetryAfter = retryAfter(a.header.Get("Retry-After"), a.now)
	}
	return e
}

// refuse makes an Error that passes on the provider's code and words.
func (a *answer) refuse(kind Kind, code, words string) *Error {
	e := a.fail(kind, "")
	if kind == Malformed {
		e.problem = a.statusHint()
		if e.problem == "" && code == "" {
			e.problem = a.role.silence
		}
	}
	e.Code = a.redact.words(code, maxCode)
	e.Words = a.redact.words(words, maxWords)
	return e
}

// elapsed is the time from start to now by the monotonic clock, which a
// suspended machine stops, or by the wall clock, which somebody may set: the
// larger.
func elapsed(start, now time.Time) time.Duration {
	return max(now.Sub(start), now.Round(0).Sub(start.Round(0)), 0)
}

// token makes the Token of an answer's parts, if they can be one. The lifetime
// is checked already.
func (a *answer) token(access string, lifetime time.Duration) (Token, error) {
	if problem := badToken(access); problem != "" {
		return Token{}, a.fail(Malformed, problem)
	}
	return Token{
		Access:   secret.String(access),
		Type:     bearer,
		Lifetime: lifetime,
		Took:     elapsed(a.sent, time.Now()),
	}, nil
}

const (
	bearer   = "Bearer"
	maxToken = 32 << 10
)

// badToken says what is wrong with a token, or "". A token goes into a header
// as it is, so it is visible ASCII: less than RFC 6750 §2.1 asks for, which
// providers do not keep to, and enough that no header can be split.
func badToken(token string) string {
	switch {
	case token == "":
		return "there is no token in it"
	case len(token) > maxToken:
		return "its token is over 32 KiB"
	}
	for i := range len(token) {
		if token[i] < 0x21 || token[i] > 0x7e {
			return "its token has bytes that do not belong in a header"
		}
	}
	return ""
}

// maxLifetime is more than any bearer token should live. What is beyond it is a
// unit taken for another, such as a Unix time in milliseconds.
const maxLifetime = 10 * 365 * 24 * time.Hour

// lifetime turns seconds from the named field into a duration, or says what is
// wrong with them.
func lifetime(field string, seconds float64) (d time.Duration, problem string) {
	if seconds > maxLifetime.Seconds() {
		return 0, field + " gives a lifetime of more than 10 years; is it in milliseconds?"
	}
	if seconds > 0 {
		d = time.Duration(seconds * float64(time.Second))
	}
	if d == 0 {
		return 0, field + " gives a lifetime that is over already"
	}
	return d, ""
}

// until is the number of seconds from the answer to a Unix time, both on the
// provider's clock.
func (a *answer) until(unix float64) float64 {
	return unix - float64(a.now.Unix()) - float64(a.now.Nanosecond())/1e9
}

// fields is a JSON object whose values are still to be read. Of fields that
// occur twice the last counts; names are case-sensitive.
type fields map[string]json.RawMessage

// object reads the body. Where it cannot be read the error is of what the status
// says, if that says more than the body. Tokens in it are never shown by errors
// made later.
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
				a.redact = a.redact.hide(text)
			}
		}
		return f, nil
	case kindOf(a.status) != Malformed, hint != "":
		return nil, a.fail(kindOf(a.status), hint)
	case a.unread != nil:
		return nil, a.unread
	}
	return nil, a.fail(Malformed, problem)
}

func decode(body []byte) (f fields, problem string) {
	body = bytes.TrimSpace(body)
	switch err := json.Unmarshal(body, &f); {
	case err == nil && f != nil:
		return f, ""
	case len(body) == 0:
		return nil, "it is empty"
	case body[0] == '<':
		return nil, "it is a page of HTML, not JSON"
	}
	return nil, "it is not a JSON object"
}

// has says whether a field is there and not null.
func (f fields) has(name string) bool {
	raw, ok := f[name]
	return ok && string(raw) != "null"
}

// text returns a field that holds a string; "" and false if it does not.
func (f fields) text(name string) (text string, ok bool) {
	if !f.has(name) || json.Unmarshal(f[name], &text) != nil {
		return "", false
	}
	return text, true
}

// number returns a field that holds a number, or a string with one in it; 0
// and false if it does not.
func (f fields) number(name string) (value float64, ok bool) {
	var n json.Number // takes both, and checks the string
	if !f.has(name) || json.Unmarshal(f[name], &n) != nil {
		return 0, false
	}
	value, err := n.Float64()
	return value, err == nil
}

// code returns a field that holds a string or a number, as text: "" if it is
// not there, and something that is no code if it holds anything else.
func (f fields) code(name string) string {
	if text, ok := f.text(name); ok {
		return text
	}
	var n json.Number
	switch {
	case !f.has(name):
		return ""
	case json.Unmarshal(f[name], &n) != nil:
		return "(unreadable)"
	}
	return n.String()
}
