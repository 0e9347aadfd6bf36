// SPDX-License-Identifier: MPL-2.0

package providers

import (
	"bytes"
	"encoding/json"
	"net/http"
	"time"

	"vault-plugin-secrets-messaging/internal/clock"
	"vault-plugin-secrets-messaging/internal/secret"
	"vault-plugin-secrets-messaging/internal/token"
)

// answer is what an endpoint said.
type answer struct {
	role   role // of the endpoint
	status int
	header http.Header
	body   []byte // nil if it could not be read: unread says why
	unread *token.Error

	sent     clock.Instant // when the request was sent
	now      time.Time     // of the answer, on the provider's clock; on ours if it sent no Date
	dated    bool          // whether it sent one
	endpoint string        // host and path, fit to be shown
	redact   redactor
}

// fail makes an Error about the answer, or about the lack of one.
func (a *answer) fail(kind token.Kind, problem string) *token.Error {
	e := &token.Error{Kind: kind, Status: a.status, Step: a.role.step, Endpoint: a.endpoint, Problem: problem}
	if kind == token.RateLimited || kind == token.Unavailable {
		e.RetryAfter = retryAfter(a.header.Get("Retry-After"), a.now)
	}
	return e
}

// refuse makes an Error that passes on the provider's code and words.
func (a *answer) refuse(kind token.Kind, code, words string) *token.Error {
	e := a.fail(kind, "")
	if kind == token.Malformed {
		e.Problem = a.statusHint()
		if e.Problem == "" && code == "" {
			e.Problem = a.role.silence
		}
	}
	e.Code = a.redact.words(code, maxCode)
	e.Words = a.redact.words(words, maxWords)
	return e
}

// token makes the Token of an answer's parts, if they can be one. The lifetime
// is checked already.
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

const bearer = "Bearer"

// badToken says what is wrong with a token, or "". A token goes into a header
// as it is, so it is visible ASCII: less than RFC 6750 §2.1 asks for, which
// providers do not keep to, and enough that no header can be split.
func badToken(access string) string {
	switch {
	case access == "":
		return "there is no token in it"
	case len(access) > token.MaxSize:
		return "its token is over 32 KiB"
	}
	for i := range len(access) {
		if access[i] < 0x21 || access[i] > 0x7e {
			return "its token has bytes that do not belong in a header"
		}
	}
	return ""
}

// lifetime turns seconds from the named field into a duration, or says what is
// wrong with them.
func lifetime(field string, seconds float64) (d time.Duration, problem string) {
	if seconds > token.MaxLifetime.Seconds() {
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
	case kindOf(a.status) != token.Malformed, hint != "":
		return nil, a.fail(kindOf(a.status), hint)
	case a.unread != nil:
		return nil, a.unread
	}
	return nil, a.fail(token.Malformed, problem)
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
