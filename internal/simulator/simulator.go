// SPDX-License-Identifier: MPL-2.0

package simulator

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"sync"
	"time"
)

// The providers, by the names that settings and counts use.
const (
	SinchIndia        = "sinch-india"
	EnableXWhatsApp   = "enablex-whatsapp"
	EnableXRCS        = "enablex-rcs"
	EnableXSMS        = "enablex-sms"
	SinchConversation = "sinch-conversation"
	OAuth2            = "oauth2"
)

// Options say how a simulator starts. The zero value is a well-behaved one.
type Options struct {
	// Settings at the start, and after a reset. They must be valid (see Settings.Validate), else New panics.
	Settings Settings
	// Now is the clock; nil means time.Now.
	Now func() time.Time
	// Sleep waits for d or until ctx ends; it makes the latency knob. Nil means really waiting.
	Sleep func(ctx context.Context, d time.Duration)
	// Log gets one record a provider request, never a secret; nil means no log.
	Log *slog.Logger
	// RememberFor is how long a token is remembered after its end; 0 means 15 minutes.
	RememberFor time.Duration
	// MaxTokens bounds how many tokens are remembered, oldest forgotten first; 0 means 200,000.
	MaxTokens int
}

// Simulator is an http.Handler that plays all providers and serves its control API. Safe for concurrent use.
type Simulator struct {
	now       func() time.Time
	sleep     func(context.Context, time.Duration)
	log       *slog.Logger
	start     Settings // what a reset goes back to
	endpoints map[string]endpoint
	control   http.Handler

	mu       sync.Mutex
	settings Settings
	counts   *counter
	lockouts map[accountKey]*lockout
	underWay map[accountKey]bool // logins, of which an account may make one at a time
	tokens   *ledger
}

// endpoint is what answers at one path.
type endpoint struct {
	provider string
	// op is what a request here does, or "" where the form's grant_type says.
	op     string
	handle func(*call) answer
}

// accountKey names one account of one provider.
type accountKey struct{ provider, account string }

// New returns a simulator. It panics if opts.Settings are not valid.
func New(opts Options) *Simulator {
	if err := opts.Settings.Validate(); err != nil {
		panic(fmt.Sprintf("simulator: %v", err))
	}
	s := &Simulator{
		now:   opts.Now,
		sleep: opts.Sleep,
		log:   opts.Log,
		start: opts.Settings.clone(),
	}
	if s.now == nil {
		s.now = time.Now
	}
	if s.sleep == nil {
		s.sleep = sleep
	}
	if s.log == nil {
		s.log = slog.New(slog.DiscardHandler)
	}
	s.counts = newCounter()
	s.underWay = map[accountKey]bool{}
	s.tokens = newLedger(opts.RememberFor, opts.MaxTokens)
	s.endpoints = s.routes()
	s.control = s.controlAPI()
	s.Reset()
	return s
}

func sleep(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	}
}

// routes lists every provider path.
func (s *Simulator) routes() map[string]endpoint {
	m := map[string]endpoint{
		"/whatsapp/v1/token": {EnableXWhatsApp, opAppKey, s.enablexToken},
		"/rcs/v1/token":      {EnableXRCS, opAppKey, s.enablexToken},
		"/sms/v1/token":      {EnableXSMS, opAppKey, s.enablexToken},
		"/oauth2/token":      {SinchConversation, "", s.conversationToken},
		"/generic/token":     {OAuth2, "", s.genericToken},
		"/generic/revoke":    {OAuth2, opRevoke, s.genericRevoke},
	}
	for _, root := range []string{"", "/auth"} {
		realm := root + "/realms/ipmessaging/protocol/openid-connect/"
		m[realm+"token"] = endpoint{SinchIndia, "", s.keycloakToken}
		m[realm+"revoke"] = endpoint{SinchIndia, opRevoke, s.keycloakRevoke}
		m[realm+"logout"] = endpoint{SinchIndia, opLogout, s.keycloakLogout}
	}
	return m
}

// ServeHTTP serves the providers' paths, and the control API under /sim/. A fault that closes the connection panics
// with http.ErrAbortHandler, which a server takes for just that.
func (s *Simulator) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	ep, ok := s.endpoints[r.URL.Path]
	if !ok {
		s.control.ServeHTTP(w, r)
		return
	}
	c := s.open(r, ep)
	defer s.close(c)
	a := s.answer(c)
	s.note(c, a)
	if c.rules.latency > 0 {
		// Only now: to the provider the token's life has begun, which is the worst case for who asked.
		s.sleep(r.Context(), c.rules.latency)
		if r.Context().Err() != nil {
			return
		}
	}
	s.endLogin(c) // before the answer is out, so that who has it can log in again at once
	s.write(w, c, a)
}

// answer lets the fault that is due answer in the provider's stead, or the provider, and then spoils that if it is due.
func (s *Simulator) answer(c *call) answer {
	if a, ok := c.fault.inFront(c); ok {
		return a
	}
	a := c.ep.handle(c)
	if status := c.rules.successStatus; a.tokenField != "" && status != 0 {
		a.status = status
	}
	return c.fault.spoil(c, a)
}

// Reset puts counts, faults and settings back to the start, and ends lockouts. Tokens already issued live on.
func (s *Simulator) Reset() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.settings = s.start.clone()
	s.counts.reset()
	s.lockouts = map[accountKey]*lockout{}
}

// Patch merges a JSON document into the settings (RFC 7396: null puts a knob back to its default, a list is replaced).
// On an error, which names the knob, nothing has changed.
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

// State returns the settings as they are (with what is left of each fault's count) and the counts so far.
func (s *Simulator) State() State {
	s.mu.Lock()
	defer s.mu.Unlock()
	st := s.counts.snapshot()
	st.Settings = s.settings.clone()
	return st
}

// Introspect says all that is known about a token.
func (s *Simulator) Introspect(token string) Introspection {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.tokens.introspect(token, s.now())
}

// RevokeSessions ends every session that has a live refresh token, or only those of one provider or account where these
// are not empty. Their access tokens live on, as for who only checks signature and expiry. It returns how many it ended.
func (s *Simulator) RevokeSessions(provider, account string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.tokens.closeSessions(provider, account, s.now())
}
