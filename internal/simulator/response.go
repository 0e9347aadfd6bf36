// SPDX-License-Identifier: MPL-2.0

package simulator

import (
	"cmp"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"html"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"unicode/utf16"
)

// object is a JSON object.
type object map[string]any

// response is the response to one request.
type response struct {
	status      int
	header      map[string]string
	body        object // sent as JSON unless raw is set
	raw         []byte
	contentType string // of raw; "" means JSON

	ok                      bool   // the provider did what the request asked
	tokenField, expiryField string // names in body; "" in a response without a token
	closeBefore, closeMid   bool   // close the connection before the response, or in the middle of its body
}

func (c *call) write(w http.ResponseWriter, resp response) {
	if resp.closeBefore {
		panic(http.ErrAbortHandler) // net/http closes the connection
	}
	body := resp.raw
	if body == nil && resp.body != nil {
		body, _ = json.Marshal(resp.body) // strings and numbers always encode
	}
	h := w.Header()
	if resp.contentType == "" && len(body) > 0 {
		resp.contentType = jsonType
	}
	if resp.contentType != "" {
		h.Set("Content-Type", resp.contentType)
	}
	h.Set("Cache-Control", "no-store")
	h.Set("Content-Length", strconv.Itoa(len(body)))
	switch *c.settings.DateHeader {
	case dateNormal:
		h.Set("Date", c.providerNow().UTC().Format(http.TimeFormat))
	case dateGarbage:
		h.Set("Date", "the day after tomorrow")
	}
	for name, value := range resp.header {
		h.Set(name, value)
	}
	w.WriteHeader(resp.status)
	if resp.closeMid {
		_, _ = w.Write(body[:len(body)/2])
		_ = http.NewResponseController(w).Flush()
		panic(http.ErrAbortHandler)
	}
	_, _ = w.Write(body) // fails only if the client is gone
}

// proxyPage returns a proxy's HTML page that contains echo.plain.
func proxyPage(status int, echo escapedText) response {
	title := fmt.Sprintf("%d %s", status, http.StatusText(status))
	page := fmt.Sprintf("<html>\r\n<head><title>%s</title></head>\r\n<body>\r\n<center><h1>%s</h1></center>\r\n"+
		"<hr><center>nginx</center>\r\n<!-- %s -->\r\n</body>\r\n</html>\r\n", title, title, html.EscapeString(echo.plain))
	return response{status: status, raw: []byte(page), contentType: "text/html", header: map[string]string{}}
}

// escapedText is text in two parts. In JSON, the second part is written as \uXXXX escapes.
type escapedText struct{ plain, escaped string }

// MarshalJSON implements json.Marshaler.
func (t escapedText) MarshalJSON() ([]byte, error) {
	quoted, err := json.Marshal(t.plain)
	if err != nil {
		return nil, err
	}
	quoted = append(quoted[:len(quoted)-1], escapeAll(t.escaped)...)
	return append(quoted, '"'), nil
}

// escapeAll returns every UTF-16 code unit of s as \uXXXX.
func escapeAll(s string) string {
	var b strings.Builder
	for _, unit := range utf16.Encode([]rune(s)) {
		fmt.Fprintf(&b, `\u%04x`, unit)
	}
	return b.String()
}

// description returns the error description of a refusal. A fault's description replaces the
// parameter text. The setting echo_secrets appends the request's secrets.
func (c *call) description(text string) escapedText {
	if c.fault != nil && c.fault.Description != "" {
		text = c.fault.Description
	}
	echo := c.echo()
	echo.plain = text + echo.plain
	return echo
}

// echo returns the request's secrets in each form listed in the setting echo_secrets.
func (c *call) echo() escapedText {
	var t escapedText
	for _, secret := range c.secrets() {
		for _, form := range c.settings.EchoSecrets {
			switch form {
			case echoRaw:
				t.plain += " " + secret
			case echoURL:
				t.plain += " " + url.QueryEscape(secret)
			case echoBase64:
				t.plain += " " + base64.StdEncoding.EncodeToString([]byte(secret))
			case echoJSONTwice:
				t.plain += " " + escapeAll(secret)
			case echoJSON:
				t.escaped += " " + secret
			}
		}
	}
	return t
}

// tokenResponse returns a success with the token's expiry. The setting expiry_format decides the
// expiry's form.
func (c *call) tokenResponse(body object, tokenField, expiryField string, expiry int64) response {
	switch *c.settings.ExpiryFormat {
	case expiryNumber:
		body[expiryField] = expiry
	case expiryString:
		body[expiryField] = strconv.FormatInt(expiry, 10)
	}
	return response{status: http.StatusOK, body: body, ok: true, tokenField: tokenField, expiryField: expiryField}
}

// failure returns a failure. The setting failure_status replaces the documented HTTP status.
func (c *call) failure(documented int, body object) response {
	return response{status: cmp.Or(*c.settings.FailureStatus, documented), body: body}
}
