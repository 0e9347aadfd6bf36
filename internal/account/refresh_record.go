// SPDX-License-Identifier: MPL-2.0

package account

import (
	"fmt"
	"slices"
	"time"

	"vault-plugin-secrets-messaging/internal/secret"
	"vault-plugin-secrets-messaging/internal/token"
)

// RefreshPrefix is where the refresh tokens of configs are stored, by the name of the config. The
// records are replicated, unlike tokens.
const RefreshPrefix = "refresh/"

const refreshVersion = 1

// maxGenerations is the number of generations that a record keeps: that of the stored config, and
// those of config writes that have used their refresh token and were not stored. A write that is
// stored removes the others.
const maxGenerations = 8

// refreshRecord is the refresh tokens of a config as they are stored. It is a single record,
// because storage has no transactions: refresh token, marker and access token change together.
type refreshRecord struct {
	Version     int                 `json:"version"`
	Generations []refreshGeneration `json:"generations"` // the last one used comes first
}

// refreshGeneration is the descendants of a refresh token that an operator wrote.
type refreshGeneration struct {
	ID      string `json:"id"`      // see Config.refreshID
	Current string `json:"current"` // the refresh token to use next

	Pending   *time.Time `json:"pending,omitempty"`   // when an exchange began whose outcome is unknown
	Refreshed time.Time  `json:"refreshed,omitempty"` // when the last exchange that succeeded began

	Lost   string     `json:"lost,omitempty"` // in which window the refresh token was lost; "" if it was not
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

// generation returns the generation with the given ID, which begins with the refresh token seed if
// the record does not have the generation. It moves the generation to the front.
func (r *refreshRecord) generation(id string, seed secret.String) *refreshGeneration {
	g := refreshGeneration{ID: id, Current: seed.Reveal()}
	if found := r.find(id); found != nil {
		g = *found
	}
	others := slices.DeleteFunc(slices.Clone(r.Generations), func(o refreshGeneration) bool { return o.ID == id })
	r.Generations = append([]refreshGeneration{g}, others...)
	r.Generations = r.Generations[:min(len(r.Generations), maxGenerations)]
	return &r.Generations[0]
}

func (r *refreshRecord) remove(id string) {
	r.Generations = slices.DeleteFunc(r.Generations, func(g refreshGeneration) bool { return g.ID == id })
}

// brings reports whether r has something that must not be lost: another refresh token than old, or
// the news that a refresh token is lost or was not used.
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

// lose records that the refresh token works no more; before is when an exchange began whose
// outcome is unknown, nil if there is none.
func (g *refreshGeneration) lose(now time.Time, before *time.Time) {
	g.LostAt = &now
	if before != nil {
		g.Lost = fmt.Sprintf("the answer to the exchange of %s did not reach storage, because the process ended, the node lost leadership or the connection broke in between",
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

// shownState returns what status shows of g, which is nil if the refresh token was not used yet.
func (g *refreshGeneration) shownState(unsaved bool) string {
	switch {
	case g == nil:
		return "unused"
	case g.Lost != "":
		return "lost"
	case unsaved:
		return "unsaved"
	case g.Pending != nil:
		return "unknown"
	}
	return "stored"
}
