// SPDX-License-Identifier: MPL-2.0

package simulator

import (
	"cmp"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
)

// Fault is something that goes wrong with the requests it matches. At most one fault befalls a request.
type Fault struct {
	// Kind is what goes wrong, one of the Fault constants.
	Kind string `json:"kind"`
	// Count is how many matching requests it befalls; 0 means all, until it is cleared.
	Count int `json:"count,omitempty"`
	// On limits it to one operation: "password", "refresh_token", "client_credentials", "app_key", "revoke" or
	// "logout". Empty means every request for a token.
	On string `json:"on,omitempty"`
	// Account limits it to one account; empty means all.
	Account string `json:"account,omitempty"`

	// Status is the HTTP status of FaultStatus (default 503) and FaultRedirect (default 302).
	Status int `json:"status,omitempty"`
	// RetryAfter is FaultStatus's Retry-After header, as it stands; empty means none.
	RetryAfter string `json:"retry_after,omitempty"`
	// Location is where FaultRedirect points; default https://elsewhere.invalid/token.
	Location string `json:"location,omitempty"`
	// Size is how many bytes FaultOversized adds; default 1 MiB.
	Size int `json:"size,omitempty"`
	// Description replaces the provider's words in a refusal.
	Description string `json:"description,omitempty"`
}

// The kinds of fault.
const (
	// Something in front of the provider answers: it never sees the request, which counts as no login.
	FaultStatus      = "status"       // an HTTP status with a proxy's HTML page
	FaultRedirect    = "redirect"     // a redirect to another host
	FaultCloseBefore = "close-before" // the connection is closed before any answer

	// The provider refuses.
	FaultRefuse             = "refuse"               // as if the secret were wrong; logins only, unless On says otherwise
	FaultAccountDisabled    = "account-disabled"     // "Account disabled"
	FaultAccountNotSetUp    = "account-not-set-up"   // "Account is not fully set up"; as FaultRefuse
	FaultInvalidClient      = "invalid-client"       // invalid_client
	FaultUnauthorizedClient = "unauthorized-client"  // unauthorized_client
	FaultDeadRefreshToken   = "dead-refresh-token"   // "Token is not active"; matches refreshes only
	FaultDeadSession        = "dead-refresh-session" // "Session not active"; matches refreshes only

	// The provider does as it is asked, and its answer is spoiled.
	FaultCloseMidBody   = "close-mid-body"    // the connection is closed in the middle of the body
	FaultNotJSON        = "not-json"          // plain text
	FaultTruncated      = "truncated"         // half of the JSON, of matching Content-Length
	FaultEmpty          = "empty"             // no body
	FaultOversized      = "oversized"         // well-formed JSON of over 1 MiB
	FaultNoToken        = "no-token"          // JSON without a token
	FaultTokenEmpty     = "token-empty"       // the token is ""
	FaultTokenType      = "token-wrong-type"  // the token is a number
	FaultTokenControl   = "token-control"     // the token has CR and LF in it
	FaultExpiryNegative = "expiry-negative"   // expires_in or expiry is -5
	FaultExpiryPast     = "expiry-past"       // expires_in is 0, expiry a minute ago
	FaultExpiryHuge     = "expiry-huge"       // 2^63-1
	FaultExpiryType     = "expiry-wrong-type" // "soon"
)

// FaultKinds returns all kinds of fault.
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
		return fmt.Errorf("unknown kind %q", f.Kind)
	}
	switch f.On {
	case "", opPassword, opRefresh, opClientCredentials, opAppKey, opRevoke, opLogout:
	default:
		return fmt.Errorf("unknown operation %q in \"on\"", f.On)
	}
	if f.Count < 0 || f.Size < 0 {
		return fmt.Errorf("count and size must not be negative")
	}
	if f.Status != 0 && (f.Status < 200 || f.Status > 599) {
		return fmt.Errorf("status must be from 200 to 599, not %d", f.Status)
	}
	if strings.ContainsAny(f.RetryAfter+f.Location, "\r\n") {
		return fmt.Errorf("retry_after and location go into a header: no line breaks")
	}
	return nil
}

func (f Fault) matches(c *call) bool {
	if f.Account != "" && f.Account != c.account {
		return false
	}
	switch {
	case f.Kind == FaultDeadRefreshToken || f.Kind == FaultDeadSession:
		return c.op == opRefresh
	case f.On != "":
		return f.On == c.op
	case f.Kind == FaultRefuse || f.Kind == FaultAccountNotSetUp:
		return c.isLogin()
	}
	return c.op != opRevoke && c.op != opLogout
}

// takeFault returns the first fault that matches the call, or nil, and counts it down.
func (s *Settings) takeFault(c *call) *Fault {
	if own, ok := s.Providers[c.ep.provider]; ok {
		if f := take(&own.Faults, c); f != nil {
			s.Providers[c.ep.provider] = own
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

// inFront returns the answer of a fault that keeps the request from the provider.
func (f *Fault) inFront(c *call) (answer, bool) {
	if f == nil {
		return answer{}, false
	}
	switch f.Kind {
	case FaultStatus:
		a := proxyPage(cmp.Or(f.Status, http.StatusServiceUnavailable), c.echo())
		a.header = map[string]string{}
		if f.RetryAfter != "" {
			a.header["Retry-After"] = f.RetryAfter
		}
		return a, true
	case FaultRedirect:
		a := proxyPage(cmp.Or(f.Status, http.StatusFound), c.echo())
		a.header = map[string]string{"Location": cmp.Or(f.Location, "https://elsewhere.invalid/token")}
		return a, true
	case FaultCloseBefore:
		return answer{cut: cutBefore}, true
	}
	return answer{}, false
}

// reason returns the fault's refusal, or accepted if it is not a fault of that sort.
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

// spoil makes an answer wrong in the fault's way. What concerns a token leaves an answer without one alone.
func (f *Fault) spoil(c *call, a answer) answer {
	if f == nil {
		return a
	}
	switch f.Kind {
	case FaultCloseMidBody:
		a.cut = cutInBody
	case FaultNotJSON:
		a.raw, a.contentType = []byte("OK: your token is on its way"), "text/plain"
	case FaultTruncated:
		if data, err := json.Marshal(a.body); err == nil {
			a.raw = data[:len(data)/2]
		}
	case FaultEmpty:
		a.raw = []byte{}
	case FaultOversized:
		if a.body != nil {
			a.body["zz_padding"] = strings.Repeat("x", cmp.Or(f.Size, 1<<20))
		}
	}
	if a.tokenField != "" {
		f.spoilToken(c, a)
	}
	return a
}

func (f *Fault) spoilToken(c *call, a answer) {
	switch f.Kind {
	case FaultNoToken:
		delete(a.body, a.tokenField)
	case FaultTokenEmpty:
		a.body[a.tokenField] = ""
	case FaultTokenType:
		a.body[a.tokenField] = 12345
	case FaultTokenControl:
		a.body[a.tokenField] = "abc\r\nX-Injected: yes"
	case FaultExpiryNegative:
		a.body[a.expiryField] = -5
	case FaultExpiryPast:
		a.body[a.expiryField] = 0
		if c.op == opAppKey {
			a.body[a.expiryField] = c.providerNow().Unix() - 60
		}
	case FaultExpiryHuge:
		a.body[a.expiryField] = json.Number("9223372036854775807")
	case FaultExpiryType:
		a.body[a.expiryField] = "soon"
	}
}
