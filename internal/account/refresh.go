// SPDX-License-Identifier: MPL-2.0

package account

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/vault/sdk/logical"

	"vault-plugin-secrets-messaging/internal/clock"
	"vault-plugin-secrets-messaging/internal/token"
	"vault-plugin-secrets-messaging/providers"
)

// exchangeTimeout limits an exchange and the storing of its result. The HTTP client has a
// shorter timeout.
const exchangeTimeout = 90 * time.Second

// RefreshTokens stores and uses the refresh tokens that are the credentials of accounts (RFC 6749
// §6). Many providers accept a refresh token only once, and answer with the next refresh token (RFC
// 9700 §4.14.2). If the engine loses the next refresh token, a person has to consent again.
//
// An exchange is a token request that uses a refresh token. Exchanges follow these rules:
//
//   - An account has only one exchange at a time. Nothing cancels a running exchange.
//   - Before the engine sends the request, it stores the time at which the exchange began.
//   - Before the engine serves the access token, it stores the next refresh token. If storage
//     fails, the engine keeps the next refresh token in memory and tries again periodically.
//   - If the outcome of an exchange is unknown, the engine uses the refresh token again only
//     when readers need a token.
//   - A refresh token is lost only if the provider refuses it after an earlier use. If the
//     provider refuses the first use, the config may have another mistake.
//
// Storage is authoritative, except for a record that could not be stored yet. RefreshTokens is safe
// for concurrent use.
type RefreshTokens struct {
	storage logical.Storage
	clock   clock.Clock
	log     func() hclog.Logger

	running sync.WaitGroup // exchanges

	mu     sync.Mutex
	states map[string]*refreshState // by config name
}

// refreshState holds a config's refresh tokens in memory.
type refreshState struct {
	turn chan struct{} // holds an element while an exchange runs

	mu      sync.Mutex     // held while storage is read and written
	unsaved *refreshRecord // newer than the stored record; nil if storage has the newest
	inTurn  *refreshRecord // the newest record, while an exchange runs; saves a read of storage
	dropped int            // how often the record was dropped; an exchange from before must not store it again

	noted atomic.Pointer[refreshNotes] // never nil
}

// refreshNotes holds the states of a config's refresh tokens, to save reads of storage. It never
// changes.
type refreshNotes struct {
	unsaved bool                  // the record is only in memory
	states  map[string]notedState // by the ID of the generation
}

type notedState struct {
	pending bool   // the outcome of an exchange is unknown
	shown   string // see refreshGeneration.shownState
}

func newRefreshTokens(storage logical.Storage, c clock.Clock, log func() hclog.Logger) *RefreshTokens {
	return &RefreshTokens{storage: storage, clock: c, log: log, states: map[string]*refreshState{}}
}

func (r *RefreshTokens) state(name string) *refreshState {
	r.mu.Lock()
	defer r.mu.Unlock()
	s := r.states[name]
	if s == nil {
		s = &refreshState{turn: make(chan struct{}, 1)}
		s.noted.Store(&refreshNotes{})
		r.states[name] = s
	}
	return s
}

// spendsRefresh reports whether the credential of c is a refresh token.
func (c *Config) spendsRefresh() bool {
	_, set := c.Fields[providers.RefreshField]
	return set && c.provider.spec.SpendsRefresh
}

// refreshID identifies the refresh token that an operator wrote, and its endpoint. Later refresh
// tokens from the provider have the same ID. If the endpoint changes, the ID changes, so the
// engine sends no later refresh token to the new endpoint. Otherwise a person who knows a used
// refresh token could have the current refresh token sent to their own host.
func (c *Config) refreshID() string {
	parts := []string{c.Fields[providers.RefreshField].Reveal(), c.Provider, c.Definition, c.Environment, c.TokenURL, c.CACert}
	for _, f := range c.provider.spec.Fields {
		if f.InAddress {
			parts = append(parts, c.Fields[f.Name].Reveal())
		}
	}
	h := sha256.New()
	for _, part := range parts {
		fmt.Fprintf(h, "%d:%s,", len(part), part)
	}
	return hex.EncodeToString(h.Sum(nil))
}

var errUnchanged = errors.New("nothing to store") // for update

