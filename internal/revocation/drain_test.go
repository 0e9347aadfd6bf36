// SPDX-License-Identifier: MPL-2.0

package revocation

import (
	"context"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/vault/sdk/framework"
	"github.com/hashicorp/vault/sdk/logical"
)

// While an endpoint is down, a tick reads few records.
func TestTicksReadOnlyWhatIsDue(t *testing.T) {
	const tokens = 5000
	f := newFixture(t)
	a := f.config("a")
	for i := range tokens {
		f.Queue(f.token(a, fmt.Sprint("token-", i)))
	}
	f.provider.fail(errDown)
	const perAttempt = 6 // reads of the list, record, config and token, and two spare
	for range 2 {
		f.storage.take()
		f.tick()
		f.ticks(10)
		if got, limit := f.storage.take(), tokens+11*perAttempt; got > limit {
			t.Errorf("10 ticks: got %d calls of the storage, want at most %d", got, limit)
		}
		f.ticks(1)
		if got := f.storage.take(); got > perAttempt {
			t.Errorf("a later tick: got %d calls of the storage, want at most %d", got, perAttempt)
		}
		f.restart()
	}
	f.storage.take()
	f.tick()
	if got := f.storage.take(); got > maxReads+perAttempt {
		t.Errorf("the first tick after a restart: got %d calls of the storage, want at most %d", got, maxReads+perAttempt)
	}

	f.provider.fail(nil)
	f.ticks(20) // more than longestWait, with time for the unread records
	f.wantQueued(0)
}

func TestIdleTick(t *testing.T) {
	f := newFixture(t)
	f.tick()
	f.storage.take()
	if f.Pending() {
		t.Error("got Pending with an empty queue, want nothing to do")
	}
	if got := f.storage.take(); got != 0 {
		t.Errorf("got %d calls of the storage, want 0", got)
	}
}

// A token is stored once, even if it is queued several times.
func TestTokenIsQueuedOnce(t *testing.T) {
	f := newFixture(t)
	rev := f.token(f.config("a"), "one")
	for range 30 {
		f.Queue(rev)
	}
	f.wantQueued(1)
	if got := f.storage.take(); got != 1 {
		t.Errorf("got %d calls of the storage, want 1", got)
	}
	f.restart()
	f.Queue(rev)
	f.wantQueued(1)
	f.tick()
	f.wantSent("one")
	f.wantQueued(0)
}

// The queue logs and removes damaged records, and ignores records of other kinds.
func TestDamagedRecords(t *testing.T) {
	f := newFixture(t)
	for i, record := range []string{"not JSON", `{"type":"revocation","data":7}`, `{"type":"revocation","data":{"config":"a","expires":"soon"}}`,
		`{"type":"revocation","data":{}}`, `{"type":"other","data":{}}`} {
		entry := &logical.StorageEntry{Key: fmt.Sprint(framework.WALPrefix, i), Value: []byte(record)}
		if err := f.storage.InmemStorage.Put(t.Context(), entry); err != nil {
			t.Fatal(err)
		}
	}
	for range 5 {
		f.tick()
		f.advance(time.Minute)
	}
	f.wantQueued(1)
	if got := f.log.count("a token to revoke cannot be decoded"); got != 4 {
		t.Errorf("got %d log lines of damaged records, want 4", got)
	}
}

// If storage fails, the queue retries with growing waits. The provider gets the token only once.
func TestStorageThatFailsOneOperation(t *testing.T) {
	for _, op := range []string{"list", "get", "delete"} {
		f := newFixture(t)
		f.Queue(f.token(f.config("a"), "one"))
		f.restart()
		f.storage.failOn(op)
		for range 120 {
			f.tick()
			f.advance(30 * time.Second)
		}
		if op != "list" {
			if got := f.log.count(errStorage.Error()); got < 2 || got > 12 {
				t.Errorf("%s fails for an hour: got %d log lines, want 2 to 12", op, got)
			}
		}
		f.storage.failOn("")
		f.advance(longestWait)
		f.tick()
		f.wantSent("one")
		f.wantQueued(0)
	}
}

// If the endpoint fails, the queue sends one request at a time, with growing waits.
func TestEndpointThatFailsIsAskedLessAndLess(t *testing.T) {
	for _, failure := range []error{errWrong, errDown} {
		f := newFixture(t)
		f.tick()
		f.provider.fail(failure)
		a := f.config("a")
		for i := range 51 {
			f.RevokeOrQueue(f.token(a, fmt.Sprint("token-", i)))
		}
		f.wantRequests(failure.Error()+", for 51 leases", 1, 1)
		if f.Pending() {
			t.Errorf("%v: got Pending right after the failure, want nothing to do", failure)
		}
		f.ticks(60)
		f.wantRequests(failure.Error()+", in an hour", 4, 8)
		f.provider.fail(nil)
		f.advance(longestWait)
		f.tick()
		f.wantQueued(0)
	}
}

