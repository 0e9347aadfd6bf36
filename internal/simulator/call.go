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
	"time"
)

// What a request does. A token request's is its grant type.
const (
	opPassword          = "password"
	opClientCredentials = "client_credentials"
	opRefresh           = "refresh_token"
	opAppKey            = "app_key"
	opRevoke            = "revoke"
	opLogout            = "logout"
)

const (
	formType = "application/x-www-form-urlencoded"
	jsonType = "application/json"
	// maxRequest is how much of a request is read: more than any documented one.
	maxRequest = 1 << 20
)

// call is one request to a provider, decoded as far as it can be; judging it is the handler's.
type call struct {
	sim   *Simulator
	r     *http.Request
	ep    endpoint
	rules rules
	fault *Fault // what befalls it, or nil
	begun time.Time

	mediaType string
	form      url.Values     // of a form body; else empty
	object    map[string]any // of a JSON body; else nil
	basic     *basicAuth     // nil without a Basic header

	op      string      // one of the constants, or "" if the grant is unknown
	account string      // whose request it is as far as it says, or ""
	turn    *accountKey // whose only login under way this is, or nil
	clash   bool        // refused, because another login of the account was under way
	tallies []*tally
}

// basicAuth is a Basic header as it stands, nothing percent-decoded.
type basicAuth struct{ user, password string }

// open decodes a request, counts it in, and takes the fault that is due. Each needs a close.
func (s *Simulator) open(r *http.Request, ep endpoint) *call {
	c := &call{sim: s, r: r, ep: ep, op: ep.op}
	c.decode()
	s.mu.Lock()
	defer s.mu.Unlock()
	c.begun = s.now()
	c.identify(s.tokens)
	c.rules = s.settings.rules(ep.provider)
	c.fault = s.settings.takeFault(c)
	c.tallies = s.counts.begin(c)
	return c
}

func (s *Simulator) close(c *call) {
	s.endLogin(c)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.counts.end(c.tallies)
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
		if json.Unmarshal(body, &c.object) != nil {
			c.object = nil
		}
	}
}

// identify finds out what the request does and whose it is.
func (c *call) identify(tokens *ledger) {
	if c.op == "" {
		switch grant := c.form.Get("grant_type"); grant {
		case opPassword, opClientCredentials, opRefresh:
			c.op = grant
		}
	}
	switch c.op {
	case opAppKey:
		c.account = c.text("app_id")
	case opPassword:
		c.account = c.form.Get("username")
	case opClientCredentials:
		c.account = c.form.Get("client_id")
		if c.basic != nil {
			c.account = unescape(c.basic.user)
		}
	case opRefresh, opLogout:
		c.account = tokens.owner(c.form.Get("refresh_token"))
	case opRevoke:
		c.account = tokens.owner(c.form.Get("token"))
	}
}

// text returns a string of a JSON body, "" if it is not there or not a string.
func (c *call) text(name string) string {
	v, _ := c.object[name].(string)
	return v
}

// providerNow is the time by the provider's clock.
func (c *call) providerNow() time.Time { return c.sim.now().Add(c.rules.clockOffset) }

// isLogin says whether the request sends a long-lived secret, to be judged.
func (c *call) isLogin() bool {
	switch c.op {
	case opPassword, opClientCredentials, opAppKey:
		return true
	}
	return false
}

// secrets returns every secret that the request carries.
func (c *call) secrets() []string {
	all := []string{c.text("app_key")}
	for _, name := range []string{"password", "client_secret", "refresh_token", "token"} {
		all = append(all, c.form[name]...)
	}
	if c.basic != nil {
		all = append(all, c.basic.password, unescape(c.basic.password))
	}
	slices.Sort(all)
	return slices.DeleteFunc(slices.Compact(all), func(s string) bool { return s == "" })
}

// violate records that the request is not what the documentation says. The text must hold no secret.
func (c *call) violate(format string, args ...any) {
	c.sim.mu.Lock()
	defer c.sim.mu.Unlock()
	c.sim.counts.violation(c, fmt.Sprintf(format, args...))
}

// unescape undoes the form encoding that RFC 6749 §2.3.1 wants in a Basic header.
func unescape(s string) string {
	if u, err := url.QueryUnescape(s); err == nil {
		return u
	}
	return s
}
