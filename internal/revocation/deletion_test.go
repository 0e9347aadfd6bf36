// SPDX-License-Identifier: MPL-2.0

package revocation

import (
	"context"
	"testing"

	"vault-plugin-secrets-messaging/internal/account"
)

// deleteConfig removes the stored config.
func (f *fixture) deleteConfig(name string) {
	f.t.Helper()
	if err := f.setup.DeleteConfig(f.t.Context(), name); err != nil {
		f.t.Fatal(err)
	}
}

// endConfig deletes a config. The test fails if a token is not revoked.
func (f *fixture) endConfig(a *account.Account) {
	f.t.Helper()
	f.deleteConfig(a.Name)
	if warning := f.EndConfig(a.Name, a); warning != "" {
		f.t.Errorf("got warning %q, want none", warning)
	}
}

func TestEndConfig(t *testing.T) {
	f := newFixture(t)
	a := f.config("a")
	f.Queue(f.token(f.config("b"), "of-b"), f.token(a, "leased"))
	f.restart() // the next process does not know the queue yet
	f.prepare(f.token(a, "shared"))
	f.endConfig(a)
	f.wantRequests("the shared and the queued token", 2, 2)
	f.wantQueued(1)
}

// EndConfig sends the token to the endpoint even if the endpoint failed lately.
func TestEndConfigAfterAFailure(t *testing.T) {
	f := newFixture(t)
	a := f.config("a")
	f.provider.fail(errDown)
	f.RevokeOrQueue(f.token(a, "leased"))
	f.provider.fail(nil)
	f.provider.take()
	f.endConfig(a)
	f.wantSent("leased")
	f.wantQueued(0)
}

// The plugin crashes after the config is deleted. Without credentials, the queued token cannot be
// revoked.
func TestEndConfigWithoutAConfig(t *testing.T) {
	f := newFixture(t)
	a := f.config("a")
	f.prepare(f.token(a, "shared"))
	f.deleteConfig("a")
	f.restart()
	wantContains(t, f.EndConfig("a", nil), "left to expire")
	f.wantQueued(0)
	wantNone(t, f.EndConfig("a", nil))
}

// EndConfig revokes the token even if the storage fails.
func TestEndConfigWhileStorageFails(t *testing.T) {
	for _, op := range []string{"list", "get", "delete"} {
		f := newFixture(t)
		a := f.config("a")
		f.prepare(f.token(a, "shared"))
		f.deleteConfig("a")
		f.storage.failOn(op)
		wantNone(t, f.EndConfig("a", a))
		f.wantSent("shared")
		f.storage.failOn("")
		f.ticks(1)
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

// While the engine revokes a queued token, a config deletion queues the token again. The token
// stays queued.
func TestPrepareDuringADrain(t *testing.T) {
	f := newFixture(t)
	a := f.config("a")
	rev := f.token(a, "shared")
	f.prepare(rev)
	f.Abandon("a")
	f.provider.set(func(context.Context, string) error { return f.Prepare(rev) })
	f.tick()
	f.provider.fail(nil)
	f.provider.take()
	f.endConfig(a)
	f.wantSent("shared")
	f.wantQueued(0)
}

// If the deletion of a config fails, the engine later revokes the queued token.
func TestAbandon(t *testing.T) {
	f := newFixture(t)
	f.prepare(f.token(f.config("a"), "shared"))
	f.tick()
	f.wantSent()
	f.Abandon("a")
	f.tick()
	f.wantSent("shared")
	f.wantQueued(0)
}

// After a failed deletion, the config keeps its stored token.
func TestAbandonedTokenThatIsStillStored(t *testing.T) {
	for _, crash := range []bool{false, true} {
		f := newFixture(t)
		a := f.config("a")
		rev := f.token(a, "shared")
		f.save(a, "shared")
		f.prepare(rev)
		if crash {
			f.restart()
		} else {
			f.Abandon("a")
		}
		f.tick()
		f.wantSent()
		f.wantQueued(0)

		f.prepare(rev) // the next attempt to delete the config
		f.endConfig(a)
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
