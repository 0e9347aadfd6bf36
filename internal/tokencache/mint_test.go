// SPDX-License-Identifier: MPL-2.0

package tokencache

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"vault-plugin-secrets-messaging/internal/secret"
	"vault-plugin-secrets-messaging/internal/token"
)

// wantRefreshToken fails unless the last mint used this refresh token. "" stands for a login.
func (w *world) wantRefreshToken(want secret.String) {
	w.t.Helper()
	calls := w.provider.allCalls()
	if got := calls[len(calls)-1].refresh; got != want {
		w.t.Fatalf("after %s: mint %d: got refresh token %q, want %q", w.elapsed(), len(calls), got.Reveal(), want.Reveal())
	}
}

// If Mint panics, readers get an error without the panic's value.
func TestPanicInMint(t *testing.T) {
	withAccount(t, Policy{}, func(w *world) {
		w.provider.set(slow(time.Second, panics("s3cret")))
		other := w.startRead("a")
		f := w.getFailure("a")
		var p *secret.PanicError
		if !errors.As(f, &p) || p.Type != "string" || strings.Contains(string(p.Stack)+f.Error(), "s3cret") {
			t.Errorf("got error %v, want a PanicError of type string without its value", f)
		}
		equal(w, "failure of the other reader", w.mustFail(other()), f)
		if _, err := w.Rotate(w.t.Context(), "a"); !errors.As(err, &p) {
			t.Errorf("rotate: got error %v, want a PanicError", err)
		}
		w.provider.set(tokens(time.Hour))
		w.advance(time.Minute)
		w.get("a", 0)
		w.wantNoSlotTaken()
	})
}

func TestPanicInStore(t *testing.T) {
	withAccount(t, Policy{}, func(w *world) {
		w.store.onLoad = func(string) { panic("s3cret") }
		var p *secret.PanicError
		if _, err := w.Get(w.t.Context(), "a", 0); !errors.As(err, &p) || p.Type != "string" {
			t.Errorf("load: got error %v, want a PanicError of type string", err)
		}
		w.store.onLoad = nil
		w.store.onSave = func(string, Account, token.Token) { panic("s3cret") }
		w.get("a", 0)
		if unsaved := w.results()[0].Unsaved; !errors.As(unsaved, &p) {
			t.Errorf("save: got %v, want a PanicError", unsaved)
		}
		w.store.onSave = nil
		w.advance(time.Second)
		w.Tick()
		w.wantStored("1", 1)
	})
}

// A mint that hangs fails after mintTimeout.
func TestMintTimeout(t *testing.T) {
	withAccount(t, Policy{}, func(w *world) {
		w.provider.set(hangs)
		f := w.mustFail(w.readPatiently("a"))
		equal(w, "elapsed time", w.elapsed(), mintTimeout)
		equal(w, "kind", f.Kind, token.Unavailable)
		w.wantErr("mint", f, context.DeadlineExceeded)
		w.provider.set(tokens(time.Hour))
		w.advance(time.Second)
		w.get("a", 0)
	})
}

func TestMintResult(t *testing.T) {
	withAccount(t, Policy{}, func(w *world) {
		account := w.store.accounts["a"]
		w.provider.set(slow(2*time.Second, fails(token.Unavailable, 0)))
		w.getFailure("a")
		w.advance(time.Second)
		w.getFailure("a")
		w.advance(2 * time.Second)
		w.provider.set(slow(time.Second, tokens(time.Hour)))
		w.get("a", 0)
		for i, r := range w.results() {
			failed := i < 2
			equal(w, "failed", r.Failure != nil, failed)
			r.Failure = nil
			equal(w, "result", r, MintResult{Name: "a", Account: account, FailuresBefore: i,
				Took: map[bool]time.Duration{true: 2 * time.Second, false: time.Second}[failed]})
		}
		equal(w, "reported mints", len(w.results()), 3)
	})
}

func TestSavedBeforeServed(t *testing.T) {
	withAccount(t, Policy{}, func(w *world) {
		w.store.onSave = func(string, Account, token.Token) { time.Sleep(2 * time.Second) }
		read := w.startRead("a")
		w.advance(time.Second)
		w.wantState(Refreshing)
		equal(w, "left", w.must(read()).Left, time.Hour-2*time.Second)
		w.wantStored("1", 1)
	})
}