// One rejected token does not delay other tokens. If the endpoint rejects all tokens, the queue
// sends requests less often.
func TestEndpointThatRejectsTokens(t *testing.T) {
	f := newFixture(t)
	f.provider.failFor("bad", errRejected)
	a := f.config("a")
	f.Queue(f.token(a, "bad"))
	for i := range 20 {
		f.Queue(f.token(a, fmt.Sprint("good-", i)))
	}
	f.tick()
	f.wantQueued(1)
	f.provider.take()
	f.ticks(60)
	f.wantRequests("a bad token, in an hour", 4, 8)

	f.provider.fail(errRejected)
	for i := range 51 {
		f.RevokeOrQueue(f.token(a, fmt.Sprint("token-", i)))
	}
	f.ticks(59)
	f.wantRequests("51 bad tokens, in an hour", 1, maxRejected+8)
}

// The queue waits for the time in the provider's Retry-After header.
func TestRetryAfter(t *testing.T) {
	f := newFixture(t)
	busy := *errDown
	busy.RetryAfter = 10 * time.Minute
	f.provider.fail(&busy)
	f.RevokeOrQueue(f.token(f.config("a"), "one"))
	f.provider.fail(nil)
	f.provider.take()
	f.advance(9 * time.Minute)
	f.tick()
	f.wantSent()
	f.ticks(1)
	f.wantSent("one")
}

func TestFailuresArePerConfig(t *testing.T) {
	f := newFixture(t)
	f.provider.failFor("of-a", errDown)
	a, b := f.config("a"), f.config("b")
	f.RevokeOrQueue(f.token(a, "of-a"))
	wantNone(t, f.RevokeOrQueue(f.token(b, "of-b")))
	f.wantQueued(1)
}

// During an outage, at most one request in 30 s tries the endpoint. A success ends the wait of all
// queued tokens.
func TestSuccessWakesTheQueue(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFixture(t)
		f.provider.fail(errDown)
		a := f.config("a")
		f.RevokeOrQueue(f.token(a, "one"))
		f.ticks(20)
		f.provider.take()
		for i := range 6 { // for a minute
			f.RevokeOrQueue(f.token(a, fmt.Sprint("more-", i)))
			f.advance(10 * time.Second)
		}
		f.wantRequests("in a minute", 2, 2)
		f.provider.fail(nil)
		wantNone(t, f.RevokeOrQueue(f.token(a, "two")))
		synctest.Wait() // for the drain that the success started
		f.wantQueued(0)
	})
}

func TestRequestsAskAWrongEndpointLessAndLess(t *testing.T) {
	f := newFixture(t)
	f.provider.fail(errWrong)
	a := f.config("a")
	for i := range 60 {
		f.RevokeOrQueue(f.token(a, fmt.Sprint("token-", i)))
		f.advance(time.Minute)
	}
	f.wantRequests("in an hour", 4, 8)
}

// Attempts that run at the same time and fail count once.
func TestConcurrentFailuresCountOnce(t *testing.T) {
	f := newFixture(t)
	a := f.config("a")
	began := f.opts.Clock()
	f.advance(time.Second)
	id := f.token(a, "one").endpointID()
	for range 15 {
		f.endpoints.fail(t.Context(), id, "1", began, errDown)
	}
	if got := f.endpoints.get(id).failures; got != 1 {
		t.Errorf("got %d failures, want 1", got)
	}
}

// An expired token leaves the queue even while the endpoint fails.
func TestTokenExpiresInTheQueue(t *testing.T) {
	f := newFixture(t)
	f.provider.fail(errDown)
	a := f.config("a")
	f.RevokeOrQueue(f.token(a, "one"))
	f.advance(2 * time.Hour)
	_ = f.send(t.Context(), a, f.token(a, "two"))
	f.provider.take()
	f.storage.take()
	f.tick()
	f.wantSent()
	f.wantQueued(0)
	if got := f.storage.take(); got > 2 { // list, and delete
		t.Errorf("got %d calls of the storage for an expired token, want at most 2", got)
	}
	if got := f.log.count("expired before it could be revoked"); got != 1 {
		t.Errorf("got %d log lines, want 1", got)
	}
}

// While a mount is being disabled or moved, it only queues tokens. After the move, it revokes them.
func TestTaintedMount(t *testing.T) {
	f := newFixture(t)
	a := f.config("a")
	f.tainted = true
	wantContains(t, f.RevokeOrQueue(f.token(a, "one"), f.token(a, "two")), "the mount is being disabled or moved")
	f.Drain()
	f.wantSent()
	f.wantQueued(2)
	f.restart()
	f.tainted = false
	f.tick()
	f.wantQueued(0)
	f.wantRequests("after the move", 2, 2)
}

func TestProviderThatPanics(t *testing.T) {
	f := newFixture(t)
	f.provider.set(func(context.Context, string) error { panic("hunter2") })
	wantContains(t, f.RevokeOrQueue(f.token(f.config("a"), "one")), "a panic, see the server's log")
	f.wantQueued(1)
	f.ticks(60)
	if got := f.log.count("recovered from a panic"); got < 2 || got > 10 {
		t.Errorf("got %d log lines of panics in an hour, want 2 to 10", got)
	}
	if got := f.log.count("hunter2"); got != 0 {
		t.Errorf("got %d times the value of the panic in the log, want 0", got)
	}
}
