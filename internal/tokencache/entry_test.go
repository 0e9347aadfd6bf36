// SPDX-License-Identifier: MPL-2.0

package tokencache

import (
	"testing"
	"time"

	"vault-plugin-secrets-messaging/internal/secret"
	"vault-plugin-secrets-messaging/internal/token"
)

// After a restart, reads get the stored token, and ticks refresh the token.
func TestRestart(t *testing.T) {
	withAccount(t, Policy{}, func(w *world) {
		w.provider.set(slow(2*time.Second, sessions(time.Hour, 0)))
		w.get("a", 0)
		w.advance(18 * time.Second)
		before := w.get("a", 0)
		w.provider.set(hangs)
		w.restart()
		w.advance(40 * time.Second)
		g := w.get("a", 0)
		w.wantToken(g, 1)
		equal(w, "left", g.Left, 59*time.Minute)
		equal(w, "sent", g.Token.Sent.Wall.Sub(before.Token.Sent.Wall), 0)
		equal(w, "expiry", g.Expires.Sub(before.Expires), 0)
		equal(w, "refresh token", g.Token.Refresh.Reveal(), "refresh-1")
		s := w.wantState(Fresh)
		equal(w, "reads", s.Reads, 1)
		equal(w, "mints", s.Mints, 0)
		w.wantMints(1)
		w.advance(50 * time.Minute)
		w.Tick()
		w.wantMints(2)
		w.wantRefreshToken("refresh-1")
	})
}

// A stored token keeps its end, although the monotonic clock starts anew in each process.
func TestRestartResetsTheMonotonicClock(t *testing.T) {
	for name, mono := range map[string]time.Duration{"to zero": 0, "to a later time": 1000 * time.Hour} {
		t.Run(name, func(t *testing.T) {
			withToken(t, Policy{RefreshWindow: ptr(time.Duration(0))}, func(w *world) {
				w.advance(59 * time.Minute)
				w.clock.began = time.Now().Add(-mono)
				w.restart()
				equal(w, "left", w.get("a", 0).Left, time.Minute)
				w.advance(time.Minute)
				w.provider.set(fails(token.Unavailable, 0))
				w.getFailure("a")
			})
		})
	}
}

func TestStoredTokens(t *testing.T) {
	for _, test := range []struct {
		name    string
		age     time.Duration // of the stored token, on the wall clock
		token   int           // that the read gets
		refresh secret.String // the refresh token that the last mint uses
	}{
		{"alive", 30 * time.Minute, 1, ""},
		{"minted this moment", 0, 1, ""},
		{"of a clock that is slightly ahead", -time.Second, 1, ""},
		{"from the future", -3 * time.Second, 2, ""},
		{"from tomorrow", -24 * time.Hour, 2, ""},
		{"less left than the min TTL", 59*time.Minute + 50*time.Second, 2, "refresh-1"},
		{"less than 2 s left", time.Hour - leastMinTTL + 1, 2, ""},
		{"expired, with a live refresh token", 90 * time.Minute, 2, ""},
		{"of two centuries ago", 200 * 365 * 24 * time.Hour, 2, ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			withAccount(t, Policy{}, func(w *world) {
				w.provider.set(sessions(time.Hour, 2*time.Hour))
				w.get("a", 0)
				w.restart()
				s := w.store.tokens["a"]
				s.token.Sent.Wall = w.clock.now().Wall.Add(-test.age)
				w.store.tokens["a"] = s
				w.wantToken(w.get("a", 0), test.token)
				w.wantMints(test.token)
				w.wantRefreshToken(test.refresh)
			})
		})
	}
}

func TestRefreshTokenLifetime(t *testing.T) {
	for _, test := range []struct {
		name     string
		lifetime time.Duration // of the refresh token
		age      time.Duration
		refresh  secret.String // the refresh token that the second mint uses
	}{
		{"alive", 2 * time.Hour, 50 * time.Minute, "refresh-1"},
		{"alive after the access token", 2 * time.Hour, 119 * time.Minute, ""},
		{"alive for 2 s", 50*time.Minute + leastMinTTL, 50 * time.Minute, ""},
		{"alive for more than 2 s", 50*time.Minute + leastMinTTL + 1, 50 * time.Minute, "refresh-1"},
		{"ended before the access token", 30 * time.Minute, 50 * time.Minute, ""},
		{"no known end", 0, 50 * time.Minute, "refresh-1"},
		{"no known end, but the access token ended", 0, 1000 * time.Hour, ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			withAccount(t, Policy{}, func(w *world) {
				w.provider.set(sessions(time.Hour, test.lifetime))
				w.get("a", 0)
				w.advance(test.age)
				w.get("a", 0)
				w.wantMints(2)
				w.wantRefreshToken(test.refresh)
			})
		})
	}
}

// Setting the wall clock neither extends a token's life nor causes many mints.
func TestClockJumps(t *testing.T) {
	const day = 24 * time.Hour
	for _, test := range []struct {
		name  string
		set   time.Duration
		token int // that the next read gets
		left  time.Duration
	}{
		{"forward by a day", day, 2, time.Hour},
		{"forward by half an hour", 30 * time.Minute, 1, 20 * time.Minute},
		{"forward by half a second", 500 * time.Millisecond, 1, 50*time.Minute - 500*time.Millisecond},
		{"back by half a second", -500 * time.Millisecond, 1, 50 * time.Minute},
		{"back by half an hour", -30 * time.Minute, 1, 50 * time.Minute},
		{"back by a day", -day, 1, 50 * time.Minute},
	} {
		t.Run(test.name, func(t *testing.T) {
			withToken(t, Policy{}, func(w *world) {
				w.advance(10 * time.Minute)
				w.clock.setWall(test.set)
				g := w.get("a", 0)
				w.wantToken(g, test.token)
				equal(w, "left", g.Left, test.left)
				if off := g.Expires.Sub(w.clock.now().Wall.Add(test.left)).Abs(); off > time.Second {
					t.Errorf("got an expiry that is wrong by %s, want at most 1s", off)
				}
				w.advance(time.Minute)
				equal(w, "change of the expiry", w.get("a", 0).Expires.Sub(g.Expires), 0)

				mints := len(w.provider.allCalls())
				for range 100 {
					w.advance(test.left / 10)
					w.get("a", 0)
					w.Tick()
				}
				if got := len(w.provider.allCalls()) - mints; got > 14 {
					t.Errorf("got %d mints in the next ten lifetimes, want at most 14", got)
				}
			})
		})
	}
}
