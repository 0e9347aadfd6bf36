// SPDX-License-Identifier: MPL-2.0

package tokencache

import (
	"context"
	"testing"
	"time"

	"vault-plugin-secrets-messaging/internal/token"
)

func TestUnshared(t *testing.T) {
	inWorld(t, func(w *world) {
		w.putUnshared("1")
		w.wantToken(w.get("a", 0), 1)
		w.wantToken(w.get("a", 0), 2)
		if len(w.store.tokens) != 0 {
			t.Errorf("stored: %v", w.store.tokens)
		}
		if s, _ := w.Status("a"); s.State != Empty || s.Mints != 2 {
			t.Errorf("%+v", s)
		}
		w.pass(time.Hour)
		if w.Due() {
			t.Error("a tick would refresh it")
		}
		for _, f := range w.told() {
			if !f.Unshared {
				t.Errorf("%+v", f)
			}
		}
	})
}

// Until a login with these credentials has succeeded, one at a time tries: a
// thousand readers with a wrong password must not lock the account.
func TestUnsharedOfAWrongPassword(t *testing.T) {
	inWorld(t, func(w *world) {
		w.provider.set(slow(time.Second, fails(token.Refused, 0)))
		w.putUnshared("1")
		reads := w.crowd(1000)
		w.pass(time.Minute - time.Second)
		w.wantMints(1)
		for _, read := range reads {
			if _, err := read(); err == nil {
				t.Fatal("a token of a wrong password")
			}
		}
	})
}

// Where the password goes wrong while reads are served, no more logins see it
// than run at once.
func TestUnsharedOfAPasswordThatGoesWrong(t *testing.T) {
	inWorld(t, func(w *world) {
		w.putUnshared("1")
		w.get("a", 0)
		w.provider.set(slow(time.Second, fails(token.Refused, 0)))
		w.crowd(1000)
		w.pass(time.Minute)
		w.wantMints(1 + maxUnsharedMints)
		if f := w.fail("a"); f.Failures != 1 { // those that failed together count once
			t.Errorf("%d failures in a row", f.Failures)
		}
	})
}

func TestUnsharedAreMintedSomeAtOnce(t *testing.T) {
	inWorld(t, func(w *world) {
		w.putUnshared("1")
		w.get("a", 0)
		w.provider.set(slow(time.Second, tokens(time.Hour)))
		began := time.Now()
		for _, read := range w.crowd(5 * maxUnsharedMints) {
			if _, err := read(); err != nil {
				t.Fatal(err)
			}
		}
		if got := time.Since(began); got != 5*time.Second || w.provider.most != maxUnsharedMints {
			t.Errorf("took %s, at most %d at once", got, w.provider.most)
		}
	})
}

// A config write begins anew: the waits of the old credentials are over, and one
// at a time tries the new.
func TestUnsharedOfANewRevision(t *testing.T) {
	inWorld(t, func(w *world) {
		w.putUnshared("1")
		w.provider.set(fails(token.Refused, 0))
		w.fail("a")
		w.provider.set(tokens(time.Hour))
		w.fail("a")
		w.putUnshared("2")
		w.get("a", 0)
	})
}

// A reader that gives up gets the token that was minted for it all the same, so
// that someone has it who can end it.
func TestUnsharedTokenOfAReaderThatGivesUp(t *testing.T) {
	inWorld(t, func(w *world) {
		w.putUnshared("1")
		w.provider.set(slow(time.Minute, tokens(time.Hour)))
		ctx, cancel := context.WithTimeout(w.t.Context(), time.Second)
		defer cancel()
		if _, err := w.Get(ctx, "a", 0); err != nil {
			t.Error(err)
		}
	})
}

// crowd starts n reads of a.
func (w *world) crowd(n int) []func() (Grant, error) {
	reads := make([]func() (Grant, error), n)
	for i := range reads {
		reads[i] = w.background(w.t.Context(), "a", 0)
	}
	return reads
}
