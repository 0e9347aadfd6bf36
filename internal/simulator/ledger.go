// SPDX-License-Identifier: MPL-2.0

package simulator

import (
	"cmp"
	"crypto/rand"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"time"
)

// Introspection is what the simulator knows about a token.
type Introspection struct {
	// Known is false for a token that was never issued, or was forgotten after its end.
	Known bool `json:"known"`
	// Active is true while the provider takes the token: issued, not expired, not revoked.
	Active   bool   `json:"active"`
	Provider string `json:"provider,omitempty"`
	Account  string `json:"account,omitempty"`
	// Kind is "access" or "refresh".
	Kind    string `json:"kind,omitempty"`
	Session string `json:"session,omitempty"`
	// IssuedAt is by the simulator's clock, whatever the knob clock_offset says.
	IssuedAt time.Time `json:"issued_at,omitzero"`
	// ExpiresIn is the life left in seconds, negative once expired; a revoked token has it too. 0 with NeverExpires.
	ExpiresIn    float64 `json:"expires_in"`
	NeverExpires bool    `json:"never_expires,omitempty"`
	// Revoked is true if the token, or its session, was ended before its time, also by a refresh under the knob
	// revoke_refresh_token. The end that the knob session_max sets is the token's expiry.
	Revoked bool `json:"revoked,omitempty"`
}

const (
	kindAccess  = "access"
	kindRefresh = "refresh"
)

// session is what a login opens and all tokens that follow from it belong to.
type session struct {
	id       string
	provider string
	account  string
	client   string // the OAuth client it was opened through; "" where there is none
	opened   time.Time
	ended    time.Time // with all its tokens; zero: not
	closed   time.Time // to refreshes, while its access tokens live on; zero: not
	detached bool      // it was ended by the reuse of a refresh token
}

// token is one that was issued.
type token struct {
	text    string
	kind    string
	session *session
	issued  time.Time
	expires time.Time // zero: never
	revoked time.Time // zero: not
	used    bool      // a refresh token that must not be used again
}

// end returns when the token died or will, zero if it never will.
func (t *token) end() time.Time {
	end := t.expires
	for _, at := range []time.Time{t.revoked, t.session.ended, t.closed()} {
		if !at.IsZero() && (end.IsZero() || at.Before(end)) {
			end = at
		}
	}
	return end
}

// closed returns when the session was closed to it: an access token does not notice.
func (t *token) closed() time.Time {
	if t.kind == kindRefresh {
		return t.session.closed
	}
	return time.Time{}
}

func (t *token) active(now time.Time) bool {
	end := t.end()
	return end.IsZero() || now.Before(end)
}

// ledger remembers the tokens issued; the simulator's lock guards it.
type ledger struct {
	rememberFor time.Duration
	limit       int

	tokens map[string]*token
	order  []*token              // as issued
	latest map[accountKey]*token // the access token last issued to an account
	swept  time.Time
}

func newLedger(rememberFor time.Duration, limit int) *ledger {
	return &ledger{
		rememberFor: cmp.Or(rememberFor, 15*time.Minute),
		limit:       cmp.Or(limit, 200_000),
		tokens:      map[string]*token{},
		latest:      map[accountKey]*token{},
	}
}

// add remembers a token just issued, and once a minute forgets those long dead.
func (l *ledger) add(t *token) {
	if t.issued.Sub(l.swept) >= time.Minute || t.issued.Before(l.swept) {
		l.sweep(t.issued)
	}
	for len(l.order) >= l.limit {
		l.forget(l.order[0])
		l.order = l.order[1:]
	}
	l.tokens[t.text] = t
	l.order = append(l.order, t)
	if t.kind == kindAccess {
		l.latest[accountKey{t.session.provider, t.session.account}] = t
	}
}

func (l *ledger) sweep(now time.Time) {
	l.swept = now
	kept := make([]*token, 0, len(l.order))
	for _, t := range l.order {
		if end := t.end(); !end.IsZero() && now.Sub(end) > l.rememberFor {
			l.forget(t)
		} else {
			kept = append(kept, t)
		}
	}
	l.order = kept
}

func (l *ledger) forget(t *token) {
	delete(l.tokens, t.text)
	if key := (accountKey{t.session.provider, t.session.account}); l.latest[key] == t {
		delete(l.latest, key)
	}
}

// find returns a token of the provider and kind ("" for either), dead or alive, or nil.
func (l *ledger) find(text, provider, kind string) *token {
	t := l.tokens[text]
	if t == nil || t.session.provider != provider || (kind != "" && t.kind != kind) {
		return nil
	}
	return t
}

// owner returns the account of a token, dead or alive, or "".
func (l *ledger) owner(text string) string {
	if t := l.tokens[text]; t != nil {
		return t.session.account
	}
	return ""
}

func (l *ledger) introspect(text string, now time.Time) Introspection {
	t := l.tokens[text]
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
		Revoked:      !t.revoked.IsZero() || !t.session.ended.IsZero() || !t.closed().IsZero(),
	}
	if !in.NeverExpires {
		in.ExpiresIn = t.expires.Sub(now).Seconds()
	}
	return in
}

// revoke ends a token: an access token alone, a refresh token with its whole session (RFC 7009 §2.1).
func (t *token) revoke(now time.Time) {
	t.revoked = now
	if t.kind == kindRefresh {
		t.session.ended = now
	}
}

// closeSessions closes to refreshes what sessions have a live refresh token, and returns how many they are.
func (l *ledger) closeSessions(provider, account string, now time.Time) int {
	n := 0
	for _, t := range l.order {
		if t.kind != kindRefresh || !t.active(now) ||
			(provider != "" && provider != t.session.provider) || (account != "" && account != t.session.account) {
			continue
		}
		t.session.closed = now
		n++
	}
	return n
}

// jwt returns a token that looks like Keycloak's; nobody can verify its signature.
func (c *call) jwt(typ string, s *session, expires time.Time) string {
	claims := map[string]any{
		"iat": c.providerNow().Unix(), "jti": rand.Text(), "typ": typ, "sid": s.id,
		"azp": keycloakClient, "preferred_username": s.account,
	}
	if !expires.IsZero() {
		claims["exp"] = expires.Add(c.rules.clockOffset).Unix()
	}
	payload, _ := json.Marshal(claims) // strings and numbers always encode
	b64 := base64.RawURLEncoding.EncodeToString
	return b64([]byte(`{"alg":"ES512","typ":"JWT"}`)) + "." + b64(payload) + "." + b64(random(64))
}

// opaque returns a token that says nothing.
func opaque() string { return hex.EncodeToString(random(32)) }

// newSessionID returns an id as Keycloak makes them: 24 characters of base64url.
func newSessionID() string { return base64.RawURLEncoding.EncodeToString(random(18)) }

func random(n int) []byte {
	b := make([]byte, n)
	_, _ = rand.Read(b) // never fails
	return b
}
