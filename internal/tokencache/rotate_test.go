// SPDX-License-Identifier: MPL-2.0

package tokencache

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"testing"
	"time"

	"vault-plugin-secrets-messaging/internal/token"
)

// startRotate starts a rotate of the account "a".
func (w *world) startRotate(ctx context.Context) (result func() (Grant, error)) {
	return w.start(func() (Grant, error) { return w.rotateOnce(ctx) })
}

// wantReplaced fails unless r.Replaced holds these tokens in this order.
func (w *world) wantReplaced(r Rotated, want ...int) {
	w.t.Helper()
	var got []int
	for _, old := range r.Replaced {
		var n int
		_, _ = fmt.Sscanf(old.Token.Access.Reveal(), "token-%d", &n)
		got = append(got, n)
	}
	equal(w, "replaced tokens", fmt.Sprint(got), fmt.Sprint(want))
}

func TestRotate(t *testing.T) {
	withToken(t, Policy{}, func(w *world) {
		g := w.rotate()
		w.wantToken(g.Grant, 2)
		equal(w, "left", g.Left, time.Hour)
		equal(w, "short", g.Short, false)
		equal(w, "failure", g.Failure, nil)
		w.wantReplaced(g, 1)
		w.wantToken(w.get("a", 0), 2)
		w.wantStored("1", 2)
		s := w.wantState(Fresh)
		equal(w, "reads", s.Reads, 1)
		equal(w, "mints", s.Mints, 2)
		for i, r := range w.results() {
			equal(w, "rotated", r.Rotated, i == 1)
		}
	})
}

// Rotates share the result of a login for 10 s, even if the login fails.
func TestRotatesShareResult(t *testing.T) {
	for name, answer := range map[string]answer{
		"success": tokens(time.Hour), "unavailable": fails(token.Unavailable, 0), "refused": fails(token.Refused, 0),
	} {
		t.Run(name, func(t *testing.T) {
			withToken(t, Policy{}, func(w *world) {
				const end = 15 * time.Second
				w.provider.set(slow(end, answer))
				var rotates []func() (Grant, error)
				for _, at := range []time.Duration{0, 1, time.Second, end - 1, end, end + time.Second, end + newest - 1} {
					w.advance(at - w.elapsed())
					rotates = append(rotates, w.startRotate(w.t.Context()))
				}
				g, err := rotates[0]()
				for _, rotate := range rotates[1:] {
					g2, err2 := rotate()
					equal(w, "error", err2, err)
					equal(w, "token", g2.Token.Access.Reveal(), g.Token.Access.Reveal())
				}
				w.wantMints(2)
				w.advance(1)
				_, _ = w.Rotate(w.t.Context(), "a")
				w.wantMints(3)
			})
		})
	}
}

// The first rotate mints a token. Further rotates get the same token until it expires.
func TestRotateWithoutToken(t *testing.T) {
	const lifetime = 4 * time.Second
	withAccount(t, Policy{}, func(w *world) {
		w.provider.set(tokens(lifetime))
		r := w.rotate()
		w.wantToken(r.Grant, 1)
		w.wantReplaced(r)
		w.wantToken(w.get("a", 0), 1)
		w.advance(lifetime - 1)
		w.wantToken(w.rotate().Grant, 1)
		w.advance(1)
		w.wantToken(w.rotate().Grant, 2)
	})
}

func TestRotateJoinsLogin(t *testing.T) {
	withAccount(t, Policy{}, func(w *world) {
		w.provider.set(slow(2*time.Second, tokens(time.Hour)))
		read := w.startRead("a")
		w.wantToken(w.rotate().Grant, 1)
		w.must(read())
		w.wantToken(w.rotate().Grant, 1)
		w.wantMints(1)
	})
}

// A rotate does not join a mint with the refresh token. The rotate waits for that mint, and then
// logs in.
func TestRotateLogsInAfterRefresh(t *testing.T) {
	for name, answer := range map[string]answer{
		"success": sessions(time.Hour, 0), "refused": fails(token.Refused, 0),
		"unavailable": fails(token.Unavailable, 0), "malformed": fails(token.Malformed, 0),
	} {
		t.Run(name, func(t *testing.T) {
			withRefresh(t, slow(10*time.Second, answer), func(w *world) {
				w.wantRefreshToken("refresh-1")
				w.provider.set(slow(time.Second, sessions(time.Hour, 0)))
				waited := w.timed(func() { w.wantToken(w.rotate().Grant, 3) })
				equal(w, "wait", waited, 11*time.Second)
				w.wantRefreshToken("")
				equal(w, "most mints at once", w.provider.maxRunning, 1)
			})
		})
	}
}

// withRefresh starts a mint with a refresh token, and then runs f. The answer decides what the mint
// returns.
func withRefresh(t *testing.T, a answer, f func(w *world)) {
	t.Helper()
	withAccount(t, Policy{}, func(w *world) {
		w.provider.set(sessions(time.Hour, 0))
		w.get("a", 0)
		w.advance(50 * time.Minute)
		w.provider.set(a)
		w.get("a", 0)
		w.wantMints(2)
		f(w)
	})
}

