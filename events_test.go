// SPDX-License-Identifier: MPL-2.0

package messaging

import (
	"context"
	"errors"
	"maps"
	"net/http"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hashicorp/vault/sdk/framework"
	"github.com/hashicorp/vault/sdk/logical"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// withEvents starts the mount again with a sender of events.
func (m *mount) withEvents(sender logical.EventSender) {
	m.t.Helper()
	m.events = sender
	m.start()
}

// wantEvent fails the test unless exactly one event arrives, with this operation and metadata.
func (m *mount) wantEvent(sender *logical.MockEventSender, operation string, metadata map[string]string) {
	m.t.Helper()
	var events []logical.MockEvent
	eventually(m.t, operation, func() bool {
		sender.Lock()
		defer sender.Unlock()
		events = append(events, sender.Events...)
		sender.Events = nil
		return len(events) > 0
	})
	if len(events) != 1 || string(events[0].Type) != "messaging/"+operation || events[0].Event.Id == "" {
		m.t.Fatalf("got the events %v, want one messaging/%s", events, operation)
	}
	got := map[string]string{}
	for key, value := range events[0].Event.Metadata.AsMap() {
		got[key] = value.(string)
		m.noSecret("an event", got[key], true)
	}
	metadata["operation"] = operation
	equal(m.t, "metadata", got, metadata)
}

func TestEvents(t *testing.T) {
	m, sender := newMount(t), logical.NewMockEventSender()
	m.withEvents(sender)

	written := map[string]string{"path": "config/sinch", "data_path": "config/sinch", "modified": "true", "name": "sinch"}
	m.write("config/sinch", m.sinch(nil)).want(t, http.StatusNoContent)
	m.wantEvent(sender, "config-write", maps.Clone(written))
	m.patch("config/sinch", fields{"min_ttl": "1m"}).want(t, http.StatusNoContent)
	m.wantEvent(sender, "config-write", maps.Clone(written))

	m.clock.advance(2 * time.Hour)
	m.token("sinch")
	m.wantEvent(sender, "creds-mint", map[string]string{
		"path": "creds/sinch", "data_path": "creds/sinch", "modified": "true", "name": "sinch", "provider": "sinch-india"})
	m.token("sinch")
	m.clock.advance(time.Minute)
	m.rotate("sinch").want(t, http.StatusOK)
	m.wantEvent(sender, "rotate", map[string]string{ // the cached read sent no event
		"path": "rotate/sinch", "data_path": "creds/sinch", "modified": "true", "name": "sinch", "provider": "sinch-india"})

	failed := func(kind string, wait time.Duration) map[string]string {
		return map[string]string{"path": "creds/sinch", "data_path": "status/sinch", "modified": "false", "name": "sinch", "provider": "sinch-india",
			"kind": kind, "failures": "1", "next_attempt": showTime(m.clock.wall().Add(wait))}
	}
	m.simulate(`{"faults": [{"kind": "status", "status": 429, "retry_after": "120"}]}`)
	m.clock.advance(2 * time.Hour)
	m.read("creds/sinch").want(t, http.StatusBadGateway)
	m.wantEvent(sender, "creds-mint-fail", failed("rate_limited", 2*time.Minute))
	m.read("creds/sinch").want(t, http.StatusBadGateway) // in the backoff, so without an event

	m.simulate(`{"faults": null}`)
	m.clock.advance(2 * time.Hour)
	m.token("sinch")
	m.wantEvent(sender, "creds-mint", map[string]string{
		"path": "creds/sinch", "data_path": "creds/sinch", "modified": "true", "name": "sinch", "provider": "sinch-india"})
	m.simulate(`{"faults": [{"kind": "refuse"}]}`)
	m.clock.advance(2 * time.Hour)
	m.read("creds/sinch").want(t, http.StatusBadRequest)
	m.wantEvent(sender, "creds-refused", failed("refused", time.Minute))

	m.delete("config/sinch").want(t, http.StatusNoContent)
	m.wantEvent(sender, "config-delete", map[string]string{"path": "config/sinch", "modified": "true", "name": "sinch"})
}

func TestNoEventOfARefusedWrite(t *testing.T) {
	m, sender := newMount(t), logical.NewMockEventSender()
	m.withEvents(sender)
	m.write("config/sinch", m.sinch(fields{"password": "wrong-hunter2"})).want(t, http.StatusBadRequest)
	m.write("config/sinch", m.sinch(fields{"min_ttl": "soon"})).want(t, http.StatusBadRequest)
	m.patch("config/none", fields{"min_ttl": "1m"}).want(t, http.StatusNotFound)
	m.storage.failOn("")
	m.delete("config/sinch").want(t, http.StatusInternalServerError)
	equal(t, "events", len(sender.Events), 0)
}

// The event of an unshared token has no data_path. Otherwise a subscriber that reads the data_path
// would cause another event.
func TestEventOfAnUnsharedTokenSaysNothingToRead(t *testing.T) {
	m, sender := newMount(t), logical.NewMockEventSender()
	m.withEvents(sender)
	m.write("config/a", m.oauth2(fields{"share": false, "verify_connection": false})).want(t, http.StatusNoContent)
	m.wantEvent(sender, "config-write", map[string]string{"path": "config/a", "data_path": "config/a", "modified": "true", "name": "a"})
	m.token("a")
	m.wantEvent(sender, "creds-mint", map[string]string{"path": "creds/a", "modified": "false", "name": "a", "provider": "oauth2"})
}

// senderFunc is a sender that calls a function.
type senderFunc func(ctx context.Context) error

func (f senderFunc) SendEvent(ctx context.Context, _ logical.EventType, _ *logical.EventData) error {
	return f(ctx)
}

func TestServerWithoutEvents(t *testing.T) {
	for what, err := range map[string]error{
		"none":          framework.ErrNoEvents,
		"too old":       status.Error(codes.Unimplemented, "unknown service pb.Events"),
		"not started":   status.Error(codes.Unknown, "event broker has not been started"),
		"none at setup": nil,
	} {
		t.Run(what, func(t *testing.T) {
			m := newMount(t)
			var sent atomic.Int32
			if err != nil {
				m.withEvents(senderFunc(func(context.Context) error { defer sent.Add(1); return err }))
			}
			m.write("config/sinch", m.sinch(fields{"verify_connection": false})).want(t, http.StatusNoContent)
			m.token("sinch")
			if err != nil {
				eventually(t, "both events are sent", func() bool { return sent.Load() == 2 })
			}
			m.wantNotLogged("event")
		})
	}
}

func TestEventThatCannotBeSent(t *testing.T) {
	m := newMount(t)
	m.withEvents(senderFunc(func(context.Context) error { return errors.New("the bus is full") }))
	m.write("config/sinch", m.sinch(nil)).want(t, http.StatusNoContent)
	m.wantLogged("an event could not be sent")
	m.wantLogged("the bus is full")
}

// Slow delivery of events does not delay reads, rotates or other writes.
func TestSlowSender(t *testing.T) {
	m := newMount(t)
	started, release := make(chan time.Duration, 10), make(chan struct{})
	defer close(release)
	m.write("config/sinch", m.sinch(nil)).want(t, http.StatusNoContent)
	m.withEvents(senderFunc(func(ctx context.Context) error {
		deadline, _ := ctx.Deadline()
		started <- time.Until(deadline)
		<-release
		return nil
	}))
	wantStarted := func() {
		t.Helper()
		if got := <-started; got <= 0 || got > 5*time.Second {
			t.Errorf("got %s to send an event, want at most 5s", got)
		}
	}
	m.clock.advance(2 * time.Hour)
	m.token("sinch")
	wantStarted()
	m.token("sinch")
	m.clock.advance(time.Minute)
	m.rotate("sinch").want(t, http.StatusOK)
	wantStarted()
	for range 2 {
		req := &logical.Request{Operation: logical.UpdateOperation, Path: "config/sinch", Storage: m.storage, Data: fields{"min_ttl": "1m"}}
		go func() { _, _ = m.HandleRequest(context.Background(), req) }()
		wantStarted()
	}
	m.token("sinch")
}