// If the machine is suspended during a mint, the token's age includes that time.
func TestSuspendedDuringMint(t *testing.T) {
	for _, test := range []struct {
		name string
		set  time.Duration
		left time.Duration // 0 if the token is dead on arrival
	}{
		{"for ten minutes", 10 * time.Minute, 50*time.Minute - 2*time.Second},
		{"for longer than the token lives", time.Hour, 0},
		{"not suspended, but the wall clock was set back", -time.Hour, time.Hour - 2*time.Second},
	} {
		t.Run(test.name, func(t *testing.T) {
			withAccount(t, Policy{}, func(w *world) {
				w.provider.set(slow(2*time.Second, tokens(time.Hour)))
				read := w.startRead("a")
				w.clock.setWall(test.set)
				if test.left == 0 {
					equal(w, "kind", w.mustFail(read()).Kind, token.Malformed)
				} else {
					equal(w, "left", w.must(read()).Left, test.left)
				}
			})
		})
	}
}

// Each mint uses the newest refresh token. Without a refresh token, the mint is a login.
func TestRefreshTokenIsUsedAndReplaced(t *testing.T) {
	withAccount(t, Policy{}, func(w *world) {
		for i, mint := range []struct {
			answer  answer
			refresh secret.String
		}{
			{sessions(time.Hour, 90*time.Minute), ""},
			{sessions(time.Hour, 90*time.Minute), "refresh-1"},
			{sessions(time.Hour, 90*time.Minute), "refresh-2"},
			{tokens(time.Hour), "refresh-3"},
			{tokens(time.Hour), ""},
		} {
			w.provider.set(mint.answer)
			w.get("a", 0)
			w.wantMints(i + 1)
			w.wantRefreshToken(mint.refresh)
			w.advance(50 * time.Minute)
		}
	})
}

// A failed refresh token is dropped, except during a rate limit or a short outage.
func TestRefreshTokenAfterFailure(t *testing.T) {
	for kind, refreshes := range map[token.Kind]int{token.Refused: 1, token.Malformed: 1, token.Unavailable: maxRefreshOutages, token.RateLimited: 20} {
		t.Run(kind.String(), func(t *testing.T) {
			withAccount(t, Policy{}, func(w *world) {
				w.provider.set(sessions(time.Hour, 0))
				w.get("a", 0)
				w.provider.set(refuses(kind, 10*time.Second))
				w.advance(50 * time.Minute)
				for range 300 {
					w.wantToken(w.get("a", 0), 1)
					w.advance(time.Second)
					if len(w.provider.logins()) > 1 {
						break
					}
				}
				if kind == token.RateLimited {
					equal(w, "logins", len(w.provider.logins()), 1)
					equal(w, "at least 20 refreshes", len(w.provider.allCalls()) > refreshes, true)
					return
				}
				w.wantMints(1 + refreshes + 1)
				w.wantToken(w.get("a", 0), refreshes+2)
				w.advance(time.Second)
				w.Tick()
				w.wantStored("1", refreshes+2)
			})
		})
	}
}

// A refused refresh token is not used again, even if the next login fails.
func TestRefusedRefreshTokenIsUsedOnce(t *testing.T) {
	withAccount(t, Policy{}, func(w *world) {
		w.provider.set(sessions(time.Hour, 0))
		w.get("a", 0)
		w.provider.set(func(ctx context.Context, c call) (token.Token, error) {
			if c.refresh != "" {
				return fails(token.Refused, 0)(ctx, c)
			}
			return fails(token.Unavailable, 0)(ctx, c)
		})
		w.advance(50 * time.Minute)
		for range 10 {
			w.get("a", 0)
			w.advance(time.Second)
		}
		for i, c := range w.provider.allCalls() {
			equal(w, fmt.Sprintf("call %d is a refresh", i+1), c.refresh != "", i == 1)
		}
		w.Tick()
		synctest.Wait()
		equal(w, "stored refresh token", w.store.tokens["a"].token.Refresh.Reveal(), "")
	})
}

// For a day, the provider accepts only logins. No read fails, and there are few logins.
func TestDeadRefreshTokens(t *testing.T) {
	const day = 24 * time.Hour * burst / 10 // a tenth of a day under the race detector
	const limit = 32*burst/10 + 2           // logins in 24 lifetimes; each refresh token fails at least once
	for _, kind := range []token.Kind{token.Refused, token.Malformed, token.Unavailable} {
		for _, window := range []*time.Duration{nil, ptr(time.Duration(0))} {
			for _, pause := range []time.Duration{10 * time.Minute, 500 * time.Millisecond} {
				t.Run(fmt.Sprintf("%s, no refresh window %t, a read every %s", kind, window != nil, pause), func(t *testing.T) {
					withAccount(t, Policy{RefreshWindow: window}, func(w *world) {
						w.provider.set(refuses(kind, 0))
						w.readFor(day, pause, time.Minute, func(Grant) {})
						logins, calls := len(w.provider.logins()), len(w.provider.allCalls())
						if logins > limit || calls > 5*limit {
							t.Errorf("got %d logins in %d mints, want at most %d in %d", logins, calls, limit, 5*limit)
						}
					})
				})
			}
		}
	}
}

