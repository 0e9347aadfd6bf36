// SPDX-License-Identifier: MPL-2.0

package tokencache

import (
	"context"
	"testing"
	"time"

	"vault-plugin-secrets-messaging/internal/secret"
	"vault-plugin-secrets-messaging/internal/token"
)

// wantRefresh fails unless the last mint used that refresh token ("" is a login).
func (w *world) wantRefresh(want secret.String) {
	w.t.Helper()
	calls := w.provider.all()
	if got := calls[len(calls)-1].refresh; got != want {
		w.t.Fatalf("after %s: mint %d used %q, want %q", w.age(), len(calls), got.Reveal(), want.Reveal())
	}
}

func TestRefreshTokenIsUsedAndReplaced(t *testing.T) {
	inWorld(t, func(w *world) {
		w.put("a", "1", Policy{})
		w.provider.set(sessions(time.Hour, 90*time.Minute))
		w.get("a", 0)
		w.wantRefresh("")
		w.pass(50 * time.Minute)
		w.get("a", 0) // refreshes behind it
		w.wantMints(2)
		w.wantRefresh("refresh-1")
		w.pass(50 * time.Minute)
		w.get("a", 0)
		w.wantMints(3)
		w.wantRefresh("refresh-2")

		w.provider.set(tokens(time.Hour)) // with no new refresh token
		w.pass(50 * time.Minute)
		w.get("a", 0)
		w.wantMints(4)
		w.wantRefresh("refresh-3")
		w.pass(50 * time.Minute)
		w.get("a", 0)
		w.wantMints(5)
		w.wantRefresh("")
	})
}

func TestRefreshTokenLife(t *testing.T) {
	for _, test := range []struct {
		name     string
		lifetime time.Duration // of the refresh token
		age      time.Duration
		used     bool
	}{
		{"alive", 2 * time.Hour, 50 * time.Minute, true},
		{"outlives the token", 2 * time.Hour, 119 * time.Minute, true},
		{"about to end", 2 * time.Hour, 2*time.Hour - leastMinTTL, false},
		{"ended", 2 * time.Hour, 3 * time.Hour, false},
		{"ended before the token", 30 * time.Minute, 50 * time.Minute, false},
		{"not known to end", 0, 1000 * time.Hour, true},
	} {
		t.Run(test.name, func(t *testing.T) {
			inWorld(t, func(w *world) {
				w.put("a", "1", Policy{})
				w.provider.set(sessions(time.Hour, test.lifetime))
				w.get("a", 0)
				w.pass(test.age)
				w.get("a", 0)
				w.wantMints(2)
				if test.used {
					w.wantRefresh("refresh-1")
				} else {
					w.wantRefresh("")
				}
			})
		})
	}
}

// TestRefreshTokenSurvivesFailures: a refresh that fails is tried again with it.
func TestRefreshTokenSurvivesFailures(t *testing.T) {
	inWorld(t, func(w *world) {
		w.put("a", "1", Policy{})
		w.provider.set(sessions(time.Hour, 0))
		w.get("a", 0)
		w.provider.set(fails(token.Unavailable, 0))
		w.pass(2 * time.Hour)
		w.fail("a")
		w.pass(time.Minute)
		w.provider.set(sessions(time.Hour, 0))
		w.get("a", 0)
		w.wantMints(3)
		w.wantRefresh("refresh-1")
	})
}

// TestRefreshTokenOfShortSession: once refreshes yield tokens of nine tenths of
// the life or less, the session nears its end, and the next mint is a login. A
// second less says nothing: providers round.
func TestRefreshTokenOfShortSession(t *testing.T) {
	for _, test := range []struct {
		name   string
		second time.Duration // the lifetime of the token that the refresh yields
		used   bool
	}{
		{"as long", time.Hour, true},
		{"a second less", time.Hour - time.Second, true},
		{"more than nine tenths", 54*time.Minute + time.Second, true},
		{"nine tenths", 54 * time.Minute, false},
		{"half", 30 * time.Minute, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			inWorld(t, func(w *world) {
				w.put("a", "1", Policy{})
				w.provider.set(sessions(time.Hour, 0))
				w.get("a", 0)
				w.pass(time.Hour)
				w.provider.set(sessions(test.second, 0))
				w.get("a", 0)
				w.wantRefresh("refresh-1")
				w.pass(time.Hour)
				w.get("a", 0)
				w.wantMints(3)
				if test.used {
					w.wantRefresh("refresh-2")
				} else {
					w.wantRefresh("")
				}
				if saved := w.store.tokens["a"].token.Refresh; saved == "" {
					t.Error("the login's refresh token was not stored")
				}
			})
		})
	}
}

