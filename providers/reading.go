// SPDX-License-Identifier: MPL-2.0

package providers

import (
	"encoding/json"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"vault-plugin-secrets-messaging/internal/secret"
	"vault-plugin-secrets-messaging/internal/token"
)

// reading says how to read the answers of a token endpoint.
type reading struct {
	oauth2 bool // a token_type must be Bearer

	status    []int // of a success; any 2xx if empty
	anyStatus bool  // the status says nothing
	values    []expectation

	token, refresh    pointer
	life, refreshLife lifetime
	outputs           []output

	codes, messages []pointer
	outcomes        []outcome
}

// expectation lists the valid values of a field in a JSON object. The value "" also matches null
// and a missing field.
type expectation struct {
	at     pointer
	values []string
}

// output is a value from the provider's answer. creds/<name> returns the value beside the token.
type output struct {
	name string
	at   pointer
}

// An outcome says what kind of failure an HTTP status, a code or a message means.
type outcome struct {
	name            string
	kind            token.Kind
	status          []int
	codes, messages []string
}

// setDefaults fills in the field names of RFC 6749 §5.1. It also fills in refresh_expires_in, which
// Keycloak sends.
func (r *reading) setDefaults() {
	if r.token == nil {
		r.token = pointer{"access_token"}
	}
	if r.refresh == nil {
		r.refresh = pointer{"refresh_token"}
	}
	if r.life.isZero() {
		r.life = lifetime{stated: []statedLife{{"seconds", pointer{"expires_in"}}}, jwt: true}
	}
	if r.refreshLife.isZero() {
		r.refreshLife = lifetime{stated: []statedLife{{"seconds", pointer{"refresh_expires_in"}}}}
	}
}

// read returns the token of an answer. The error is a [*token.Error].
func (r *reading) read(a *answer, s Settings) (token.Token, error) {
	f, err := a.object()
	if err != nil {
		return token.Token{}, r.refine(a, err)
	}
	known := a.redact
	access, refresh := jsonString(f.at(r.token)), jsonString(f.at(r.refresh))
	a.redact = a.redact.withToken(access).withToken(refresh)
	if access == "" || !r.isSuccess(a, f) {
		return token.Token{}, r.failure(a, f)
	}
	if kind := f["token_type"]; r.oauth2 && !isBearer(kind) {
		return token.Token{}, a.fail(token.Malformed, "token_type must be Bearer")
	}
	life, err := r.life.of(a, f, access, s)
	if err != nil {
		return token.Token{}, err
	}
	if problem := badToken(access); problem != "" {
		return token.Token{}, a.fail(token.Malformed, problem)
	}
	t := token.Token{Access: secret.String(access), Type: bearer, Sent: a.sent, Lifetime: life}
	t.Refresh, t.RefreshLifetime = r.refreshToken(a, f, refresh)
	for _, o := range r.outputs {
		if text := jsonScalar(f.at(o.at)); fitsOutput(text) && !known.isIn(text) {
			if t.Outputs == nil {
				t.Outputs = map[string]string{}
			}
			t.Outputs[o.name] = text
		}
	}
	return t, nil
}

const bearer = "Bearer"

// badToken returns what is wrong with a token, or "". It allows all visible ASCII characters. RFC
// 6750 §2.1 allows fewer, but not all providers comply.
func badToken(access string) string {
	switch {
	case len(access) > token.MaxSize:
		return "the token is larger than 32 KiB"
	case strings.ContainsFunc(access, func(r rune) bool { return r < 0x21 || r > 0x7e }):
		return "the token contains bytes that cannot be sent in a header"
	}
	return ""
}

// isBearer reports whether a token_type is absent or names bearer tokens.
func isBearer(kind json.RawMessage) bool {
	if kind == nil || string(kind) == "null" || string(kind) == `""` {
		return true
	}
	text := jsonString(kind)
	return strings.EqualFold(text, bearer) || strings.EqualFold(text, "BearerToken") // of Apigee
}

// maxOutput is the maximum size, in bytes, of a value that creds returns beside the token. Larger
// values are omitted.
const maxOutput = 4 << 10

