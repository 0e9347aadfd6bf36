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

// TestPanicInMint: is an error for those who wait, not a wedge, and tells nothing
// of the value.
func TestPanicInMint(t *testing.T) {
	inWorld(t, func(w *world) {
		w.put("a", "1", Policy{})
		w.provider.set(slow(time.Second, panics("s3cret")))
		other := w.background(w.t.Context(), "a", 0)
		f := w.fail("a")
		var p *secret.PanicError
		if !errors.As(f, &p) || p.Type != "string" || strings.Contains(string(p.Stack)+f.Error(), "s3cret") {
			t.Errorf("failure = %v", f)
		}
		if _, err := other(); err != error(f) {
			t.Errorf("the other reader got %v", err)
		}
		if _, err := w.Rotate(w.t.Context(), "a"); !errors.As(err, &p) {
			t.Errorf("rotate: %v", err)
		}
		w.provider.set(tokens(time.Hour))
		w.pass(time.Minute)
		w.get("a", 0)
		if len(w.limiter.hosts) != 0 {
			t.Error("a panic kept its slot")
		}
	})
}

func TestPanicInStore(t *testing.T) {
	inWorld(t, func(w *world) {
		w.put("a", "1", Policy{})
		w.store.onLoad = func(string) { panic("s3cret") }
		var p *secret.PanicError
		if _, err := w.Get(w.t.Context(), "a", 0); !errors.As(err, &p) || p.Type != "string" {
			t.Errorf("err = %v", err)
		}
		w.store.onLoad = nil
		w.store.onSave = func(string, Account, token.Token) { panic("s3cret") }
		if f := w.fail("a"); !errors.As(f, &p) {
			t.Errorf("failure = %v", f)
		}
		w.store.onSave = nil
		w.pass(time.Second)
		w.get("a", 0)
	})
}

// TestHangingProvider: the flight's own deadline ends it.
func TestHangingProvider(t *testing.T) {
	inWorld(t, func(w *world) {
		w.put("a", "1", Policy{})
		w.provider.set(hangs)
		f := w.fail("a")
		if w.age() != mintTimeout || f.Kind != token.Unavailable || !errors.Is(f, context.DeadlineExceeded) {
			t.Errorf("after %s: %+v", w.age(), f)
		}
		w.provider.set(tokens(time.Hour))
		w.pass(time.Second)
		w.get("a", 0)
	})
}

func TestFlown(t *testing.T) {
	inWorld(t, func(w *world) {
		a := w.put("a", "1", Policy{})
		w.provider.set(slow(3*time.Second, fails(token.Unavailable, 0)))
		w.fail("a")
		w.pass(time.Second)
		w.fail("a")
		w.pass(2 * time.Second)
		w.provider.set(slow(time.Second, tokens(time.Hour)))
		w.get("a", 0)
		if len(w.told()) != 3 {
			t.Fatalf("flights = %+v", w.told())
		}
		for i, took := range []time.Duration{3 * time.Second, 3 * time.Second, time.Second} {
			f := w.told()[i]
			if f.Name != "a" || f.Account != Account(a) || f.Took != took || f.FailuresBefore != i || (f.Failure == nil) != (i == 2) {
				t.Errorf("flight %d = %+v", i, f)
			}
		}
	})
}

// TestClose: ends what is under way, tells those who wait, and stores nothing
// more. That no goroutine stays is checked by inWorld.
func TestClose(t *testing.T) {
	inWorld(t, func(w *world) {
		w.put("a", "1", Policy{})
		w.put("b", "1", Policy{})
		w.put("c", "1", Policy{})
		w.get("b", 0)
		w.provider.set(slow(time.Minute, tokens(time.Hour)))
		read := w.background(w.t.Context(), "a", 0)
		rotated := make(chan error, 1)
		go func() {
			_, err := w.Rotate(w.t.Context(), "c")
			rotated <- err
		}()
		w.pass(time.Second)
		before := w.age()
		w.Close()
		w.Close()
		if _, err := read(); err != ErrClosed {
			t.Errorf("read: %v", err)
		}
		if err := <-rotated; err != ErrClosed {
			t.Errorf("rotate: %v", err)
		}
		if w.age() != before {
			t.Errorf("after %s", w.age()-before)
		}
		if _, err := w.Get(w.t.Context(), "c", 0); err != ErrClosed {
			t.Errorf("read after Close: %v", err)
		}
		w.wantToken(w.get("b", 0), 1)
		w.pass(time.Hour)
		w.Tick()
		if len(w.store.tokens) != 1 || len(w.told()) != 1 {
			t.Errorf("%d tokens, %d flights", len(w.store.tokens), len(w.told()))
		}
		w.wantMints(3)
	})
}

func TestCloseDuringLoad(t *testing.T) {
	inWorld(t, func(w *world) {
		w.put("a", "1", Policy{})
		w.store.onLoad = func(string) { time.Sleep(time.Second) }
		read := w.background(w.t.Context(), "a", 0)
		w.Close()
		if _, err := read(); err != ErrClosed {
			t.Errorf("err = %v", err)
		}
		w.pass(time.Second)
	})
}
