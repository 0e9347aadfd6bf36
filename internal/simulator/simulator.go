// SPDX-License-Identifier: MPL-2.0

package simulator

import (
	"context"
	"net/http"
	"sync"
	"time"
)

// The names of the providers in settings and counts.
const (
	SinchIndia        = "sinch-india"
	EnableXWhatsApp   = "enablex-whatsapp"
	EnableXRCS        = "enablex-rcs"
	EnableXSMS        = "enablex-sms"
	SinchConversation = "sinch-conversation"
	OAuth2            = "oauth2"
)

// Options configure a new simulator. The zero value is valid.
type Options struct {
	// Now is the clock; nil means time.Now.
	Now func() time.Time
	// Sleep waits for the duration d or until ctx ends. The simulator calls Sleep to delay its
	// answers. Nil means a real timer.
	Sleep func(ctx context.Context, d time.Duration)
}

// Simulator is an http.Handler that serves all providers and the control API. It is safe for
// concurrent use.
type Simulator struct {
	now       func() time.Time
	sleep     func(context.Context, time.Duration)
	endpoints map[string]endpoint
	control   http.Handler

	mu           sync.Mutex
	settings     Settings
	counts       *counter
	lockouts     map[accountKey]*lockout
	activeLogins map[accountKey]bool // logins in progress (see call.beginLogin)
	tokens       tokenStore
}

// endpoint serves one path of a provider.
type endpoint struct {
	provider string
	op       string // what a request does; "" means that the form parameter grant_type decides
	handle   func(*call) response
}

// accountKey identifies an account of a provider.
type accountKey struct{ provider, account string }

// New returns a simulator.
func New(opts Options) *Simulator {
	s := &Simulator{now: opts.Now, sleep: opts.Sleep, activeLogins: map[accountKey]bool{}, tokens: tokenStore{tokens: map[string]*token{}}}
	if s.now == nil {
		s.now = time.Now
	}
	if s.sleep == nil {
		s.sleep = sleep
	}
	s.endpoints = s.providerEndpoints()
	s.control = s.controlHandler()
	s.Reset()
	return s
}

func sleep(ctx context.Context, d time.Duration) {
	select {
	case <-time.After(d):
	case <-ctx.Done():
	}
}

// providerEndpoints returns every provider endpoint by its path.
func (s *Simulator) providerEndpoints() map[string]endpoint {
	m := map[string]endpoint{
		"/whatsapp/v1/token": {EnableXWhatsApp, opAppKey, s.enablexToken},
		"/rcs/v1/token":      {EnableXRCS, opAppKey, s.enablexToken},
		"/sms/v1/token":      {EnableXSMS, opAppKey, s.enablexToken},
		"/oauth2/token":      {SinchConversation, "", s.conversationToken},
		"/generic/token":     {OAuth2, "", s.genericToken},
		"/generic/revoke":    {OAuth2, opRevoke, s.genericRevoke},
	}
	for _, root := range []string{"", "/auth"} { // production and UAT
		realm := root + "/realms/ipmessaging/protocol/openid-connect/"
		m[realm+"token"] = endpoint{SinchIndia, "", s.keycloakToken}
		m[realm+"revoke"] = endpoint{SinchIndia, opRevoke, s.keycloakRevoke}
	}
	return m
}

// ServeHTTP serves the providers' paths, and the control API under /sim/. If a fault closes the
// connection, ServeHTTP panics with http.ErrAbortHandler.
func (s *Simulator) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	ep, ok := s.endpoints[r.URL.Path]
	if !ok {
		s.control.ServeHTTP(w, r)
		return
	}
	c := s.newCall(r, ep)
	defer c.finish()
	resp := c.respond()
	s.record(c, resp)
	if latency := c.settings.Latency.value(); latency > 0 {
		// The token is already issued, so the latency is part of the token's lifetime.
		s.sleep(r.Context(), latency)
		if r.Context().Err() != nil {
			return
		}
	}
	c.endLogin() // before the response is sent, so that the client can log in again at once
	c.write(w, resp)
}

// respond returns the response to a call. A fault may replace or damage the response.
func (c *call) respond() response {
	if resp, ok := c.fault.intercept(c); ok {
		c.intercepted = true
		return resp
	}
	resp := c.handle(c)
	if status := *c.settings.SuccessStatus; resp.tokenField != "" && status != 0 {
		resp.status = status
	}
	return c.fault.corrupt(c, resp)
}

// Reset restores the default settings, clears the counts and ends lockouts. Tokens stay valid.
func (s *Simulator) Reset() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.settings = Settings{}
	s.counts = newCounter()
	s.lockouts = map[accountKey]*lockout{}
}

// Patch changes settings as a JSON merge patch says (RFC 7396). A null restores the default, and a
// list replaces the old list. If a setting is invalid, nothing changes and the error names the
// setting.
func (s *Simulator) Patch(patch []byte) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	merged, err := s.settings.merge(patch)
	if err != nil {
		return err
	}
	s.settings = merged
	return nil
}

// State returns the current settings and counts. The Count of a fault is how many requests the
// fault still affects.
func (s *Simulator) State() State {
	s.mu.Lock()
	defer s.mu.Unlock()
	st := s.counts.snapshot()
	st.Settings = s.settings.clone()
	return st
}

// Introspect returns what the simulator knows about a token.
func (s *Simulator) Introspect(token string) Introspection {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.tokens.introspect(token, s.now())
}

// RevokeSessions ends all active refresh tokens, and returns the number of their sessions. If
// provider or account is not "", only matching tokens end. Access tokens stay valid.
func (s *Simulator) RevokeSessions(provider, account string) int {
	return s.endTokens(kindRefresh, provider, account, func(t *token, now time.Time) {
		t.session.closed = now // ends the session's other refresh tokens too, so each session counts once
	})
}

// EndTokens ends all active access tokens, and returns their number. If provider or account is not
// "", only matching tokens end. Refresh tokens stay valid.
func (s *Simulator) EndTokens(provider, account string) int {
	return s.endTokens(kindAccess, provider, account, func(t *token, now time.Time) { t.revoked = now })
}

// endTokens calls the function end for each active token of a kind, and returns the number of
// calls.
func (s *Simulator) endTokens(kind, provider, account string, end func(t *token, now time.Time)) (n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.now()
	for _, t := range s.tokens.tokens {
		if t.kind == kind && t.active(now) && t.session.matches(provider, account) {
			end(t, now)
			n++
		}
	}
	return n
}
