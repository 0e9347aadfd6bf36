// SPDX-License-Identifier: MPL-2.0

package simulator

import (
	"encoding/json"
	"fmt"
	"io"
	"mime"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"
)

// The operations of a request. For OAuth 2.0 tokens, the operation is the grant type.
const (
	opPassword          = "password"
	opClientCredentials = "client_credentials"
	opRefresh           = "refresh_token"
	opAppKey            = "app_key"
	opRevoke            = "revoke"
)

const (
	formType = "application/x-www-form-urlencoded"
	jsonType = "application/json"
	// maxRequest is how many bytes of a request body are read.
	maxRequest = 1 << 20
)

// secretParams are the names of form parameters and JSON fields that contain secrets.
var secretParams = []string{"password", "client_secret", "refresh_token", "token", "app_key"}

// call is one decoded request to a provider.
type call struct {
	endpoint // its op is "" if the grant type is unknown
	sim      *Simulator
	r        *http.Request
	settings ProviderSettings
	fault    *Fault // nil if none

	mediaType string
	form      url.Values // empty without a form body
	json      object     // nil without a JSON body
	basic     *basicAuth // nil without a Basic header

	account       string // "" if the request names none
	tallies       []*tally
	loggingIn     bool // the account is in Simulator.activeLogins because of this call
	reusesRefresh bool // the refresh token was used before
	endsSession   bool // the reused refresh token ended its session
	intercepted   bool // the fault responded instead of the provider
}

// basicAuth is a Basic header without percent-decoding.
type basicAuth struct{ user, password string }

// newCall decodes and counts a request, and chooses the fault for the request. The caller must call
// finish.
func (s *Simulator) newCall(r *http.Request, ep endpoint) *call {
	c := &call{sim: s, r: r, endpoint: ep}
	c.decode()
	s.mu.Lock()
	defer s.mu.Unlock()
	c.identify(&s.tokens)
	c.settings = s.settings.resolve(c.provider)
	c.fault = s.settings.takeFault(c)
	c.tallies = s.counts.begin(c)
	return c
}

func (c *call) finish() {
	c.endLogin()
	c.sim.mu.Lock()
	defer c.sim.mu.Unlock()
	for _, t := range c.tallies {
		t.inProgress--
	}
}

func (c *call) decode() {
	c.form = url.Values{}
	c.mediaType, _, _ = mime.ParseMediaType(c.r.Header.Get("Content-Type"))
	if user, password, ok := c.r.BasicAuth(); ok {
		c.basic = &basicAuth{user, password}
	}
	body, err := io.ReadAll(io.LimitReader(c.r.Body, maxRequest))
	if err != nil {
		return
	}
	switch c.mediaType {
	case formType:
		if form, err := url.ParseQuery(string(body)); err == nil {
			c.form = form
		}
	case jsonType:
		if json.Unmarshal(body, &c.json) != nil {
			c.json = nil
		}
	}
}

// identify sets the operation and the account.
func (c *call) identify(tokens *tokenStore) {
	if c.op == "" {
		switch grant := c.form.Get("grant_type"); grant {
		case opPassword, opClientCredentials, opRefresh:
			c.op = grant
		}
	}
	switch c.op {
	case opAppKey:
		c.account = c.jsonString("app_id")
	case opPassword:
		c.account = c.form.Get("username")
	case opClientCredentials:
		c.account = c.form.Get("client_id")
		if c.basic != nil {
			c.account = unescape(c.basic.user)
		}
	case opRefresh:
		c.account = tokens.account(c.form.Get("refresh_token"))
	case opRevoke:
		c.account = tokens.account(c.form.Get("token"))
	}
}

// key identifies an account of the call's provider.
func (c *call) key(account string) accountKey { return accountKey{c.provider, account} }

// jsonString returns a string field of the JSON body, or "".
func (c *call) jsonString(name string) string {
	v, _ := c.json[name].(string)
	return v
}

// isLogin reports whether the request is a login with a long-lived secret.
func (c *call) isLogin() bool {
	switch c.op {
	case opPassword, opClientCredentials, opAppKey:
		return true
	}
	return false
}

// secrets returns every secret in the request.
func (c *call) secrets() []string {
	var all []string
	for _, name := range secretParams {
		all = append(append(all, c.form[name]...), c.jsonString(name))
	}
	if c.basic != nil {
		all = append(all, c.basic.password, unescape(c.basic.password))
	}
	slices.Sort(all)
	return slices.DeleteFunc(slices.Compact(all), func(s string) bool { return s == "" })
}

// violate records a difference from the documentation. The text must not contain a secret.
func (c *call) violate(format string, args ...any) {
	s := c.sim
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, t := range c.tallies {
		t.Violations++
	}
	s.counts.addViolation(Violation{
		Provider: c.provider, Account: c.account, Path: c.r.URL.Path, Text: fmt.Sprintf(format, args...),
	})
}

// checkPost calls checkMethod and checkContentType. If the method or the content type is wrong,
// checkPost returns a refusal and true.
func (c *call) checkPost(mediaType string) (response, bool) {
	if resp, refused := c.checkMethod(); refused {
		return resp, true
	}
	if c.checkContentType(mediaType) {
		return response{}, false
	}
	return response{
		status: http.StatusUnsupportedMediaType,
		body:   object{"error": "HTTP 415 Unsupported Media Type"},
	}, true
}

// checkMethod refuses every method but POST. Parameters in the URL are a violation, because logs
// contain URLs.
func (c *call) checkMethod() (response, bool) {
	if c.r.URL.RawQuery != "" {
		c.violate("parameters in the URL")
	}
	if c.r.Method == http.MethodPost {
		return response{}, false
	}
	c.violate("method %s instead of POST", c.r.Method)
	return response{
		status: http.StatusMethodNotAllowed,
		body:   object{"error": "HTTP 405 Method Not Allowed"},
		header: map[string]string{"Allow": http.MethodPost},
	}, true
}

// checkContentType reports whether the content type is mediaType. A content encoding is a violation.
func (c *call) checkContentType(mediaType string) bool {
	if c.mediaType != mediaType {
		c.violate("content type %q instead of %s", c.mediaType, mediaType)
		return false
	}
	if enc := c.r.Header.Get("Content-Encoding"); enc != "" && !strings.EqualFold(enc, "identity") {
		c.violate("content encoding %q", enc)
	}
	return true
}

// checkParams refuses a form that repeats a parameter (RFC 6749 §3.2). Parameters that are not
// documented are violations. Call checkParams without names to allow all parameters.
func (c *call) checkParams(documented ...string) (response, bool) {
	duplicated := false
	for name, values := range c.form {
		if len(values) > 1 {
			c.violate("form parameter %q is sent %d times", name, len(values))
			duplicated = true
		}
		if documented != nil && !slices.Contains(documented, name) {
			c.violate("form parameter %q is not documented", name)
		}
	}
	return c.oauthError(http.StatusBadRequest, "invalid_request", "duplicated parameter"), duplicated
}

// unescape reverses the encoding of a Basic header's user and password (RFC 6749 §2.3.1).
func unescape(s string) string {
	if u, err := url.QueryUnescape(s); err == nil {
		return u
	}
	return s
}

// providerNow returns the time on the provider's clock.
func (c *call) providerNow() time.Time { return c.sim.now().Add(c.settings.ClockOffset.value()) }
