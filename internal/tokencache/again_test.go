// SPDX-License-Identifier: MPL-2.0

package tokencache

import (
	"context"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"vault-plugin-secrets-messaging/internal/secret"
	"vault-plugin-secrets-messaging/internal/token"
)

// steadyProvider returns the same token to every mint until the token ends.
type steadyProvider struct {
	life   time.Duration
	states func(left time.Duration) time.Duration // returns the lifetime in a response
	slides bool                                   // each mint extends the token's life

	n    int
	ends time.Time
}

func (p *steadyProvider) token(ctx context.Context, c call) (token.Token, error) {
	const way = 25 * time.Millisecond
	time.Sleep(way)
	defer time.Sleep(way)
	now := time.Now()
	if !now.Before(p.ends) {
		p.n++
		p.ends = now.Add(p.life)
	} else if p.slides {
		p.ends = now.Add(p.life)
	}
	lifetime := p.states(p.ends.Sub(now))
	if lifetime <= 0 { // Mint fails if the response states no lifetime
		return fails(token.Malformed, 0)(ctx, c)
	}
	return token.Token{Access: secret.String(fmt.Sprint("steady-", p.n)), Lifetime: lifetime}, nil
}

// alive fails unless g has the provider's newest token and the token has not ended.
func (p *steadyProvider) alive(w *world, g Grant) {
	w.t.Helper()
	if g.Token.Access.Reveal() != fmt.Sprint("steady-", p.n) || !time.Now().Before(p.ends) {
		w.t.Fatalf("after %s: got token %s with %s left, want a token that has not ended", w.elapsed(), g.Token.Access.Reveal(), g.Left)
	}
}

// The provider returns the same token until the token ends. No read fails, and few requests reach
// the provider.
func TestSameTokenAgain(t *testing.T) {
	const life, lives = 2 * time.Hour, max(2, burst)
	for name, states := range map[string]func(time.Duration) time.Duration{
		"always the full life":        func(time.Duration) time.Duration { return life },
		"the exact rest of the life":  exactly,
		"the seconds that are left":   func(left time.Duration) time.Duration { return left.Truncate(time.Second) },
		"the seconds that are left +": func(left time.Duration) time.Duration { return left.Round(time.Second) },
	} {
		for _, pause := range []time.Duration{300 * time.Millisecond, 7 * time.Second, 10 * time.Minute} {
			t.Run(fmt.Sprintf("%s, a read every %s", name, pause), func(t *testing.T) {
				withAccount(t, Policy{}, func(w *world) {
					p := &steadyProvider{life: life, states: states}
					w.provider.set(p.token)
					w.readFor(lives*life, pause, time.Minute, func(g Grant) { p.alive(w, g) })
					if got := len(w.provider.allCalls()); got > 15*p.n {
						t.Errorf("got %d requests in %d lives, want at most 15 in each", got, p.n)
					}
					for _, r := range w.results() {
						if r.Failure != nil && r.Failure.Failures > 1 {
							t.Errorf("got failure %v, want at most one at the end of a life", r.Failure)
						}
					}
				})
			})
		}
	}
}

// exactly states the exact rest of a token's life.
func exactly(left time.Duration) time.Duration { return left }

// Readers that wait for the next token share the mints.
func TestReadersWaitForNextToken(t *testing.T) {
	withAccount(t, Policy{}, func(w *world) {
		p := &steadyProvider{life: time.Hour, states: exactly}
		w.provider.set(p.token)
		w.get("a", 0)
		w.advance(time.Hour - time.Second)
		for _, read := range w.startReads(100) {
			p.alive(w, w.must(read()))
		}
		if got := len(w.provider.allCalls()); got > 6 {
			t.Errorf("got %d mints, want at most 6", got)
		}
	})
}

// The provider may return the cached token with a new end. A later end counts only for a Sliding
// policy.
func TestLifeOfSameToken(t *testing.T) {
	for _, test := range []struct {
		name   string
		stated time.Duration // after 50 minutes of an hour
		slides bool
		left   time.Duration
		wait   time.Duration // until the next mint
	}{
		{"full life", time.Hour, false, 10 * time.Minute, 5 * time.Minute},
		{"rest of the life", 10 * time.Minute, false, 10 * time.Minute, 5 * time.Minute},
		{"less", 4 * time.Minute, false, 4 * time.Minute, 2 * time.Minute},
		{"full life, and it slides", time.Hour, true, time.Hour, 48 * time.Minute},
		{"rest of the life, and it would slide", 10 * time.Minute, true, 10 * time.Minute, 5 * time.Minute},
	} {
		t.Run(test.name, func(t *testing.T) {
			withAccount(t, Policy{Sliding: test.slides}, func(w *world) {
				answer := func(life time.Duration, refresh secret.String) answer {
					return func(context.Context, call) (token.Token, error) {
						return token.Token{Access: "same", Lifetime: life, Refresh: refresh}, nil
					}
				}
				w.provider.set(answer(time.Hour, "r-1"))
				w.get("a", 0)
				w.advance(50 * time.Minute)
				w.provider.set(answer(test.stated, "r-2"))
				w.get("a", 0)
				w.wantMints(2)
				g := w.get("a", 0)
				equal(w, "left", g.Left, test.left)
				equal(w, "failure", g.Failure, nil)
				equal(w, "mints", w.wantState(Fresh).Mints, 2)
				w.advance(test.wait - 1)
				w.get("a", 0)
				w.wantMints(2)
				w.advance(1)
				w.get("a", 0)
				w.wantMints(3)
				w.advance(time.Second)
				w.Tick()
				synctest.Wait()
				equal(w, "stored refresh token", w.store.tokens["a"].token.Refresh.Reveal(), "r-2")
			})
		})
	}
}

// Ticks stop refreshing a token that nobody reads any longer.
func TestSlidingTokenThatNobodyReads(t *testing.T) {
	withAccount(t, Policy{Sliding: true}, func(w *world) {
		p := &steadyProvider{life: time.Hour, slides: true, states: exactly}
		w.provider.set(p.token)
		w.get("a", 0)
		w.tickFor(10 * time.Hour)
		w.wantMints(2)
		equal(w, "tokens", p.n, 1)
	})
}

// A mint fails if the provider returns a token that ended long ago.
func TestDeadTokenAgain(t *testing.T) {
	withAccount(t, Policy{}, func(w *world) {
		w.provider.set(func(context.Context, call) (token.Token, error) {
			return token.Token{Access: "same", Lifetime: time.Hour}, nil
		})
		w.get("a", 0)
		w.advance(2 * time.Hour)
		equal(w, "kind", w.getFailure("a").Kind, token.Malformed)
	})
}

// If a mint returns the cached token again, the next mint waits. A config write ends this wait.
func TestWriteAfterSameToken(t *testing.T) {
	withAccount(t, Policy{}, func(w *world) {
		p := &steadyProvider{life: time.Hour, states: exactly}
		w.provider.set(p.token)
		w.get("a", 0)
		w.advance(time.Minute)
		r := w.rotate()
		equal(w, "again", r.Again, true)
		w.wantReplaced(r)
		w.put("2", Policy{})
		equal(w, "wait", w.timed(func() { p.alive(w, w.get("a", 0)) }), 50*time.Millisecond)
	})
}
