// SPDX-License-Identifier: MPL-2.0

package simulator

import (
	"cmp"
	"time"
)

// Introspection is what the simulator knows about a token.
type Introspection struct {
	// Known is false for a token that was never issued, or that is forgotten.
	Known bool `json:"known"`
	// Active is true while the provider accepts the token.
	Active   bool   `json:"active"`
	Provider string `json:"provider,omitempty"`
	Account  string `json:"account,omitempty"`
	// Kind is "access" or "refresh".
	Kind    string `json:"kind,omitempty"`
	Session string `json:"session,omitempty"`
	// IssuedAt is a time on the simulator's clock. The setting clock_offset does not change it.
	IssuedAt time.Time `json:"issued_at,omitzero"`
	// ExpiresIn is the time to the expiry in seconds. It is negative after the expiry, 0 if
	// NeverExpires, and not changed by a revocation.
	ExpiresIn    float64 `json:"expires_in"`
	NeverExpires bool    `json:"never_expires,omitempty"`
	// Revoked is true if the token or its session was ended before the expiry. The setting session_max
	// sets the expiry, so a token that reaches it is expired, not revoked.
	Revoked bool `json:"revoked,omitempty"`
}

const (
	kindAccess  = "access"
	kindRefresh = "refresh"
)

// session starts with a login and holds the tokens of the login and of its refreshes.
type session struct {
	id       string
	provider string
	account  string
	client   string // the OAuth client, or ""
	opened   time.Time
	ended    time.Time // when all tokens were revoked; zero if they were not
	closed   time.Time // when the refresh tokens were revoked; zero if they were not
	detached bool      // ended because a refresh token was used twice
}

// matches reports whether the session is of the provider and the account; "" matches any.
func (s *session) matches(provider, account string) bool {
	return (provider == "" || provider == s.provider) && (account == "" || account == s.account)
}

// token is an issued token.
type token struct {
	text    string
	kind    string
	session *session
	issued  time.Time
	expires time.Time // zero if never
	revoked time.Time // zero if not revoked; in the future during the grace of a used refresh token
	used    bool      // a refresh token that must not be used after revoked
}

// revokedAt returns when the token or its session was revoked; zero if neither was.
func (t *token) revokedAt() time.Time {
	at := earlier(t.revoked, t.session.ended)
	if t.kind == kindRefresh {
		at = earlier(at, t.session.closed)
	}
	return at
}

// end returns when the token ends or ended; zero if never.
func (t *token) end() time.Time { return earlier(t.expires, t.revokedAt()) }

// earlier returns the earlier of two times. A zero time means never.
func earlier(a, b time.Time) time.Time {
	if a.IsZero() || (!b.IsZero() && b.Before(a)) {
		return b
	}
	return a
}

func (t *token) active(now time.Time) bool {
	end := t.end()
	return end.IsZero() || now.Before(end)
}

// revoke ends an access token, or a refresh token and its session (RFC 7009 §2.1).
func (t *token) revoke(now time.Time) {
	t.revoked = now
	if t.kind == kindRefresh {
		t.session.ended = now
	}
}

func (t *token) account() accountKey { return accountKey{t.session.provider, t.session.account} }

// tokenStore remembers the issued tokens. The simulator's lock guards it.
type tokenStore struct {
	rememberFor time.Duration
	maxTokens   int

	tokens    map[string]*token
	order     []*token              // in order of issue
	latest    map[accountKey]*token // the account's latest access token
	lastSweep time.Time
}

func newTokenStore(rememberFor time.Duration, maxTokens int) *tokenStore {
	return &tokenStore{
		rememberFor: cmp.Or(rememberFor, 15*time.Minute),
		maxTokens:   cmp.Or(maxTokens, 200_000),
		tokens:      map[string]*token{},
		latest:      map[accountKey]*token{},
	}
}

// add stores a new token. Once a minute it forgets the tokens that ended long ago.
func (s *tokenStore) add(t *token) {
	if t.issued.Sub(s.lastSweep) >= time.Minute || t.issued.Before(s.lastSweep) {
		s.sweep(t.issued)
	}
	for len(s.order) >= s.maxTokens {
		s.forget(s.order[0])
		s.order = s.order[1:]
	}
	s.tokens[t.text] = t
	s.order = append(s.order, t)
	if t.kind == kindAccess {
		s.latest[t.account()] = t
	}
}

func (s *tokenStore) sweep(now time.Time) {
	s.lastSweep = now
	kept := make([]*token, 0, len(s.order))
	for _, t := range s.order {
		if end := t.end(); !end.IsZero() && now.Sub(end) > s.rememberFor {
			s.forget(t)
		} else {
			kept = append(kept, t)
		}
	}
	s.order = kept
}

func (s *tokenStore) forget(t *token) {
	delete(s.tokens, t.text)
	if s.latest[t.account()] == t {
		delete(s.latest, t.account())
	}
}

// find returns a token of the provider, ended or not, or nil. The kind "" means any kind.
func (s *tokenStore) find(text, provider, kind string) *token {
	t := s.tokens[text]
	if t == nil || t.session.provider != provider || (kind != "" && t.kind != kind) {
		return nil
	}
	return t
}

// account returns the account of a token, ended or not, or "".
func (s *tokenStore) account(text string) string {
	if t := s.tokens[text]; t != nil {
		return t.session.account
	}
	return ""
}

func (s *tokenStore) introspect(text string, now time.Time) Introspection {
	t := s.tokens[text]
	if t == nil {
		return Introspection{}
	}
	in := Introspection{
		Known:        true,
		Active:       t.active(now),
		Provider:     t.session.provider,
		Account:      t.session.account,
		Kind:         t.kind,
		Session:      t.session.id,
		IssuedAt:     t.issued,
		NeverExpires: t.expires.IsZero(),
	}
	if at := t.revokedAt(); !at.IsZero() {
		in.Revoked = !now.Before(at)
	}
	if !in.NeverExpires {
		in.ExpiresIn = t.expires.Sub(now).Seconds()
	}
	return in
}

// closeSessions ends the refresh tokens of sessions (see Simulator.RevokeSessions).
func (s *tokenStore) closeSessions(provider, account string, now time.Time) int {
	n := 0
	for _, t := range s.order {
		if t.kind == kindRefresh && t.active(now) && t.session.matches(provider, account) {
			t.session.closed = now // ends the session's other refresh tokens too: each session counts once
			n++
		}
	}
	return n
}