// TestLoginMayShorten: a login with a shorter token is a new session all the same.
func TestLoginMayShorten(t *testing.T) {
	inWorld(t, func(w *world) {
		w.put("a", "1", Policy{})
		w.provider.set(tokens(time.Hour))
		w.get("a", 0)
		w.pass(time.Hour)
		w.provider.set(sessions(time.Minute, 0))
		w.get("a", 0)
		w.pass(time.Minute)
		w.get("a", 0)
		w.wantMints(3)
		w.wantRefresh("refresh-2")
	})
}

func TestRefreshTokenIsOfItsRevision(t *testing.T) {
	inWorld(t, func(w *world) {
		w.put("a", "1", Policy{})
		w.provider.set(sessions(time.Hour, 0))
		w.get("a", 0)
		w.put("a", "1", Policy{MaxTTL: time.Minute})
		w.pass(time.Minute)
		w.get("a", 0)
		w.wantRefresh("refresh-1")
		w.put("a", "2", Policy{})
		w.get("a", 0)
		w.wantMints(3)
		w.wantRefresh("")
	})
}

func TestRotateLogsIn(t *testing.T) {
	inWorld(t, func(w *world) {
		w.put("a", "1", Policy{})
		w.provider.set(sessions(time.Hour, 0))
		w.get("a", 0)
		w.pass(time.Minute)
		g := w.rotate("a")
		w.wantToken(g, 2)
		w.wantRefresh("")
		w.pass(50 * time.Minute)
		w.get("a", 0)
		w.wantMints(3)
		w.wantRefresh("refresh-2")
	})
}

// TestRotateLogsInAfterRefresh: a refresh that is under way does not count as a
// login; the rotate waits for it, so that there is one flight at a time.
func TestRotateLogsInAfterRefresh(t *testing.T) {
	for name, end := range map[string]answer{"it succeeds": sessions(time.Hour, 0), "it fails": fails(token.Refused, 0)} {
		t.Run(name, func(t *testing.T) {
			inWorld(t, func(w *world) {
				w.put("a", "1", Policy{})
				w.provider.set(sessions(time.Hour, 0))
				w.get("a", 0)
				w.pass(50 * time.Minute)
				w.provider.set(slow(10*time.Second, end))
				w.get("a", 0)
				w.wantMints(2)
				w.wantRefresh("refresh-1")
				w.provider.set(slow(time.Second, sessions(time.Hour, 0)))
				before := w.age()
				w.wantToken(w.rotate("a"), 3)
				w.wantRefresh("")
				if waited := w.age() - before; waited != 11*time.Second {
					t.Errorf("waited %s", waited)
				}
				if w.provider.most != 1 {
					t.Errorf("%d flights at once", w.provider.most)
				}
			})
		})
	}
}

// TestMintGetsALiveContext: with a deadline of the flight's, not the reader's.
func TestMintGetsALiveContext(t *testing.T) {
	inWorld(t, func(w *world) {
		w.put("a", "1", Policy{})
		w.provider.set(func(ctx context.Context, c call) (token.Token, error) {
			end, ok := ctx.Deadline()
			if ctx.Err() != nil || !ok || time.Until(end) != mintTimeout {
				t.Errorf("context: %v, deadline in %s", ctx.Err(), time.Until(end))
			}
			return tokens(time.Hour)(ctx, c)
		})
		ctx, cancel := context.WithTimeout(w.t.Context(), time.Second)
		defer cancel()
		if _, err := w.Get(ctx, "a", 0); err != nil {
			t.Error(err)
		}
	})
}
