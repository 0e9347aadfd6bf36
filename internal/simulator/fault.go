// SPDX-License-Identifier: MPL-2.0

package simulator

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
)

// Fault makes requests fail. At most one fault applies to a request. Help prints the comments of the
// fields and of the kinds.
type Fault struct {
	// Kind is what goes wrong, one of the kinds of fault.
	Kind string `json:"kind"`
	// Count is how many matching requests the fault affects; 0 means all.
	Count int `json:"count,omitempty"`
	// On limits the fault to one operation: "password", "refresh_token", "client_credentials",
	// "app_key" or "revoke". By default, the fault applies to all token requests. Some kinds of
	// fault apply to logins or refreshes only.
	On string `json:"on,omitempty"`

	// Status is the HTTP status of the kinds "status" (default 503) and "redirect" (default
	// 302).
	Status int `json:"status,omitempty"`
	// RetryAfter is the Retry-After header of the kind "status"; empty means none.
	RetryAfter string `json:"retry_after,omitempty"`
	// Description replaces the error description of a refusal.
	Description string `json:"description,omitempty"`
}

// The kinds of fault.
const (
	// A proxy ends the request, and the provider does not get the request.
	FaultStatus      = "status"       // an HTTP status with a proxy's HTML page
	FaultRedirect    = "redirect"     // a redirect to https://elsewhere.invalid/token
	FaultCloseBefore = "close-before" // the connection is closed before any response

	// The provider refuses the request.
	FaultRefuse             = "refuse"               // as if the secret were wrong; logins only, unless "on" is set
	FaultAccountDisabled    = "account-disabled"     // "Account disabled"
	FaultAccountNotSetUp    = "account-not-set-up"   // "Account is not fully set up"; logins only, unless "on" is set
	FaultInvalidClient      = "invalid-client"       // the error invalid_client
	FaultUnauthorizedClient = "unauthorized-client"  // the error unauthorized_client
	FaultDeadRefreshToken   = "dead-refresh-token"   // "Token is not active"; refreshes only
	FaultDeadSession        = "dead-refresh-session" // "Session not active"; refreshes only

	// The provider handles the request, but the response is damaged.
	FaultCloseMidBody   = "close-mid-body"    // the connection is closed in the middle of the body
	FaultNotJSON        = "not-json"          // plain text
	FaultTruncated      = "truncated"         // half of the JSON, with a matching Content-Length
	FaultEmpty          = "empty"             // no body
	FaultOversized      = "oversized"         // valid JSON of more than 1 MiB
	FaultNoToken        = "no-token"          // JSON without a token
	FaultTokenEmpty     = "token-empty"       // the token is ""
	FaultTokenType      = "token-wrong-type"  // the token is a number
	FaultTokenControl   = "token-control"     // the token contains CR and LF
	FaultExpiryNegative = "expiry-negative"   // expires_in or expiry is -5
	FaultExpiryPast     = "expiry-past"       // expires_in is 0, or expiry is a minute ago
	FaultExpiryHuge     = "expiry-huge"       // expires_in or expiry is 2^63-1
	FaultExpiryType     = "expiry-wrong-type" // expires_in or expiry is "soon"
)

// FaultKinds returns every kind of fault.
func FaultKinds() []string {
	return []string{
		FaultStatus, FaultRedirect, FaultCloseBefore,
		FaultRefuse, FaultAccountDisabled, FaultAccountNotSetUp, FaultInvalidClient, FaultUnauthorizedClient,
		FaultDeadRefreshToken, FaultDeadSession,
		FaultCloseMidBody, FaultNotJSON, FaultTruncated, FaultEmpty, FaultOversized, FaultNoToken, FaultTokenEmpty,
		FaultTokenType, FaultTokenControl, FaultExpiryNegative, FaultExpiryPast, FaultExpiryHuge, FaultExpiryType,
	}
}

func (f Fault) validate() error {
	if !slices.Contains(FaultKinds(), f.Kind) {
		return fmt.Errorf("unknown kind %q, must be one of %q", f.Kind, FaultKinds())
	}
	operations := []string{opPassword, opRefresh, opClientCredentials, opAppKey, opRevoke}
	if f.On != "" && !slices.Contains(operations, f.On) {
		return fmt.Errorf("unknown operation %q in on, must be one of %q", f.On, operations)
	}
	if f.Count < 0 {
		return errors.New("count must not be negative")
	}
	if f.Status != 0 && (f.Status < 200 || f.Status > 599) {
		return fmt.Errorf("status must be from 200 to 599, not %d", f.Status)
	}
	if strings.ContainsAny(f.RetryAfter, "\r\n") {
		return errors.New("retry_after must not contain line breaks")
	}
	return nil
}

