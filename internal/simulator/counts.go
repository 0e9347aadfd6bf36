// SPDX-License-Identifier: MPL-2.0

package simulator

import (
	"net"
	"net/http"
	"net/url"
)

// State is what GET /sim/state answers.
type State struct {
	Settings Settings `json:"settings"`
	// Total counts the requests of all providers.
	Total     Counts                    `json:"total"`
	Providers map[string]ProviderCounts `json:"providers"`
	// Connections counts connections, if the server's ConnState is the simulator's.
	Connections Connections `json:"connections"`
	// Violations are the last 100 protocol violations, oldest first.
	Violations []Violation `json:"violations"`
}

// Counts say what was asked. A login is an attempt that sends a long-lived secret: a password grant, client
// credentials, an app key. What a fault in front of the provider answered is a request and a fault, but no login.
type Counts struct {
	Requests        int `json:"requests"`
	LoginsSucceeded int `json:"logins_succeeded"`
	LoginsFailed    int `json:"logins_failed"`
	// LoginsRefusedConcurrent is how many of the failed logins were refused because another one of the same account was
	// under way (see Knobs.OneLoginAtATime).
	LoginsRefusedConcurrent int `json:"logins_refused_concurrent"`
	RefreshesSucceeded      int `json:"refreshes_succeeded"`
	RefreshesFailed         int `json:"refreshes_failed"`
	RevocationsSucceeded    int `json:"revocations_succeeded"` // logouts too
	RevocationsFailed       int `json:"revocations_failed"`    // also where the answer is 200 with an error in it
	Faults                  int `json:"faults"`
	Violations              int `json:"violations"`
	MaxConcurrent           int `json:"max_concurrent"`
}

// Logins is how many logins there were, whatever came of them.
func (c Counts) Logins() int { return c.LoginsSucceeded + c.LoginsFailed }

// ProviderCounts are the counts of one provider.
type ProviderCounts struct {
	Counts
	// Accounts is by the name that requests gave, known or not. At most 100,000 are told apart.
	Accounts map[string]Counts `json:"accounts"`
	// LastRequest is the last request that was not kept from the provider; nil if none.
	LastRequest *LastRequest `json:"last_request,omitempty"`
}

// LastRequest describes a request, without its secrets.
type LastRequest struct {
	Path    string `json:"path"`
	Op      string `json:"op"`
	Account string `json:"account,omitempty"`
	// ClientAuth is how the client named itself: "header", "body" (with a secret), "public" (client_id only), "both",
	// or "" where it did not.
	ClientAuth string `json:"client_auth,omitempty"`
	// Params are the form parameters other than secrets, or the JSON body's other than the app key.
	Params map[string]string `json:"params,omitempty"`
}

// Connections count a server's connections. To see reuse, compare Used: connections over which only the control API was
// asked are not in it.
type Connections struct {
	Accepted int `json:"accepted"`
	Open     int `json:"open"`
	Used     int `json:"used"`
}

// Violation is a request that is not what the provider's documentation, or the RFC, says.
type Violation struct {
	Provider string `json:"provider,omitempty"`
	Account  string `json:"account,omitempty"`
	Path     string `json:"path"`
	Text     string `json:"text"`
}

const (
	maxAccounts   = 100_000
	maxViolations = 100
)

// tally is counts in the making.
type tally struct {
	Counts
	inFlight int
}

// counter counts; the simulator's lock guards it.
type counter struct {
	total       *tally
	providers   map[string]*tally
	accounts    map[accountKey]*tally
	last        map[string]*LastRequest
	violations  []Violation
	connections Connections
	connUsed    map[string]bool // remote address of an open connection → it has asked a provider
}

func newCounter() *counter {
	n := &counter{connUsed: map[string]bool{}}
	n.reset()
	return n
}

// reset begins anew. Connections that are open stay known, but have not been accepted or used since.
func (n *counter) reset() {
	used := n.connUsed
	for addr := range used {
		used[addr] = false
	}
	*n = counter{
		total:       &tally{},
		providers:   map[string]*tally{},
		accounts:    map[accountKey]*tally{},
		last:        map[string]*LastRequest{},
		connections: Connections{Open: len(used)},
		connUsed:    used,
	}
}

