// SPDX-License-Identifier: MPL-2.0

package revocation

import (
	"context"
	"testing"
	"time"
)

// deleteConfig removes the stored config.
func (f *fixture) deleteConfig(name string) {
	f.t.Helper()
	if err := f.opts.Store.Registry.DeleteConfig(f.t.Context(), &f.storage.InmemStorage, name); err != nil {
		f.t.Fatal(err)
	}
}

func TestEndConfig(t *testing.T) {
	f := newFixture(t)
	a := f.config("a")
	f.Queue(f.token(f.config("b"), "of-b"), f.token(a, "leased"))
	f.restart() // the next process does not know the queue yet
	if err := f.Prepare(f.token(a, "shared")); err != nil {
		t.Fatal(err)
	}
	f.deleteConfig("a")
	if warning := f.EndConfig("a", a); warning != "" {
		t.Errorf("got warning %q, want none", warning)
	}
	if got := len(f.provider.take()); got != 2 {
		t.Errorf("got %d revocations, want 2: the shared token and the queued token", got)
	}
	f.wantQueued(1)
}

// A deletion tries to revoke a token even after an earlier failure, because no later attempt is
// possible.
func TestEndConfigAfterAFailure(t *testing.T) {
	f := newFixture(t)
	a := f.config("a")
	f.provider.fail(errDown)
	f.RevokeOrQueue(f.token(a, "leased"))
	f.provider.fail(nil)
	f.provider.take()
	f.deleteConfig("a")
	if warning := f.EndConfig("a", a); warning != "" {
		t.Errorf("got warning %q, want none", warning)
	}
	f.wantSent("leased")
	f.wantQueued(0)
}

// If the process dies during a deletion, a token can remain whose credentials are lost. The
// next deletion warns about that token.
func TestEndConfigWithoutAConfig(t *testing.T) {
	f := newFixture(t)
	a := f.config("a")
	if err := f.Prepare(f.token(a, "shared")); err != nil {
		t.Fatal(err)
	}
	f.deleteConfig("a")
	f.restart()
	wantContains(t, f.EndConfig("a", nil), "left to expire")
	f.wantQueued(0)
	if warning := f.EndConfig("a", nil); warning != "" {
		t.Errorf("got warning %q for a config without tokens, want none", warning)
	}
}

// Storage that fails after the deletion does not lose the token.
func TestEndConfigWhileStorageFails(t *testing.T) {
	for _, op := range []string{"list", "get", "delete"} {
		f := newFixture(t)
		a := f.config("a")
		if err := f.Prepare(f.token(a, "shared")); err != nil {
			t.Fatal(err)
		}
		f.deleteConfig("a")
		f.storage.failOn(op)
		if warning := f.EndConfig("a", a); warning != "" {
			t.Errorf("%s fails: got warning %q, want none", op, warning)
		}
		f.wantSent("shared")
		f.storage.failOn("")
		f.advance(time.Minute)
		f.tick()
		f.wantSent()
		f.wantQueued(0)
	}
}

// A queued token that storage cannot read is reported.
func TestEndConfigCannotReadTheQueue(t *testing.T) {
	f := newFixture(t)
	a := f.config("a")
	f.Queue(f.token(a, "leased"))
	f.deleteConfig("a")
	f.storage.failOn("get")
	wantContains(t, f.EndConfig("a", a), errStorage.Error())
}

// A drain that runs during a deletion does not remove the deletion's token from the queue.
func TestPrepareDuringADrain(t *testing.T) {
	f := newFixture(t)
	a := f.config("a")
	rev := f.token(a, "shared")
	if err := f.Prepare(rev); err != nil {
		t.Fatal(err)
	}
	f.Abandon("a")
	f.provider.set(func(context.Context, string) error { return f.Prepare(rev) })
	f.tick()
	f.provider.fail(nil)
	f.provider.take()
	f.deleteConfig("a")
	if warning := f.EndConfig("a", a); warning != "" {
		t.Errorf("got warning %q, want none", warning)
	}
	f.wantSent("shared")
	f.wantQueued(0)
}

// If a deletion fails after it removed the token, a drain revokes the token after the deletion has
// ended.
func TestAbandon(t *testing.T) {
	f := newFixture(t)
	if err := f.Prepare(f.token(f.config("a"), "shared")); err != nil {
		t.Fatal(err)
	}
	f.tick()
	f.wantSent()
	f.Abandon("a")
	f.tick()
	f.wantSent("shared")
	f.wantQueued(0)
}

// If a deletion fails before it removes the token, the token stays in use, even after a crash.
func TestAbandonedTokenThatIsStillStored(t *testing.T) {
	for _, crash := range []bool{false, true} {
		f := newFixture(t)
		a := f.config("a")
		rev := f.token(a, "shared")
		f.save(a, "shared")
		if err := f.Prepare(rev); err != nil {
			t.Fatal(err)
		}
		if crash {
			f.restart()
		} else {
			f.Abandon("a")
		}
		f.tick()
		f.wantSent()
		f.wantQueued(0)

		if err := f.Prepare(rev); err != nil { // the next attempt to delete the config
			t.Fatal(err)
		}
		f.deleteConfig("a")
		if warning := f.EndConfig("a", a); warning != "" {
			t.Errorf("crash=%t: got warning %q, want none", crash, warning)
		}
		f.wantSent("shared")
	}
}

// If the token cannot be queued, nothing must be deleted.
func TestPrepareFails(t *testing.T) {
	f := newFixture(t)
	a := f.config("a")
	f.save(a, "shared")
	f.storage.failOn("put")
	if err := f.Prepare(f.token(a, "shared")); err == nil {
		t.Fatal("got no error, want that of the storage")
	}
	f.storage.failOn("")
	f.Abandon("a")
	f.tick()
	f.wantSent()
}