func fitsOutput(text string) bool {
	return text != "" && text != unreadable && len(text) <= maxOutput && text == printable(text)
}

// refreshToken returns the refresh token and its lifetime. It drops a token that is too long or has
// expired. An unknown or endless lifetime is 0.
func (r *reading) refreshToken(a *answer, f fields, refresh string) (secret.String, time.Duration) {
	if refresh == "" || len(refresh) > token.MaxSize {
		return "", 0
	}
	seconds := r.refreshLife.ofRefresh(a, f, refresh)
	switch {
	case seconds < 0:
		return "", 0
	case seconds > token.MaxLifetime.Seconds():
		seconds = 0 // as good as endless
	}
	return secret.String(refresh), time.Duration(seconds * float64(time.Second))
}

func (r *reading) isSuccess(a *answer, f fields) bool {
	switch {
	case r.anyStatus:
	case len(r.status) > 0 && !slices.Contains(r.status, a.status), len(r.status) == 0 && a.status/100 != 2:
		return false
	}
	return !slices.ContainsFunc(r.values, func(e expectation) bool { return !e.isMet(f) })
}

func (e expectation) isMet(f fields) bool {
	got := jsonScalar(f.at(e.at))
	return slices.ContainsFunc(e.values, func(want string) bool { return sameScalar(got, want) })
}

// sameScalar reports whether two values are equal. Equal numbers may differ in notation.
func sameScalar(got, want string) bool {
	number, err := strconv.ParseFloat(want, 64)
	return got == want || err == nil && isNumber(got, number)
}

// failure returns the error for a JSON answer that is not a success.
func (r *reading) failure(a *answer, f fields) *token.Error {
	found := f.fault()
	kind := found.kind(a.status)
	var words []string
	for _, p := range r.messages {
		if text := jsonString(f.at(p)); text != "" && !slices.Contains(words, text) {
			words = append(words, text)
		}
	}
	code := ""
	for _, p := range r.codes {
		if code = jsonScalar(f.at(p)); code != "" {
			found.codes = slices.Insert(found.codes, 0, code)
			break
		}
	}
	if words != nil {
		found.words = words
		if kind == token.Malformed && code == "" {
			kind = token.Refused // an answer with an error message and no code is an error
		}
	}
	o := r.outcome(a.status, found.codes, strings.ToLower(strings.Join(found.words, " ")))
	if o != nil {
		kind = o.kind
	}
	e := a.refuse(found, kind)
	if o != nil {
		o.explain(e)
	}
	return e
}

// explain adds to an error what the outcome means.
func (o *outcome) explain(e *token.Error) {
	switch o.name {
	case "operator":
		e.Operator = true
		e.Problem = "someone has to change a setting at the provider"
	case "client":
		e.Client = true
	}
}

// refine returns the error for an answer that is not a JSON object: the error that the definition
// describes for the HTTP status, or else err. For 403 and 407, refine always returns err, because
// these probably come from a proxy.
func (r *reading) refine(a *answer, err error) error {
	o := r.outcome(a.status, nil, "")
	if o == nil || a.status == http.StatusForbidden || a.status == http.StatusProxyAuthRequired {
		return err
	}
	e := a.fail(o.kind, "")
	o.explain(e)
	return e
}

// outcome returns the definition's outcome for a failure, or nil. It compares codes first, messages
// second, and the status last.
func (r *reading) outcome(status int, codes []string, words string) *outcome {
	tests := []func(outcome) bool{
		func(o outcome) bool {
			return slices.ContainsFunc(o.codes, func(want string) bool {
				return slices.ContainsFunc(codes, func(got string) bool { return sameScalar(got, want) })
			})
		},
		func(o outcome) bool {
			return slices.ContainsFunc(o.messages, func(part string) bool { return strings.Contains(words, strings.ToLower(part)) })
		},
		func(o outcome) bool { return slices.Contains(o.status, status) },
	}
	for _, test := range tests {
		if i := slices.IndexFunc(r.outcomes, test); i >= 0 {
			return &r.outcomes[i]
		}
	}
	return nil
}
