// SPDX-License-Identifier: MPL-2.0

package account

import (
	"fmt"
	"slices"
	"time"

	"vault-plugin-secrets-messaging/internal/secret"
	"vault-plugin-secrets-messaging/internal/token"
)

// RefreshPrefix is the storage prefix of refresh tokens that are credentials. Vault replicates
// these records to other clusters.
const RefreshPrefix = "refresh/"

const refreshVersion = 1

// maxGenerations limits the refresh tokens in a record. A failed config write may leave a refresh
// token behind. The next successful write removes such leftovers.
const maxGenerations = 8

// refreshRecord is the stored form of a config's refresh tokens and access tokens. One record holds
// both, because an exchange replaces both and storage has no transactions.
type refreshRecord struct {
	Version     int                 `json:"version"`
	Generations []refreshGeneration `json:"generations"` // the last one used comes first
}

// refreshGeneration describes a refresh token that an operator wrote, and the later refresh tokens
// from the provider.
type refreshGeneration struct {
	ID      string `json:"id"`      // see Config.refreshID
	Current string `json:"current"` // the refresh token to use next

	Pending   *time.Time `json:"pending,omitempty"`  // when an exchange with unknown outcome began
	Refreshed time.Time  `json:"refreshed,omitzero"` // when the last successful exchange began

	Lost   string     `json:"lost,omitempty"` // how the refresh token was lost; "" if it was not
	LostAt *time.Time `json:"lost_at,omitempty"`

	Token *tokenRecord `json:"token,omitempty"` // the newest access token
}

// clone returns a copy whose generations can be changed.
func (r *refreshRecord) clone() *refreshRecord {
	return &refreshRecord{Version: refreshVersion, Generations: slices.Clone(r.Generations)}
}

func (r *refreshRecord) find(id string) *refreshGeneration {
	for i := range r.Generations {
		if r.Generations[i].ID == id {
			return &r.Generations[i]
		}
	}
	return nil
}

// generation returns the entry with the given ID, and moves it to the front. If there is no such
// entry, the method adds an entry with the given refresh token.
func (r *refreshRecord) generation(id string, seed secret.String) *refreshGeneration {
	g := refreshGeneration{ID: id, Current: seed.Reveal()}
	if found := r.find(id); found != nil {
		g = *found
	}
	r.remove(id)
	r.Generations = slices.Insert(r.Generations, 0, g)
	r.Generations = r.Generations[:min(len(r.Generations), maxGenerations)]
	return &r.Generations[0]
}

func (r *refreshRecord) remove(id string) {
	r.Generations = slices.DeleteFunc(r.Generations, func(g refreshGeneration) bool { return g.ID == id })
}

// brings reports whether r must not be lost, because r has a next refresh token, the outcome of an
// exchange, or fewer refresh tokens than the older record.
func (r *refreshRecord) brings(old *refreshRecord) bool {
	if len(r.Generations) < len(old.Generations) {
		return true
	}
	for _, g := range r.Generations {
		o := old.find(g.ID)
		if o != nil && (g.Current != o.Current || g.Lost != o.Lost || g.Pending == nil && o.Pending != nil) {
			return true
		}
	}
	return false
}

// lose marks the refresh token as lost. The parameter before is when an earlier exchange with
// unknown outcome began; nil if there was no such exchange.
func (g *refreshGeneration) lose(now time.Time, before *time.Time) {
	g.LostAt = &now
	if before != nil {
		g.Lost = fmt.Sprintf("the answer to the refresh at %s was not stored, because the process ended, the node lost leadership or the connection broke",
			before.UTC().Format(time.RFC3339))
		return
	}
	g.Lost = "the engine knows the outcome of every exchange, so somebody else used or revoked the refresh token, it expired, or a snapshot from before its last use was restored"
}

func (g *refreshGeneration) lostError() *token.Error {
	return &token.Error{Kind: token.Refused, Lost: true, Problem: fmt.Sprintf(
		"the provider no longer accepts the refresh token (%s): %s; get a new refresh token from the provider and write it to refresh_token",
		g.LostAt.UTC().Format(time.RFC3339), g.Lost)}
}

// The states of a refresh token that is the credential of a config.
const (
	refreshUnused  = "unused"  // as it was written
	refreshStored  = "stored"  // storage has the newest one
	refreshUnsaved = "unsaved" // storage refused the newest one, which only this process knows
	refreshUnknown = "unknown" // the outcome of its last use is unknown
	refreshLost    = "lost"    // the provider no longer accepts it
)

// RefreshStates returns the states of a refresh token that is the credential of a config.
func RefreshStates() []string {
	return []string{refreshUnused, refreshStored, refreshUnsaved, refreshUnknown, refreshLost}
}

// shownState returns the refresh token's state, one of RefreshStates. g is nil if the refresh token
// was never used.
func (g *refreshGeneration) shownState(unsaved bool) string {
	switch {
	case g == nil:
		return refreshUnused
	case g.Lost != "":
		return refreshLost
	case unsaved:
		return refreshUnsaved
	case g.Pending != nil:
		return refreshUnknown
	}
	return refreshStored
}
