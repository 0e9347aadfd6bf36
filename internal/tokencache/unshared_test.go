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
		equal(w, "stored tokens", len(w.store.tokens), 0)
		equal(w, "mints", w.wantState(Empty).Mints, 2)
		w.advance(time.Hour)
		equal(w, "due", w.Due(), false)
		for _, r := range w.results() {
			equal(w, "unshared", r.Unshared, true)
		}
	})
}

// Until a login with new credentials succeeds, one login runs at a time. A thousand
// readers with a wrong password must not lock the account.
func TestUnsharedWithWrongPassword(t *testing.T) {
	inWorld(t, func(w *world) {
		w.provider.set(slow(time.Second, fails(token.Refused, 0)))
		w.putUnshared("1")
		reads := w.startReads(1000)
		w.advance(time.Minute - time.Second)
		w.wantMints(1)
		for _, read := range reads {
			w.mustFail(read())
		}
	})
}

// When a password becomes wrong, the provider sees no more logins than run at once. The
// logins that fail together count as one failure.
func TestUnsharedWhenPasswordBecomesWrong(t *testing.T) {
	inWorld(t, func(w *world) {
		w.putUnshared("1")
		w.get("a", 0)
		w.provider.set(slow(time.Second, fails(token.Refused, 0)))
		w.startReads(1000)
		w.advance(time.Minute)
		w.wantMints(1 + maxUnsharedMints)
		equal(w, "failures", w.getFailure("a").Failures, 1)
	})
}

func TestUnsharedMintsAtOnce(t *testing.T) {
	inWorld(t, func(w *world) {
		w.putUnshared("1")
		w.get("a", 0)
		w.provider.set(slow(time.Second, tokens(time.Hour)))
		for _, read := range w.startReads(5 * maxUnsharedMints) {
			w.must(read())
		}
		equal(w, "elapsed time", w.elapsed(), 5*time.Second)
		equal(w, "most mints at once", w.provider.maxRunning, maxUnsharedMints)
	})
}

// A write of another revision ends the backoff of the old credentials.
func TestUnsharedOfNewRevision(t *testing.T) {
	inWorld(t, func(w *world) {
		w.putUnshared("1")
		w.provider.set(fails(token.Refused, 0))
		w.getFailure("a")
		w.provider.set(tokens(time.Hour))
		w.getFailure("a")
		w.putUnshared("2")
		w.get("a", 0)
	})
}

// A reader whose context ends still gets the token that was minted for it, because only
// the caller of Get can revoke the token.
func TestUnsharedTokenOfAReaderThatGivesUp(t *testing.T) {
	inWorld(t, func(w *world) {
		w.putUnshared("1")
		w.provider.set(slow(time.Minute, tokens(time.Hour)))
		ctx, cancel := context.WithTimeout(w.t.Context(), time.Second)
		defer cancel()
		w.must(w.Get(ctx, "a", 0))
	})
}
