// SPDX-License-Identifier: MPL-2.0

package tokencache

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"vault-plugin-secrets-messaging/internal/secret"
	"vault-plugin-secrets-messaging/internal/token"
)

// wantRefreshToken fails unless the last mint used that refresh token; "" means a login.
func (w *world) wantRefreshToken(want secret.String) {
	w.t.Helper()
	calls := w.provider.allCalls()
	if got := calls[len(calls)-1].refresh; got != want {
		w.t.Fatalf("after %s: mint %d: got refresh token %q, want %q", w.elapsed(), len(calls), got.Reveal(), want.Reveal())
	}
}

// A panic in Mint is an error for the readers that wait. The error does not contain the
// value of the panic.
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
		if f := w.getFailure("a"); !errors.As(f, &p) {
			t.Errorf("save: got error %v, want a PanicError", f)
		}
		w.store.onSave = nil
		w.advance(time.Second)
		w.get("a", 0)
	})
}

// A mint has a deadline of its own, which ends a mint that hangs.
func TestMintTimeout(t *testing.T) {
	withAccount(t, Policy{}, func(w *world) {
		w.provider.set(hangs)
		f := w.getFailure("a")
		equal(w, "elapsed time", w.elapsed(), mintTimeout)
		equal(w, "kind", f.Kind, token.Unavailable)
		w.wantErr("mint", f, context.DeadlineExceeded)
		w.provider.set(tokens(time.Hour))
		w.advance(time.Second)
		w.get("a", 0)
	})
}

// The context of a mint has the mint's deadline and not the reader's.
func TestMintContext(t *testing.T) {
	withAccount(t, Policy{}, func(w *world) {
		w.provider.set(func(ctx context.Context, c call) (token.Token, error) {
			deadline, _ := ctx.Deadline()
			equal(w, "time until the deadline", time.Until(deadline), mintTimeout)
			w.wantErr("context", ctx.Err(), nil)
			return tokens(time.Hour)(ctx, c)
		})
		ctx, cancel := context.WithTimeout(w.t.Context(), time.Second)
		defer cancel()
		w.must(w.Get(ctx, "a", 0))
	})
}

func TestMintResult(t *testing.T) {
	withAccount(t, Policy{}, func(w *world) {
		account := w.store.accounts["a"]
		w.provider.set(slow(3*time.Second, fails(token.Unavailable, 0)))
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
				Took: map[bool]time.Duration{true: 3 * time.Second, false: time.Second}[failed]})
		}
		equal(w, "reported mints", len(w.results()), 3)
	})
}

// A token is stored before it is served, so a process that is killed after a read has
// stored what the read got.
func TestSavedBeforeServed(t *testing.T) {
	withAccount(t, Policy{}, func(w *world) {
		w.store.onSave = func(string, Account, token.Token) { time.Sleep(3 * time.Second) }
		read := w.startRead("a")
		w.advance(2 * time.Second)
		w.wantState(Refreshing)
		equal(w, "left", w.must(read()).Left, time.Hour-3*time.Second)
		w.wantStored("1", 1)
	})
}

// If the machine is suspended during a mint, the wall clock tells how old the token is.
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

// Each mint uses the newest refresh token. Without a new one, the next mint is a login.
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

// A refresh that fails is repeated with the same refresh token.
func TestRefreshTokenAfterFailure(t *testing.T) {
	withAccount(t, Policy{}, func(w *world) {
		w.provider.set(sessions(time.Hour, 0))
		w.get("a", 0)
		w.provider.set(fails(token.Unavailable, 0))
		w.advance(2 * time.Hour)
		w.getFailure("a")
		w.advance(time.Minute)
		w.provider.set(sessions(time.Hour, 0))
		w.get("a", 0)
		w.wantMints(3)
		w.wantRefreshToken("refresh-1")
	})
}

// A refresh that yields at most nine tenths of the lifetime shows that the session nears
// its end, so the next mint is a login. A second less shows nothing, because providers
// round. A login may yield any lifetime.
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
				w.advance(time.Hour)
				w.provider.set(sessions(test.second, 0))
				w.get("a", 0)
				w.advance(time.Hour)
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

// A config write of the same revision keeps the refresh token. A write of another
// revision drops it.
func TestRefreshTokenAfterWrite(t *testing.T) {
	withAccount(t, Policy{}, func(w *world) {
		w.provider.set(sessions(time.Hour, 0))
		w.get("a", 0)
		w.put("1", Policy{MaxTTL: time.Minute})
		w.advance(time.Minute)
		w.get("a", 0)
		w.wantRefreshToken("refresh-1")
		w.put("2", Policy{})
		w.get("a", 0)
		w.wantMints(3)
		w.wantRefreshToken("")
	})
}