// begin counts a request in and returns the tallies it belongs to.
func (n *counter) begin(c *call) []*tally {
	tallies := []*tally{n.total, entry(n.providers, c.ep.provider)}
	key := accountKey{c.ep.provider, c.account}
	if _, known := n.accounts[key]; c.account != "" && (known || len(n.accounts) < maxAccounts) {
		tallies = append(tallies, entry(n.accounts, key))
	}
	for _, t := range tallies {
		t.Requests++
		t.inFlight++
		t.MaxConcurrent = max(t.MaxConcurrent, t.inFlight)
		if c.fault != nil {
			t.Faults++
		}
	}
	if used, open := n.connUsed[c.r.RemoteAddr]; open && !used {
		n.connUsed[c.r.RemoteAddr] = true
		n.connections.Used++
	}
	return tallies
}

func entry[K comparable](m map[K]*tally, key K) *tally {
	if m[key] == nil {
		m[key] = &tally{}
	}
	return m[key]
}

func (n *counter) end(tallies []*tally) {
	for _, t := range tallies {
		t.inFlight--
	}
}

// note counts what came of a request that reached its provider, and logs every one.
func (s *Simulator) note(c *call, a answer) {
	fault := ""
	if c.fault != nil {
		fault = c.fault.Kind
	}
	s.log.Info("request", "method", c.r.Method, "path", c.r.URL.Path, "provider", c.ep.provider, "op", c.op,
		"account", c.account, "status", a.status, "ok", a.ok, "fault", fault)
	if _, kept := c.fault.inFront(c); kept {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.counts.last[c.ep.provider] = c.describe()
	for _, t := range c.tallies {
		if outcome := t.outcome(c, a.ok); outcome != nil {
			*outcome++
		}
		if c.clash {
			t.LoginsRefusedConcurrent++
		}
	}
}

// outcome returns the count that a request belongs to, or nil.
func (t *tally) outcome(c *call, ok bool) *int {
	choose := func(succeeded, failed *int) *int {
		if ok {
			return succeeded
		}
		return failed
	}
	switch {
	case c.isLogin():
		return choose(&t.LoginsSucceeded, &t.LoginsFailed)
	case c.op == opRefresh:
		return choose(&t.RefreshesSucceeded, &t.RefreshesFailed)
	case c.op == opRevoke || c.op == opLogout:
		return choose(&t.RevocationsSucceeded, &t.RevocationsFailed)
	}
	return nil
}

func (n *counter) violation(c *call, text string) {
	for _, t := range c.tallies {
		t.Violations++
	}
	n.addViolation(Violation{Provider: c.ep.provider, Account: c.account, Path: c.r.URL.Path, Text: text})
}

func (n *counter) addViolation(v Violation) {
	n.violations = append(n.violations, v)
	if extra := len(n.violations) - maxViolations; extra > 0 {
		n.violations = n.violations[extra:]
	}
}

func (c *call) describe() *LastRequest {
	l := &LastRequest{Path: c.r.URL.Path, Op: c.op, Account: c.account, Params: map[string]string{}}
	for name, values := range c.form {
		l.Params[name] = values[0]
	}
	for name := range c.object {
		l.Params[name] = c.text(name)
	}
	for _, secret := range []string{"password", "client_secret", "refresh_token", "token", "app_key"} {
		delete(l.Params, secret)
	}
	l.ClientAuth = clientAuth(c.basic, c.form)
	return l
}

func clientAuth(basic *basicAuth, form url.Values) string {
	switch {
	case basic != nil && form.Has("client_secret"):
		return "both"
	case basic != nil:
		return "header"
	case form.Has("client_secret"):
		return "body"
	case form.Has("client_id"):
		return "public"
	}
	return ""
}

func (n *counter) snapshot() State {
	st := State{
		Total:       n.total.Counts,
		Providers:   map[string]ProviderCounts{},
		Connections: n.connections,
		Violations:  append([]Violation{}, n.violations...),
	}
	for name, t := range n.providers {
		st.Providers[name] = ProviderCounts{Counts: t.Counts, Accounts: map[string]Counts{}, LastRequest: n.last[name]}
	}
	for key, t := range n.accounts {
		st.Providers[key.provider].Accounts[key.account] = t.Counts
	}
	return st
}

// ConnState counts connections: set it as http.Server's ConnState.
func (s *Simulator) ConnState(conn net.Conn, state http.ConnState) {
	s.mu.Lock()
	defer s.mu.Unlock()
	n, addr := s.counts, conn.RemoteAddr().String()
	switch state {
	case http.StateNew:
		n.connections.Accepted++
		n.connUsed[addr] = false
	case http.StateClosed, http.StateHijacked:
		delete(n.connUsed, addr)
	}
	n.connections.Open = len(n.connUsed)
}