// update calls change with a copy of a config's newest record, and stores the copy. The parameter
// begins says whether an exchange is starting.
//
// If change returns errUnchanged, update only tries again to store a record that storage refused
// earlier. If change returns any other error, update stores nothing and returns that error. If
// storage fails, update returns the storage error. If the record must not be lost (see brings), the
// record stays in memory.
func (r *RefreshTokens) update(ctx context.Context, name string, begins bool, change func(*refreshRecord) error) error {
	s := r.state(name)
	s.mu.Lock()
	defer s.mu.Unlock()
	record, err := r.load(ctx, s, name)
	if err != nil {
		return err
	}
	next := record.clone()
	switch err := change(next); {
	case errors.Is(err, errUnchanged) && s.unsaved == nil:
		return nil
	case err != nil && !errors.Is(err, errUnchanged):
		return err
	}
	err = put(ctx, r.storage, RefreshPrefix+name, next)
	switch {
	case err == nil:
		s.unsaved = nil
	case next.brings(record):
		s.unsaved = next
	default:
		return err
	}
	if begins || s.inTurn != nil {
		s.inTurn = next
	}
	s.note(next)
	return err
}

func (s *refreshState) endTurn() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.inTurn = nil
}

// load returns the newest record of a config. The caller holds s.mu, and must not change the
// record.
func (r *RefreshTokens) load(ctx context.Context, s *refreshState, name string) (*refreshRecord, error) {
	switch {
	case s.unsaved != nil:
		return s.unsaved, nil
	case s.inTurn != nil:
		return s.inTurn, nil
	}
	record := &refreshRecord{}
	if _, err := read(ctx, r.storage, RefreshPrefix+name, refreshVersion, record); err != nil {
		return nil, err
	}
	s.note(record)
	return record, nil
}

// note remembers the states of the refresh tokens in record. The caller holds s.mu.
func (s *refreshState) note(record *refreshRecord) {
	notes := &refreshNotes{unsaved: s.unsaved != nil, states: map[string]notedState{}}
	for _, g := range record.Generations {
		notes.states[g.ID] = notedState{g.Pending != nil, g.shownState(notes.unsaved)}
	}
	s.noted.Store(notes)
}

// noted returns the state of the account's refresh token, without reading storage.
func (a *Account) noted() notedState {
	return a.refresh.state(a.Name).noted.Load().states[a.Config.refreshID()]
}

// RefreshTokenState returns one of RefreshStates; "" if the account's credential is not a refresh
// token. It does not read storage.
func (a *Account) RefreshTokenState() string {
	if !a.Config.spendsRefresh() {
		return ""
	}
	if shown := a.noted().shown; shown != "" {
		return shown
	}
	return refreshUnused
}

// MayExchange reports whether the account may use its refresh token now. The parameter urgent says
// whether readers need a token. After a use with unknown outcome, only an urgent use is allowed. A
// provider may end all tokens of the account if a refresh token is used twice.
func (a *Account) MayExchange(urgent bool) bool { return urgent || !a.noted().pending }

// token returns the stored access token of c; nil if there is none.
func (r *RefreshTokens) token(ctx context.Context, name string, c *Config) (*token.Token, error) {
	s := r.state(name)
	s.mu.Lock()
	defer s.mu.Unlock()
	record, err := r.load(ctx, s, name)
	if err != nil {
		return nil, err
	}
	g := record.find(c.refreshID())
	if g == nil || g.Token == nil || g.Token.Revision != c.Revision || !g.Token.isValid() {
		return nil, nil
	}
	return g.Token.token(), nil
}

// save stores an account's access token, and any refresh token that is not stored yet.
func (r *RefreshTokens) save(ctx context.Context, a *Account, t token.Token) error {
	return r.update(ctx, a.Name, false, func(record *refreshRecord) error {
		stored := newTokenRecord(a.Revision(), t)
		g := record.generation(a.Config.refreshID(), a.Config.Fields[providers.RefreshField])
		if g.Token != nil && g.Token.AccessToken == stored.AccessToken && g.Token.Revision == stored.Revision && g.Token.LifetimeMS == stored.LifetimeMS {
			return errUnchanged
		}
		g.Token = &stored
		return nil
	})
}

// knows reports whether the named config may have refresh tokens. For a config that was not loaded
// yet, the result may be false even if storage has refresh tokens.
func (r *RefreshTokens) knows(name string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.states[name] != nil
}