// If a refresh token yields a token that lives at least 10 % shorter than the last token, the next
// mint is a login. A difference of up to a second may be rounding, and does not count.
func TestRefreshTokenOfShorterToken(t *testing.T) {
	for _, test := range []struct {
		name    string
		first   answer
		second  time.Duration // the lifetime of the second token
		refresh secret.String // the refresh token that the third mint uses
	}{
		{"refresh, as long", sessions(time.Hour, 0), time.Hour, "refresh-2"},
		{"refresh, a second less", sessions(time.Hour, 0), time.Hour - time.Second, "refresh-2"},
		{"refresh, more than nine tenths", sessions(time.Hour, 0), 54*time.Minute + time.Second, "refresh-2"},
		{"refresh, nine tenths", sessions(time.Hour, 0), 54 * time.Minute, ""},
		{"refresh, half", sessions(time.Hour, 0), 30 * time.Minute, ""},
		{"login, a minute", tokens(time.Hour), time.Minute, "refresh-2"},
	} {
		t.Run(test.name, func(t *testing.T) {
			withAccount(t, Policy{}, func(w *world) {
				w.provider.set(test.first)
				w.get("a", 0)
				w.advance(50 * time.Minute)
				w.provider.set(sessions(test.second, 0))
				w.get("a", 0)
				w.wantMints(2)
				w.advance(test.second * 9 / 10)
				w.get("a", 0)
				w.wantMints(3)
				w.wantRefreshToken(test.refresh)
				if w.store.tokens["a"].token.Refresh == "" {
					t.Error("got no stored refresh token, want the one of the third mint")
				}
			})
		})
	}
}

// A write that changes the revision drops the refresh token. Other writes keep the refresh token.
func TestRefreshTokenAfterWrite(t *testing.T) {
	withAccount(t, Policy{}, func(w *world) {
		w.provider.set(sessions(time.Hour, 0))
		w.get("a", 0)
		w.put("1", Policy{MaxTTL: time.Minute})
		w.advance(50 * time.Second)
		w.get("a", 0)
		w.wantMints(2)
		w.wantRefreshToken("refresh-1")
		w.put("2", Policy{})
		w.get("a", 0)
		w.wantMints(3)
		w.wantRefreshToken("")
	})
}

// If a token expires before it is stored, the mint fails. The backoff then limits the logins.
func TestTokenEndsWhileItIsStored(t *testing.T) {
	withAccount(t, Policy{}, func(w *world) {
		w.provider.set(tokens(time.Second))
		w.store.onSave = func(string, Account, token.Token) { time.Sleep(1500 * time.Millisecond) }
		equal(w, "kind", w.getFailure("a").Kind, token.Malformed)
		for w.elapsed() < 90*time.Second {
			w.getFailure("a")
			w.advance(100 * time.Millisecond)
		}
		if got := len(w.provider.allCalls()); got > 8 {
			t.Errorf("got %d logins in 90s, want at most 8", got)
		}
	})
}

// Mint accepts an account that is not in the cache. Mint waits for other logins of the same user.
func TestMintOutsideCache(t *testing.T) {
	withAccount(t, Policy{}, func(w *world) {
		first := w.account("b", "1")
		first.serial = "user"
		w.write(first, nil)
		w.provider.set(slow(2*time.Second, tokens(time.Hour)))
		w.startRead("b")
		second := w.account("c", "1")
		second.serial = "user"
		waited := w.timed(func() {
			minted, err := w.Mint(w.t.Context(), second)
			w.wantErr("mint", err, nil)
			equal(w, "token", minted.Access, accessToken(2))
		})
		equal(w, "wait", waited, 4*time.Second+loginPause)
		_, ok := w.Status("c")
		equal(w, "account in memory", ok, false)

		w.provider.set(panics("s3cret"))
		var p *secret.PanicError
		if _, err := w.Mint(w.t.Context(), second); !errors.As(err, &p) {
			t.Errorf("got error %v, want a PanicError", err)
		}
		ctx, cancel := context.WithTimeout(w.t.Context(), loginPause/2)
		defer cancel()
		_, err := w.Mint(ctx, second)
		w.wantErr("mint", err, errNoSlot)
		w.advance(loginPause)
		w.wantNoSlotTaken()
	})
}
