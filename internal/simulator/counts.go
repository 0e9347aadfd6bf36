// SPDX-License-Identifier: MPL-2.0

package simulator

// State is the response to GET /sim/state.
type State struct {
	Settings Settings `json:"settings"`
	// Total has the counts of all providers together.
	Total     Counts                    `json:"total"`
	Providers map[string]ProviderCounts `json:"providers"`
	// Violations are the last 100 violations, oldest first.
	Violations []Violation `json:"violations"`
}

// Counts are counts of requests. A login is a request with a password, client credentials or an app
// key. A request that a simulated proxy ends counts as a request and a fault, but not as a login,
// refresh or revocation.
type Counts struct {
	Requests           int `json:"requests"`
	LoginsSucceeded    int `json:"logins_succeeded"`
	LoginsFailed       int `json:"logins_failed"`
	RefreshesSucceeded int `json:"refreshes_succeeded"`
	RefreshesFailed    int `json:"refreshes_failed"`
	// RefreshReuses counts refreshes with an already used refresh token, if
	// revoke_refresh_token is true. SessionsEndedByReuse counts the sessions that these
	// refreshes ended.
	RefreshReuses        int `json:"refresh_reuses"`
	SessionsEndedByReuse int `json:"sessions_ended_by_reuse"`
	RevocationsSucceeded int `json:"revocations_succeeded"`
	RevocationsFailed    int `json:"revocations_failed"` // including errors with status 200
	Faults               int `json:"faults"`
	Violations           int `json:"violations"`
	MaxConcurrent        int `json:"max_concurrent"`
}

// Logins returns the number of logins, successful or not.
func (c Counts) Logins() int { return c.LoginsSucceeded + c.LoginsFailed }

// ProviderCounts are the counts of one provider.
type ProviderCounts struct {
	Counts
	// Accounts are the counts by account name. Unknown names are counted too.
	Accounts map[string]Counts `json:"accounts"`
	// LastRequest is the last request that reached the provider. Nil means none.
	LastRequest *LastRequest `json:"last_request,omitempty"`
}

// LastRequest describes a request without its secrets.
type LastRequest struct {
	Path    string `json:"path"`
	Op      string `json:"op"`
	Account string `json:"account,omitempty"`
	// ClientAuth says what identifies the client: "header" (a Basic header), "body"
	// (client_secret), "both", "certificate" (client_id with a verified client certificate),
	// "public" (client_id alone) or "" (nothing).
	ClientAuth string `json:"client_auth,omitempty"`
	// Params are the form parameters or JSON fields, without secrets.
	Params map[string]string `json:"params,omitempty"`
}

// Violation is a request that violates the provider's documentation or an RFC.
type Violation struct {
	Provider string `json:"provider,omitempty"`
	Account  string `json:"account,omitempty"`
	Path     string `json:"path"`
	Text     string `json:"text"`
}

const maxViolations = 100

// tally holds counts and the number of requests in progress.
type tally struct {
	Counts
	inProgress int
}

// counter counts requests. The simulator's lock guards it.
type counter struct {
	total      *tally
	providers  map[string]*tally
	accounts   map[accountKey]*tally
	last       map[string]*LastRequest
	violations []Violation
}

func newCounter() *counter {
	return &counter{total: &tally{}, providers: map[string]*tally{}, accounts: map[accountKey]*tally{}, last: map[string]*LastRequest{}}
}

// begin counts a new request, and returns the counts to which the outcome must be added.
func (n *counter) begin(c *call) []*tally {
	tallies := []*tally{n.total, entry(n.providers, c.provider)}
	if c.account != "" {
		tallies = append(tallies, entry(n.accounts, c.key(c.account)))
	}
	for _, t := range tallies {
		t.Requests++
		t.inProgress++
		t.MaxConcurrent = max(t.MaxConcurrent, t.inProgress)
		if c.fault != nil {
			t.Faults++
		}
	}
	return tallies
}

func entry[K comparable](m map[K]*tally, key K) *tally {
	if m[key] == nil {
		m[key] = &tally{}
	}
	return m[key]
}

// record counts the outcome of a request. It ignores requests that a simulated proxy answered.
func (s *Simulator) record(c *call, resp response) {
	if c.intercepted {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.counts.last[c.provider] = c.describe()
	for _, t := range c.tallies {
		t.countOutcome(c, resp.ok)
	}
}

func (t *tally) countOutcome(c *call, ok bool) {
	count := func(succeeded, failed *int) {
		if ok {
			*succeeded++
		} else {
			*failed++
		}
	}
	switch {
	case c.isLogin():
		count(&t.LoginsSucceeded, &t.LoginsFailed)
	case c.op == opRefresh:
		count(&t.RefreshesSucceeded, &t.RefreshesFailed)
	case c.op == opRevoke:
		count(&t.RevocationsSucceeded, &t.RevocationsFailed)
	}
	if c.reusesRefresh {
		t.RefreshReuses++
	}
	if c.endsSession {
		t.SessionsEndedByReuse++
	}
}

func (n *counter) addViolation(v Violation) {
	n.violations = append(n.violations, v)
	if extra := len(n.violations) - maxViolations; extra > 0 {
		n.violations = n.violations[extra:]
	}
}

func (c *call) describe() *LastRequest {
	params := map[string]string{}
	for name, values := range c.form {
		params[name] = values[0]
	}
	for name := range c.json {
		params[name] = c.jsonString(name)
	}
	for _, secret := range secretParams {
		delete(params, secret)
	}
	return &LastRequest{
		Path: c.r.URL.Path, Op: c.op, Account: c.account, ClientAuth: c.clientAuth(), Params: params,
	}
}

func (n *counter) snapshot() State {
	st := State{
		Total:      n.total.Counts,
		Providers:  map[string]ProviderCounts{},
		Violations: append([]Violation{}, n.violations...),
	}
	for name, t := range n.providers {
		st.Providers[name] = ProviderCounts{Counts: t.Counts, Accounts: map[string]Counts{}, LastRequest: n.last[name]}
	}
	for key, t := range n.accounts {
		st.Providers[key.provider].Accounts[key.account] = t.Counts
	}
	return st
}
