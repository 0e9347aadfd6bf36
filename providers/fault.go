// SPDX-License-Identifier: MPL-2.0

package providers

import (
	"encoding/json"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"vault-plugin-secrets-messaging/internal/token"
)

// A fault is the error in an answer without a token. RFC 6749 §5.2 defines one format; many
// providers have their own.
type fault struct {
	isError bool     // the answer says that it is an error
	codes   []string // error codes; the code of the outermost object comes first
	words   []string // error messages of the outermost object that has any
}

// Names in an error, as [plainName] returns them.
var (
	codeNames = []string{"error", "errorcode", "errcode", "code", "faultcode", "result"}
	wordNames = []string{
		"errordescription", "errorsummary", "errormessage", "errormsg", "errmsg", "message", "msg", "faultstring",
		"title", "detail", "details", "description", "desc", "reason", "redason", // the spelling of EnableX
	}
	nestedNames = []string{"error", "errors", "fault", "exception", "detail", "details", "errordetails"}
)

// maxFaultDepth limits the depth of the search for codes and messages in an answer.
const maxFaultDepth = 4

// fault returns what f says about the reason of a failure.
func (f fields) fault() fault {
	var found fault
	found.add(f, 0)
	return found
}

func (found *fault) add(f fields, depth int) {
	plain := fields{}
	for _, name := range slices.Backward(slices.Sorted(maps.Keys(f))) { // the first of equal names counts
		if string(f[name]) != "null" {
			plain[plainName(name)] = f[name]
		}
	}
	for name, raw := range plain {
		if isFaultName(name) && !isEmptyJSON(raw) {
			found.isError = true
		}
	}
	found.addCodes(plain)
	if len(found.words) == 0 {
		for _, name := range wordNames {
			if text := jsonString(plain[name]); text != "" && !slices.Contains(found.words, text) {
				found.words = append(found.words, text)
			}
		}
	}
	for _, name := range nestedNames {
		if depth < maxFaultDepth {
			found.addNested(plain[name], depth+1)
		}
	}
}

// addCodes adds the codes of one object.
func (found *fault) addCodes(plain fields) {
	for _, name := range codeNames {
		code := jsonCode(plain[name])
		switch {
		case code == "", name == "error" && code == unreadable, name != "code" && isNumber(code, 0):
			continue
		case !isFaultName(name) && code != unreadable && !isSuccess(code):
			found.isError = true
		}
		found.codes = append(found.codes, code)
	}
	for _, name := range []string{"status", "statuscode"} { // an HTTP status, or a word
		switch code := jsonCode(plain[name]); strings.ToLower(code) {
		case "error", "fail", "failed", "failure", "unauthorized", "forbidden":
			found.isError = true
		default:
			if n, err := strconv.Atoi(code); err == nil && n >= http.StatusBadRequest {
				found.isError = true
				found.codes = append(found.codes, code)
			}
		}
	}
	for _, name := range []string{"success", "ok"} {
		if string(plain[name]) == "false" {
			found.isError = true
		}
	}
}

// addNested adds the codes and messages in an object, or in a list of objects or strings.
func (found *fault) addNested(raw json.RawMessage, depth int) {
	var (
		f    fields
		list []json.RawMessage
		text string
	)
	switch {
	case raw == nil:
	case json.Unmarshal(raw, &f) == nil:
		found.add(f, depth)
	case json.Unmarshal(raw, &list) == nil:
		for _, element := range list[:min(len(list), 3)] {
			if json.Unmarshal(element, &text) == nil && text != "" {
				if len(found.words) == 0 {
					found.words = []string{text}
				}
			} else if depth < maxFaultDepth {
				found.addNested(element, depth+1)
			}
		}
	}
}

// isFaultName reports whether a field with this [plainName], such as errcode, describes an error.
func isFaultName(name string) bool {
	return strings.HasPrefix(name, "err") || strings.HasPrefix(name, "fault") || strings.HasPrefix(name, "exception")
}

// isSuccess reports whether a code means success.
func isSuccess(code string) bool {
	n, err := strconv.ParseFloat(code, 64)
	return err == nil && (n == 0 || n >= 200 && n < 300) || strings.EqualFold(code, "ok") || strings.EqualFold(code, "success")
}

// isEmptyJSON reports whether a value says nothing.
func isEmptyJSON(raw json.RawMessage) bool {
	return slices.Contains([]string{"null", "false", "0", `""`, `"0"`, "{}", "[]"}, string(raw))
}

// kind returns the kind of a failure. If an answer does not say that a later request may succeed,
// an error counts as a refusal, because another login could lock the account.
func (found *fault) kind(status int) token.Kind {
	later, isLater := found.later()
	switch {
	case status == http.StatusTooManyRequests:
		return token.RateLimited
	case isLater:
		return later
	case found.isRefusal():
		return token.Refused
	case isOutage(status):
		return token.Unavailable
	case found.isError, status/100 == 4:
		return token.Refused
	}
	return token.Malformed
}

// later reports whether a code in the error means a temporary failure. It also returns the kind of
// that failure.
func (found *fault) later() (token.Kind, bool) {
	for _, code := range found.codes {
		switch strings.ToLower(code) {
		case "temporarily_unavailable", "server_error": // codes of RFC 6749 §4.1.2.1, which token endpoints use too
			return token.Unavailable, true
		case "slow_down", "429": // RFC 8628 §3.5
			return token.RateLimited, true
		}
		if status, err := strconv.Atoi(code); err == nil && status < 600 && isOutage(status) {
			return token.Unavailable, true
		}
	}
	return 0, false
}

// isRefusal reports whether a code says that the credentials are wrong.
func (found *fault) isRefusal() bool {
	return slices.ContainsFunc(found.codes, func(code string) bool {
		return code == "invalid_grant" || code == "invalid_client" || code == "unauthorized_client"
	})
}

// isOutage reports whether an HTTP status means that a later request may succeed.
func isOutage(status int) bool {
	return status == http.StatusRequestTimeout || status == http.StatusTooEarly || status >= 500
}

// refuse returns the error of a JSON answer without a token.
func (a *answer) refuse(found fault, kind token.Kind) *token.Error {
	e := a.fail(kind, "")
	if len(found.codes) > 0 {
		e.Code = a.redact.show(found.codes[0], maxCode)
	}
	e.Words = a.redact.show(strings.Join(found.words, ": "), maxWords)
	if kind == token.Malformed || kind == token.Refused && !found.isRefusal() {
		e.Problem = a.wrongAddress()
		if kind == token.Malformed && e.Problem == "" {
			e.Problem = a.statusHint()
		}
		if e.Problem == "" && e.Code == "" && (kind == token.Malformed || e.Words == "") {
			e.Problem = a.role.unexplained
		}
	}
	return e
}
