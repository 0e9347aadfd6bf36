// SPDX-License-Identifier: MPL-2.0

package providers

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"mime"
	"net/url"
	"regexp"
	"strconv"
	"strings"
)

// fields are the undecoded values of a JSON object. If a name occurs twice, the last value
// counts.
type fields map[string]json.RawMessage

// decode parses a body that must be a JSON object. It returns the object's fields, or what is
// wrong.
func decode(body []byte, contentType string) (f fields, problem string) {
	body = trimBody(body)
	if err := json.Unmarshal(body, &f); err == nil && f != nil {
		return f, ""
	}
	const must = "the body must be a JSON object, "
	switch {
	case len(body) == 0:
		return nil, "the body is empty"
	case json.Valid(body):
		kind := map[byte]string{'[': "list", '"': "string", 'n': "null", 't': "boolean", 'f': "boolean"}[body[0]]
		return nil, must + "not a JSON " + cmp.Or(kind, "number")
	case body[0] == '{':
		return nil, must + "but the JSON is damaged or cut short"
	case body[0] == '<' && isHTML(body, contentType):
		return nil, must + "not an HTML page"
	case body[0] == '<':
		return nil, must + "not XML"
	case formPairs.Match(body):
		return nil, must + "not form-encoded parameters"
	}
	return nil, must + "not plain text"
}

// trimBody removes white space and a byte order mark. Some servers send these before JSON.
func trimBody(body []byte) []byte {
	return bytes.TrimSpace(bytes.TrimPrefix(body, []byte("\ufeff")))
}

var htmlTag = regexp.MustCompile(`(?i)<(!doctype html|html|head|body|title|meta|script|h1|p|div)\b`)

func isHTML(body []byte, contentType string) bool {
	media, _, _ := mime.ParseMediaType(contentType)
	return media == "text/html" || htmlTag.Match(body)
}

var formPairs = regexp.MustCompile(`^[\w.-]+=[^\s=]*(&[\w.-]+=[^\s=]*)*$`)

// formError returns the fields of a form-encoded error response. It returns nil for other bodies.
func formError(body []byte) fields {
	body = trimBody(body)
	if !formPairs.Match(body) {
		return nil
	}
	form, _ := url.ParseQuery(string(body))
	if form.Get("error") == "" {
		return nil
	}
	f := fields{}
	for _, name := range []string{"error", "error_description"} {
		f[name], _ = json.Marshal(form.Get(name)) // never fails for a string
	}
	return f
}

// jsonString returns the text of a JSON string. It returns "" for other values.
func jsonString(raw json.RawMessage) string {
	var text string
	if json.Unmarshal(raw, &text) != nil {
		return ""
	}
	return text
}

// jsonFloat returns a number, which may be in a string. A number beyond the range of float64
// becomes infinite.
func jsonFloat(raw json.RawMessage) (value float64, ok bool) {
	var n json.Number // decodes both, and checks the string
	if json.Unmarshal(raw, &n) != nil || n == "" {
		return 0, false
	}
	value, err := n.Float64()
	return value, err == nil || errors.Is(err, strconv.ErrRange)
}

// jsonCode returns a string or a number as text. It returns "" for null or a missing value, and
// [unreadable] for other types.
func jsonCode(raw json.RawMessage) string {
	var (
		text   string
		number json.Number
	)
	switch {
	case len(raw) == 0 || json.Unmarshal(raw, &text) == nil: // null leaves text empty
		return text
	case json.Unmarshal(raw, &number) == nil:
		return number.String()
	}
	return unreadable
}

// jsonScalar returns a string, a number or a boolean as text. For other values, see [jsonCode].
func jsonScalar(raw json.RawMessage) string {
	if text := string(raw); text == "true" || text == "false" {
		return text
	}
	return jsonCode(raw)
}

// unreadable stands for a value that is no text.
const unreadable = "(unreadable)"

// isNumber reports whether a code equals a number, in any notation.
func isNumber(code string, want float64) bool {
	got, err := strconv.ParseFloat(code, 64)
	return err == nil && got == want
}

// plainName returns a name in lower case without separators. For example, error_code and Error-Code
// become errorcode.
func plainName(name string) string {
	return strings.NewReplacer("_", "", "-", "").Replace(strings.ToLower(name))
}
