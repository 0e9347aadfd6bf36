// SPDX-License-Identifier: MPL-2.0

package providers

import (
	"bytes"
	"cmp"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"regexp"
	"strconv"
	"strings"
	"time"

	"vault-plugin-secrets-messaging/internal/clock"
	"vault-plugin-secrets-messaging/internal/token"
)

// answer is the answer of an endpoint.
type answer struct {
	role     role   // of the endpoint
	method   string // of the request
	endpoint string // host and path, fit to be shown
	redact   redactor

	certificate *x509.Certificate // that the client presents if the server asks; nil for none
	asked       bool              // the server asked for a certificate, on a new connection

	status int
	header http.Header
	body   []byte       // nil if unread is set
	unread *token.Error // why the body could not be read

	connected bool // there was a connection, so a byte of the request may have been sent

	sent clock.Instant // when the request was sent
	now  time.Time     // when the answer came, on our clock
	date time.Time     // the Date of the answer; zero if it has none
}

// fail returns an error about the answer, or about a request without an answer.
func (a *answer) fail(kind token.Kind, problem string) *token.Error {
	e := &token.Error{Kind: kind, Step: a.role.step, Endpoint: a.endpoint, Status: a.status, Problem: problem}
	if kind == token.RateLimited || kind == token.Unavailable {
		e.RetryAfter = retryAfter(a.header.Get("Retry-After"), cmp.Or(a.date, a.now))
	}
	return e
}

// object returns the fields of a JSON object. For an error in another format, object returns the
// fields that oddError finds. For any other body, object fails. The redactor treats tokens in the
// returned fields as secrets.
func (a *answer) object() (fields, error) {
	problem := ""
	if a.unread == nil {
		var f fields
		f, problem = decode(a.body, a.header.Get("Content-Type"))
		if problem != "" {
			f = a.oddError()
		}
		if f != nil {
			for _, name := range []string{"token", "access_token", "refresh_token", "id_token"} {
				a.redact = a.redact.withToken(jsonString(f[name]))
			}
			return f, nil
		}
	}
	switch {
	case a.certificatePage() != "":
		return nil, a.fail(token.Refused, a.certificatePage())
	case a.status == http.StatusForbidden, a.status == http.StatusProxyAuthRequired:
		// A 403 or 407 without JSON probably comes from a proxy or firewall. It says nothing about
		// the credentials.
		if a.unread != nil {
			problem = a.unread.Problem
		}
		return nil, a.fail(token.Unavailable, problem+"; a proxy or firewall has probably blocked the request")
	case a.status == http.StatusUnauthorized:
		// Some servers send an HTML page to refuse HTTP Basic. A second attempt could lock the
		// account.
		return nil, a.fail(token.Refused, "")
	case a.status == http.StatusTooManyRequests:
		return nil, a.fail(token.RateLimited, "")
	case isOutage(a.status):
		return nil, a.fail(token.Unavailable, "")
	case a.statusHint() != "":
		return nil, a.fail(token.Malformed, a.statusHint())
	case a.unread != nil:
		return nil, a.unread
	}
	return nil, a.fail(token.Malformed, problem)
}

// certificatePage returns what an error page of nginx says about the client certificate, or "".
func (a *answer) certificatePage() string {
	switch {
	case a.status != http.StatusBadRequest:
	case bytes.Contains(a.body, []byte("No required SSL certificate was sent")):
		return certificateMissing
	case bytes.Contains(a.body, []byte("The SSL certificate error")):
		return certificateRefused + a.expired()
	}
	return ""
}

// oddError reads an error that is form-encoded, or that is JSON but not an object. It returns nil
// for other bodies.
func (a *answer) oddError() fields {
	if f := formError(a.body); f != nil {
		return f
	}
	body := trimBody(a.body)
	if !json.Valid(body) {
		return nil
	}
	var (
		text  string
		found fault
		f     = fields{"errors": body}
	)
	if json.Unmarshal(body, &text) == nil {
		f = fields{"message": body}
	}
	found.addNested(body, 0)
	if a.status/100 == 4 || found.isError {
		return f
	}
	return nil
}

const noToken = "the answer contains no token"

// statusHint explains a status that token and revocation endpoints do not use. It returns "" for
// other statuses.
func (a *answer) statusHint() string {
	hint := a.wrongAddress()
	if hint == "" && a.status/100 != 2 && a.status != http.StatusBadRequest {
		return "a " + a.role.title + " does not use this status; " + a.role.field + " is probably wrong"
	}
	return hint
}

// wrongAddress explains a status that means a wrong address, or returns "".
func (a *answer) wrongAddress() string {
	switch a.status {
	case http.StatusNotFound, http.StatusGone:
		return "nothing exists at this address; " + a.role.field + " is probably wrong"
	case http.StatusMethodNotAllowed:
		return "this address does not accept " + a.method + "; " + a.role.field + " is probably wrong"
	}
	return ""
}

// clocksDiffer is the smallest difference between two clocks that an error mentions.
const clocksDiffer = 30 * time.Second

// aboutTime matches a provider's error texts about the times in an assertion.
var aboutTime = regexp.MustCompile(`(?i)\b(expired?|exp|iat|nbf|clock|time|timeframe|future|not active|not yet)\b`)

// compareClocks returns err. If the provider may have refused the times in an assertion,
// compareClocks adds to err how our clock differs from the provider's.
func (a *answer) compareClocks(err error) error {
	var e *token.Error
	if !errors.As(err, &e) || e.Kind != token.Refused || a.date.IsZero() {
		return err
	}
	difference, direction, problem := a.now.Sub(a.date).Round(time.Second), "ahead of", ""
	if difference < 0 {
		difference, direction = -difference, "behind"
	}
	switch {
	case difference >= clocksDiffer:
		problem = fmt.Sprintf("this server's clock is %s %s the provider's clock, so the provider may have refused the assertion as expired or not yet valid; set the server's clock", difference, direction)
	case aboutTime.MatchString(e.Words):
		problem = "this server's clock agrees with the provider's clock"
	default:
		return err
	}
	if e.Problem != "" {
		problem = e.Problem + "; " + problem
	}
	e.Problem = problem
	return err
}

// redirected returns the error for a redirect. The error shows only the new host, because the rest
// of the address may contain secrets.
func (a *answer) redirected(from *url.URL) *token.Error {
	target := "to an address that cannot be shown"
	location := a.header.Get("Location")
	if to, err := from.Parse(location); err == nil && location != "" && harmlessHost.MatchString(to.Host) && !a.redact.isIn(to.Host) {
		target = "to " + to.Host
	}
	return a.fail(token.Malformed, "redirects are not followed, and this redirect leads "+target+
		"; change "+a.role.field+" only if the provider has moved, because proxies and login pages redirect too")
}

// harmlessHost matches a host that can be shown.
var harmlessHost = regexp.MustCompile(`^[A-Za-z0-9.-]{1,253}(:\d{1,5})?$`)

// retryAfter returns the delay in a Retry-After header (RFC 9110 §10.2.3): seconds, or a date. The
// parameter now is the provider's time. The delay is 0 for an invalid header or a past date.
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
	} else if seconds, err := strconv.ParseUint(header, 10, 16); err == nil { // a longer number means the maximum
		wait = time.Duration(seconds) * time.Second
	}
	return min(max(wait, 0), token.MaxRetryAfter)
}
