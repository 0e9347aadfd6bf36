// SPDX-License-Identifier: MPL-2.0

package tokencache

import (
	"context"
	"errors"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"vault-plugin-secrets-messaging/internal/token"
)

// rotate rotates, and fails if that fails.
func (w *world) rotate(name string) Grant {
	w.t.Helper()
	g, err := w.Rotate(w.t.Context(), name)
	if err != nil {
		w.t.Fatalf("rotate %s after %s: %v", name, w.age(), err)
	}
	return g
}

func TestRotate(t *testing.T) {
	inWorld(t, func(w *world) {
		w.put("a", "1", Policy{})
		w.get("a", 0)
		g := w.rotate("a")
		w.wantToken(g, 2)
		if g.Left != time.Hour || g.Short || g.Failure != nil {
			t.Errorf("grant = %+v", g)
		}
		w.wantToken(w.get("a", 0), 2)
		if saved := w.store.tokens["a"].token.Access; saved != accessToken(2) {
			t.Errorf("stored %s", saved.Reveal())
		}
		if s, _ := w.Status("a"); s.Reads != 1 || s.Mints != 2 {
			t.Errorf("status = %+v", s)
		}
		if f := w.told(); len(f) != 2 || f[0].Rotated || !f[1].Rotated {
			t.Errorf("flights = %+v", f)
		}
	})
}

func TestRotateOfColdAccount(t *testing.T) {
	inWorld(t, func(w *world) {
		w.put("a", "1", Policy{})
		w.wantToken(w.rotate("a"), 1)
		w.wantToken(w.get("a", 0), 1)
		if _, err := w.Rotate(w.t.Context(), "nobody"); !errors.Is(err, ErrNotFound) {
			t.Errorf("err = %v", err)
		}
		w.wantMints(1)
	})
}

// TestRotatesShare: until 10 s after the attempt ended, whether or not it succeeded.
func TestRotatesShare(t *testing.T) {
	for name, end := range map[string]answer{"success": tokens(time.Hour), "failure": fails(token.Unavailable, 0), "refused": fails(token.Refused, 0)} {
		t.Run(name, func(t *testing.T) {
			inWorld(t, func(w *world) {
				w.put("a", "1", Policy{})
				w.get("a", 0)
				w.provider.set(slow(15*time.Second, end))
				var all sync.WaitGroup
				outcomes := map[string]int{}
				var mu sync.Mutex
				for i := range 25 { // a second apart, the last 9 s after the end
					all.Go(func() {
						time.Sleep(time.Duration(i) * time.Second)
						g, err := w.Rotate(w.t.Context(), "a")
						mu.Lock()
						defer mu.Unlock()
						if err != nil {
							outcomes[err.Error()]++
						} else {
							outcomes[g.Token.Access.Reveal()]++
						}
					})
				}
				all.Wait()
				w.wantMints(2)
				if len(outcomes) != 1 {
					t.Errorf("outcomes = %v", outcomes)
				}
				w.pass(time.Second - 1)
				_, _ = w.Rotate(w.t.Context(), "a")
				w.wantMints(2)
				w.pass(1)
				_, _ = w.Rotate(w.t.Context(), "a")
				w.wantMints(3)
			})
		})
	}
}

// TestRotateOfShortLives: a shared token that has died is not shared.
func TestRotateOfShortLives(t *testing.T) {
	inWorld(t, func(w *world) {
		w.put("a", "1", Policy{})
		w.provider.set(tokens(4 * time.Second))
		w.wantToken(w.rotate("a"), 1)
		w.pass(4*time.Second - 1)
		w.wantToken(w.rotate("a"), 1)
		w.pass(1)
		w.wantToken(w.rotate("a"), 2)
		w.pass(4 * time.Second)
		w.provider.set(slow(time.Second, tokens(4*time.Second)))
		read := w.background(w.t.Context(), "a", 0)
		w.wantToken(w.rotate("a"), 3)
		if _, err := read(); err != nil {
			t.Error(err)
		}
	})
}

// TestRotateJoinsLogin: a token that is under way is one that nobody has seen.
func TestRotateJoinsLogin(t *testing.T) {
	inWorld(t, func(w *world) {
		w.put("a", "1", Policy{})
		w.provider.set(slow(5*time.Second, tokens(time.Hour)))
		read := w.background(w.t.Context(), "a", 0)
		w.wantToken(w.rotate("a"), 1)
		if _, err := read(); err != nil {
			t.Error(err)
		}
		w.wantToken(w.rotate("a"), 1)
		w.wantMints(1)
	})
}

// TestReadDuringRotate: readers of a valid token do not wait for it.
func TestReadDuringRotate(t *testing.T) {
	inWorld(t, func(w *world) {
		w.put("a", "1", Policy{})
		w.get("a", 0)
		w.provider.set(hangs)
		ctx, cancel := context.WithCancel(w.t.Context())
		var end sync.WaitGroup
		end.Go(func() {
			if _, err := w.Rotate(ctx, "a"); !errors.Is(err, context.Canceled) {
				t.Errorf("rotate: %v", err)
			}
		})
		synctest.Wait()
		w.wantToken(w.get("a", 0), 1)
		cancel()
		end.Wait()
		w.wantToken(w.get("a", 0), 1)
		w.wantMints(2)
	})
}

// TestFailedRotateKeepsToken: and its failure shows as far as it matters.
func TestFailedRotateKeepsToken(t *testing.T) {
	inWorld(t, func(w *world) {
		w.put("a", "1", Policy{})
		w.get("a", 0)
		w.provider.set(fails(token.Refused, 0))
		if _, err := w.Rotate(w.t.Context(), "a"); err == nil || err.Error() != "credentials refused: the provider says so" {
			t.Errorf("err = %v", err)
		}
		w.wantToken(w.get("a", 0), 1)
	})
}

func TestRotateDuringRetryAfter(t *testing.T) {
	inWorld(t, func(w *world) {
		w.put("a", "1", Policy{})
		w.provider.set(fails(token.RateLimited, 5*time.Minute))
		first := w.fail("a")
		for range 3 {
			w.pass(time.Minute)
			_, err := w.Rotate(w.t.Context(), "a")
			if f := (*Failure)(nil); !errors.As(err, &f) || !f.Next.Equal(first.Next) || f.Kind != token.RateLimited {
				t.Errorf("err = %v", err)
			}
		}
		w.wantMints(1)
		w.provider.set(tokens(time.Hour))
		w.pass(2 * time.Minute)
		w.wantToken(w.rotate("a"), 2)
	})
}

func TestConfigWriteDuringRotate(t *testing.T) {
	inWorld(t, func(w *world) {
		w.put("a", "1", Policy{})
		w.get("a", 0)
		w.provider.set(slow(5*time.Second, tokens(time.Hour)))
		var end sync.WaitGroup
		end.Go(func() { w.wantToken(w.rotate("a"), 3) })
		w.pass(time.Second)
		w.put("a", "2", Policy{})
		end.Wait()
		w.wantToken(w.get("a", 0), 3)

		w.pass(time.Minute)
		end.Go(func() {
			if _, err := w.Rotate(w.t.Context(), "a"); !errors.Is(err, ErrNotFound) {
				t.Errorf("err = %v", err)
			}
		})
		w.pass(time.Second)
		w.delete("a")
		end.Wait()
	})
}