func (f Fault) matches(c *call) bool {
	switch {
	case f.Kind == FaultDeadRefreshToken || f.Kind == FaultDeadSession:
		return c.op == opRefresh
	case f.On != "":
		return f.On == c.op
	case f.Kind == FaultRefuse || f.Kind == FaultAccountNotSetUp:
		return c.isLogin()
	}
	return c.op != opRevoke
}

// takeFault returns the first fault that matches the call, or nil. It also reduces the fault's
// Count.
func (s *Settings) takeFault(c *call) *Fault {
	if single, ok := s.Providers[c.provider]; ok {
		if f := take(&single.Faults, c); f != nil {
			s.Providers[c.provider] = single
			return f
		}
	}
	return take(&s.Faults, c)
}

func take(faults *[]Fault, c *call) *Fault {
	i := slices.IndexFunc(*faults, func(f Fault) bool { return f.matches(c) })
	if i < 0 {
		return nil
	}
	f := (*faults)[i]
	switch f.Count {
	case 0:
	case 1:
		*faults = slices.Delete(*faults, i, i+1)
	default:
		(*faults)[i].Count--
	}
	return &f
}

// intercept returns the response and true if a proxy responds instead of the provider.
func (f *Fault) intercept(c *call) (response, bool) {
	if f == nil {
		return response{}, false
	}
	switch f.Kind {
	case FaultStatus:
		resp := proxyPage(cmp.Or(f.Status, http.StatusServiceUnavailable), c.echo())
		if f.RetryAfter != "" {
			resp.header["Retry-After"] = f.RetryAfter
		}
		return resp, true
	case FaultRedirect:
		resp := proxyPage(cmp.Or(f.Status, http.StatusFound), c.echo())
		resp.header["Location"] = "https://elsewhere.invalid/token"
		return resp, true
	case FaultCloseBefore:
		return response{closeBefore: true}, true
	}
	return response{}, false
}

// reason returns why the fault refuses requests, or "" if the fault refuses none.
func (f *Fault) reason() reason {
	if f == nil {
		return accepted
	}
	switch f.Kind {
	case FaultRefuse, FaultAccountDisabled, FaultAccountNotSetUp, FaultInvalidClient, FaultUnauthorizedClient,
		FaultDeadRefreshToken, FaultDeadSession:
		return reason(f.Kind)
	}
	return accepted
}

// corrupt damages a response as the fault demands. A nil fault changes nothing.
func (f *Fault) corrupt(c *call, resp response) response {
	if f == nil {
		return resp
	}
	switch f.Kind {
	case FaultCloseMidBody:
		resp.closeMid = true
	case FaultNotJSON:
		resp.raw, resp.contentType = []byte("OK: your token is on its way"), "text/plain"
	case FaultTruncated:
		if data, err := json.Marshal(resp.body); err == nil {
			resp.raw = data[:len(data)/2]
		}
	case FaultEmpty:
		resp.raw = []byte{}
	case FaultOversized:
		if resp.body != nil {
			resp.body["zz_padding"] = strings.Repeat("x", 1<<20)
		}
	}
	if resp.tokenField != "" {
		f.corruptToken(c, resp)
	}
	return resp
}

func (f *Fault) corruptToken(c *call, resp response) {
	switch f.Kind {
	case FaultNoToken:
		delete(resp.body, resp.tokenField)
	case FaultTokenEmpty:
		resp.body[resp.tokenField] = ""
	case FaultTokenType:
		resp.body[resp.tokenField] = 12345
	case FaultTokenControl:
		resp.body[resp.tokenField] = "abc\r\nX-Injected: yes"
	case FaultExpiryNegative:
		resp.body[resp.expiryField] = -5
	case FaultExpiryPast:
		resp.body[resp.expiryField] = 0
		if c.op == opAppKey {
			resp.body[resp.expiryField] = c.providerNow().Unix() - 60
		}
	case FaultExpiryHuge:
		resp.body[resp.expiryField] = json.Number("9223372036854775807")
	case FaultExpiryType:
		resp.body[resp.expiryField] = "soon"
	}
}