// removeToken removes the access tokens of a config from storage, and keeps the refresh tokens.
func (r *RefreshTokens) removeToken(ctx context.Context, name string) error {
	return r.update(ctx, name, false, func(record *refreshRecord) error {
		result := errUnchanged // if there is none
		for i := range record.Generations {
			if record.Generations[i].Token != nil {
				record.Generations[i].Token, result = nil, nil
			}
		}
		return result
	})
}

// keepOnly removes the refresh tokens that c cannot use. The caller has just stored c. A failure is
// only logged, because it leaves only unused refresh tokens in storage.
func (r *RefreshTokens) keepOnly(ctx context.Context, name string, c *Config) {
	err := r.update(ctx, name, false, func(record *refreshRecord) error {
		n, id := len(record.Generations), c.refreshID()
		record.Generations = slices.DeleteFunc(record.Generations, func(g refreshGeneration) bool { return g.ID != id })
		if len(record.Generations) == n {
			return errUnchanged
		}
		return nil
	})
	r.logLeftover(name, err)
}

// drop removes a config's refresh tokens. A running exchange does not store them again. A failure is
// only logged, because it leaves only unused refresh tokens in storage.
func (r *RefreshTokens) drop(ctx context.Context, name string) {
	s := r.state(name)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.dropped++
	s.unsaved, s.inTurn = nil, nil
	s.note(&refreshRecord{})
	r.logLeftover(name, remove(ctx, r.storage, RefreshPrefix+name))
}

// logLeftover logs a failed removal of refresh tokens that no config uses. A nil err is ignored.
func (r *RefreshTokens) logLeftover(name string, err error) {
	if err != nil {
		r.log().Warn("refresh tokens that nothing uses stay in storage until the next write of the config", "config", name, "error", err)
	}
}

// Forget drops a config's refresh tokens from memory, because another node changed the stored
// record.
func (r *RefreshTokens) Forget(name string) {
	s := r.state(name)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.unsaved != nil {
		r.log().Warn("a refresh token that was not stored is dropped, because another node has stored a newer record", "config", name)
	}
	s.unsaved = nil
	s.note(&refreshRecord{})
}

// HasUnsaved reports whether StoreUnsaved has work to do. It does not access storage.
func (r *RefreshTokens) HasUnsaved() bool { return len(r.unsavedNames()) > 0 }

// unsavedNames returns the names of the configs with refresh tokens that are not stored yet.
func (r *RefreshTokens) unsavedNames() (names []string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for name, s := range r.states {
		if s.noted.Load().unsaved {
			names = append(names, name)
		}
	}
	return names
}

// StoreUnsaved tries again to store the refresh tokens that storage refused.
func (r *RefreshTokens) StoreUnsaved(ctx context.Context) {
	for _, name := range r.unsavedNames() {
		if err := r.update(ctx, name, false, func(*refreshRecord) error { return errUnchanged }); err != nil {
			r.log().Error("a refresh token could not be stored and is known only to this process; the engine tries again", "config", name, "error", err)
		}
	}
}

// Wait waits until no exchange of a refresh token runs, or until limit has passed.
func (r *RefreshTokens) Wait(limit time.Duration) {
	idle := make(chan struct{})
	go func() {
		r.running.Wait()
		close(idle)
	}()
	select {
	case <-idle:
	case <-time.After(limit):
		r.log().Error("the mount is being closed while a refresh token is in use; the refresh token may be lost")
	}
}

// RefreshState describes a refresh token that is a credential, for a read of status.
type RefreshState struct {
	State   string    // one of RefreshStates
	Used    time.Time // when the last successful exchange began; zero if there was none
	Problem string    // why the refresh token is lost, and what to do; "" if it is not lost
}

// RefreshState returns the state of the named config's refresh token; nil if the credential of c is
// not a refresh token.
func (r *Registry) RefreshState(ctx context.Context, name string, c *Config) (*RefreshState, error) {
	if !c.spendsRefresh() {
		return nil, nil
	}
	s := r.refresh.state(name)
	s.mu.Lock()
	defer s.mu.Unlock()
	record, err := r.refresh.load(ctx, s, name)
	if err != nil {
		return nil, err
	}
	g := record.find(c.refreshID())
	shown := &RefreshState{State: g.shownState(s.unsaved != nil)}
	if g != nil {
		shown.Used = g.Refreshed
		if g.Lost != "" {
			shown.Problem = g.lostError().Problem
		}
	}
	return shown, nil
}