// Readers of a valid token do not wait for a rotate.
func TestReadDuringRotate(t *testing.T) {
	withToken(t, Policy{}, func(w *world) {
		w.provider.set(hangs)
		ctx, cancel := context.WithCancel(w.t.Context())
		rotate := w.startRotate(ctx)
		w.wantToken(w.get("a", 0), 1)
		cancel()
		w.resultErr(rotate, context.Canceled)
		w.wantToken(w.get("a", 0), 1)
		w.wantMints(2)
	})
}

func TestFailedRotateKeepsToken(t *testing.T) {
	withToken(t, Policy{}, func(w *world) {
		w.provider.set(fails(token.Refused, 0))
		f := w.mustFail(w.rotateOnce(w.t.Context()))
		equal(w, "error", f.Error(), "credentials refused: the provider says so")
		w.wantToken(w.get("a", 0), 1)
	})
}

func TestRotateDuringRetryAfter(t *testing.T) {
	withAccount(t, Policy{}, func(w *world) {
		w.provider.set(fails(token.RateLimited, 5*time.Minute))
		first := w.getFailure("a")
		for range 3 {
			w.advance(time.Minute)
			f := w.mustFail(w.rotateOnce(w.t.Context()))
			equal(w, "kind", f.Kind, token.RateLimited)
			equal(w, "next attempt", f.Next, first.Next)
		}
		w.wantMints(1)
		w.provider.set(tokens(time.Hour))
		w.advance(2 * time.Minute)
		w.wantToken(w.rotate().Grant, 2)
	})
}

// Rotates wait for a refresh and then share a login. Together they return each replaced token once.
func TestRotateRevokesAllThatWasReplaced(t *testing.T) {
	withRefresh(t, slow(10*time.Second, sessions(time.Hour, 0)), func(w *world) {
		var all Rotated // what all rotates replaced
		rotate := func() (Grant, error) {
			r, err := w.Rotate(w.t.Context(), "a")
			w.mu.Lock()
			defer w.mu.Unlock()
			all.Replaced = append(all.Replaced, r.Replaced...)
			all.Shared = r.Shared
			return r.Grant, err
		}
		var others []func() (Grant, error)
		for range 30 {
			others = append(others, w.start(rotate))
		}
		for _, result := range others {
			w.wantToken(w.must(result()), 3)
		}
		w.must(rotate())
		equal(w, "shared", all.Shared, true)
		slices.SortFunc(all.Replaced, func(a, b Replaced) int { return cmp.Compare(a.Token.Access, b.Token.Access) })
		w.wantReplaced(all, 1, 2)
	})
}

// If a refresh replaces the token and then the login fails, the rotate returns the replaced token.
func TestFailedRotateAfterRefresh(t *testing.T) {
	withRefresh(t, slow(time.Second, sessions(time.Hour, 0)), func(w *world) {
		w.provider.set(fails(token.Refused, 0))
		r, err := w.Rotate(w.t.Context(), "a")
		w.mustFail(r.Grant, err)
		w.wantReplaced(r, 1)
	})
}

// If an account becomes unshared during a rotate, no token is minted or stored.
func TestShareEndsDuringRotate(t *testing.T) {
	withToken(t, Policy{}, func(w *world) {
		w.provider.set(uncancellable(2*time.Second, tokens(time.Hour)))
		rotate := w.startRotate(w.t.Context())
		w.putUnshared("2")
		w.resultErr(rotate, ErrUnshared)
		w.advance(time.Minute)
		w.wantMints(2)
		equal(w, "stored tokens", len(w.store.tokens), 0)
		_, err := w.rotateOnce(w.t.Context())
		w.wantErr("rotate", err, ErrUnshared)
	})
}

// If a rotate fails because too many mints run, the next rotate mints again.
func TestRotateWithoutSlot(t *testing.T) {
	inWorld(t, func(w *world) {
		w.put("1", Policy{})
		names := putMany(w, 1, MaxMintsPerHost)
		for _, name := range names {
			w.store.accounts[name].host = ""
		}
		w.provider.set(uncancellable(2*mintTimeout-time.Second, tokens(time.Hour)))
		for _, name := range names {
			w.startRead(name)
		}
		_, err := w.rotateOnce(w.t.Context())
		w.wantErr("rotate", err, ErrStillMinting)
		equal(w, "elapsed time", w.elapsed(), mintTimeout)
		w.provider.set(tokens(time.Hour))
		w.rotate()
	})
}

// If the config changes during a rotate, the rotate logs in again with the new config. It returns
// the replaced token with the old account.
func TestConfigWriteDuringRotate(t *testing.T) {
	withToken(t, Policy{}, func(w *world) {
		first := w.store.accounts["a"]
		w.provider.set(slow(5*time.Second, tokens(time.Hour)))
		rotate := w.start(func() (Grant, error) {
			r, err := w.Rotate(w.t.Context(), "a")
			w.wantReplaced(r, 1)
			equal(w, "account of the replaced token", r.Replaced[0].Account, Account(first))
			return r.Grant, err
		})
		w.put("2", Policy{})
		w.wantToken(w.must(rotate()), 3)
		w.wantToken(w.get("a", 0), 3)

		w.advance(time.Minute)
		rotate = w.startRotate(w.t.Context())
		w.delete("a")
		w.resultErr(rotate, ErrNotFound)
	})
}
