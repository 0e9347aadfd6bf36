// SPDX-License-Identifier: MPL-2.0

package simulator

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"html"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"unicode/utf16"
)

// object is a JSON object to send.
type object map[string]any

// answer is what goes back for one request.
type answer struct {
	status      int
	header      map[string]string
	body        object // sent as JSON, unless raw is set
	raw         []byte
	contentType string // of raw; "" means JSON

	ok                      bool   // the provider did what it was asked
	tokenField, expiryField string // where in body they are; "" in an answer without a token
	cut                     cut
}

// cut says where a connection is closed.
type cut int

const (
	cutNot cut = iota
	cutBefore
	cutInBody
)

func (s *Simulator) write(w http.ResponseWriter, c *call, a answer) {
	if a.cut == cutBefore {
		panic(http.ErrAbortHandler) // net/http closes the connection
	}
	body := a.raw
	if body == nil && a.body != nil {
		body, _ = json.Marshal(a.body) // strings and numbers always encode
	}
	h := w.Header()
	if a.contentType == "" && len(body) > 0 {
		a.contentType = jsonType
	}
	if a.contentType != "" {
		h.Set("Content-Type", a.contentType)
	}
	h.Set("Cache-Control", "no-store")
	h.Set("Content-Length", strconv.Itoa(len(body)))
	switch c.rules.dateHeader {
	case dateNormal:
		h.Set("Date", c.providerNow().UTC().Format(http.TimeFormat))
	case dateGarbage:
		h.Set("Date", "the day after tomorrow")
	case dateNone:
		h["Date"] = nil
	}
	for name, value := range a.header {
		h.Set(name, value)
	}
	if a.status == http.StatusNoContent {
		h.Del("Content-Length")
	}
	w.WriteHeader(a.status)
	if a.cut == cutInBody {
		_, _ = w.Write(body[:len(body)/2])
		_ = http.NewResponseController(w).Flush()
		panic(http.ErrAbortHandler)
	}
	_, _ = w.Write(body) // who has gone will not miss it
}

// proxyPage is what a proxy in front of a provider answers.
func proxyPage(status int, echo wireText) answer {
	title := fmt.Sprintf("%d %s", status, http.StatusText(status))
	page := fmt.Sprintf("<html>\r\n<head><title>%s</title></head>\r\n<body>\r\n<center><h1>%s</h1></center>\r\n"+
		"<hr><center>nginx</center>\r\n<!-- %s -->\r\n</body>\r\n</html>\r\n", title, title, html.EscapeString(echo.text))
	return answer{status: status, raw: []byte(page), contentType: "text/html"}
}

// wireText is text for a JSON answer, of which the second part is written as \u escapes throughout.
type wireText struct{ text, escaped string }

// MarshalJSON writes one JSON string.
func (t wireText) MarshalJSON() ([]byte, error) {
	quoted, err := json.Marshal(t.text)
	if err != nil {
		return nil, err
	}
	quoted = append(quoted[:len(quoted)-1], escapeAll(t.escaped)...)
	return append(quoted, '"'), nil
}

// escapeAll writes every UTF-16 unit of s as \uXXXX.
func escapeAll(s string) string {
	var b strings.Builder
	for _, unit := range utf16.Encode([]rune(s)) {
		fmt.Fprintf(&b, `\u%04x`, unit)
	}
	return b.String()
}

// words returns the text of a failure: the fault's own words or else these, and the secrets that are to be echoed.
func (c *call) words(text string) wireText {
	if c.fault != nil && c.fault.Description != "" {
		text = c.fault.Description
	}
	echo := c.echo()
	echo.text = text + echo.text
	return echo
}

// EchoForms returns all that the knob echo_secrets can name.
func EchoForms() []string { return []string{echoRaw, echoURL, echoBase64, echoJSON, echoJSONTwice} }

// echo returns the secrets of the request in the forms that the knob echo_secrets asks for.
func (c *call) echo() wireText {
	var t wireText
	for _, secret := range c.secrets() {
		for _, form := range c.rules.echoSecrets {
			switch form {
			case echoRaw:
				t.text += " " + secret
			case echoURL:
				t.text += " " + url.QueryEscape(secret)
			case echoBase64:
				t.text += " " + base64.StdEncoding.EncodeToString([]byte(secret))
			case echoJSONTwice:
				t.text += " " + escapeAll(secret)
			case echoJSON:
				t.escaped += " " + secret
			}
		}
	}
	return t
}

// failure returns a refusal: with the knob's HTTP status, or else the documented one.
func (c *call) failure(documented int, body object) answer {
	status := documented
	if c.rules.failureStatus != 0 {
		status = c.rules.failureStatus
	}
	return answer{status: status, body: body}
}

// oneEach records every form parameter that is sent twice, or is not among those documented; it reports whether none
// is sent twice (RFC 6749 §3.2).
func (c *call) oneEach(documented ...string) bool {
	once := true
	for name, values := range c.form {
		if len(values) > 1 {
			c.violate("form parameter %q is sent %d times", name, len(values))
			once = false
		}
		if documented != nil && !slices.Contains(documented, name) {
			c.violate("form parameter %q is not documented", name)
		}
	}
	return once
}
