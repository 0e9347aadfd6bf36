// SPDX-License-Identifier: MPL-2.0

package simulator

import (
	"maps"
	"time"
)

// Introspection is what the simulator knows about a token.
type Introspection struct {
	// Known is false if the token was never issued, or ended longer ago than rememberFor.
	Known bool `json:"known"`
	// Active is true while the provider accepts the token.
	Active   bool   `json:"active"`
	Provider string `json:"provider,omitempty"`
	Account  string `json:"account,omitempty"`
	// Kind is "access" or "refresh".
	Kind string `json:"kind,omitempty"`
	// IssuedAt is a time on the simulator's clock. The setting clock_offset does not change it.
	IssuedAt time.Time `json:"issued_at,omitzero"`
	// ExpiresIn is the number of seconds until the expiry, negative after the expiry. A
	// revocation does not change ExpiresIn.
	ExpiresIn float64 `json:"expires_in"`
	// Revoked is true if the token or its session was revoked before the expiry.
	Revoked bool `json:"revoked,omitempty"`
}

const (
	kindAccess  = "access"
	kindRefresh = "refresh"
)

// session is a login with the tokens of its refreshes.
type session struct {
	id       string
	provider string
	account  string
	client   string    // the OAuth client, or ""
	ended    time.Time // when all tokens were revoked; zero if they were not
	closed   time.Time // when the refresh tokens were revoked; zero if they were not
	detached bool      // ended because a refresh token was used twice
}

// matches reports whether the session belongs to the provider and the account. The value "" matches
// everything.
func (s *session) matches(provider, account string) bool {
	return (provider == "" || provider == s.provider) && (account == "" || account == s.account)
}

// token is an issued token.
type token struct {
	text    string
	kind    string
	session *session
	issued  time.Time
	expires time.Time
	revoked time.Time // zero if not revoked; in the future during the grace of a used refresh token
	used    bool      // a refresh token that was used, so that another use after revoked ends the session
}

// revokedAt returns when the token or its session was revoked, or the zero time.
func (t *token) revokedAt() time.Time {
	at := earlier(t.revoked, t.session.ended)
	if t.kind == kindRefresh {
		at = earlier(at, t.session.closed)
	}
	return at
}

// end returns when the token ends or ended.
func (t *token) end() time.Time { return earlier(t.expires, t.revokedAt()) }

// earlier returns the earlier of two times. A zero time means never.
func earlier(a, b time.Time) time.Time {
	if a.IsZero() || (!b.IsZero() && b.Before(a)) {
		return b
	}
	return a
}

func (t *token) active(now time.Time) bool { return now.Before(t.end()) }

// revoke ends an access token, or a refresh token and its session (RFC 7009 §2.1).
func (t *token) revoke(now time.Time) {
	t.revoked = now
	if t.kind == kindRefresh {
		t.session.ended = now
	}
}

// rememberFor is how long a token is remembered after its end.
const rememberFor = 15 * time.Minute

// tokenStore remembers the issued tokens. The simulator's lock guards it.
type tokenStore struct {
	tokens    map[string]*token
	lastSweep time.Time
}

// add stores a new token. Once a minute it forgets the tokens that ended long ago.
func (s *tokenStore) add(t *token) {
	if now := t.issued; now.Sub(s.lastSweep) >= time.Minute || now.Before(s.lastSweep) {
		s.lastSweep = now
		maps.DeleteFunc(s.tokens, func(_ string, t *token) bool { return now.Sub(t.end()) > rememberFor })
	}
	s.tokens[t.text] = t
}

// find returns a token of the provider, or nil. The token may have ended. If kind is "", all kinds
// match.
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
	at := t.revokedAt()
	return Introspection{
		Known:     true,
		Active:    t.active(now),
		Provider:  t.session.provider,
		Account:   t.session.account,
		Kind:      t.kind,
		IssuedAt:  t.issued,
		ExpiresIn: t.expires.Sub(now).Seconds(),
		Revoked:   !at.IsZero() && !now.Before(at),
	}
}
