// SPDX-License-Identifier: MPL-2.0

package messaging

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hashicorp/vault/sdk/framework"
	"github.com/hashicorp/vault/sdk/logical"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// withEvents sets the mount up anew with a sender of events.
func (m *mount) withEvents(sender logical.EventSender) {
	m.t.Helper()
	b, err := Factory(m.options)(m.t.Context(), &logical.BackendConfig{
		Logger: m.Backend.Logger(), System: m.system, StorageView: m.storage, EventsSender: sender})
	if err != nil {
		m.t.Fatal(err)
	}
	m.Backend = b
	m.t.Cleanup(func() { b.Cleanup(m.t.Context()) })
}

// wantEvent waits for the events since the last call, which must be this one.
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
		m.t.Fatalf("events %v, want a messaging/%s", events, operation)
	}
	got := map[string]string{}
	for key, value := range events[0].Event.Metadata.AsMap() {
		got[key] = value.(string)
		m.noSecret("an event", got[key], true)
	}
	metadata["operation"] = operation
	if !maps.Equal(got, metadata) {
		m.t.Errorf("%s: metadata\n%v, want\n%v", operation, got, metadata)
	}
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
	m.request(logical.UpdateOperation, "rotate/sinch", nil).want(t, http.StatusOK)
	m.wantEvent(sender, "rotate", map[string]string{ // and none for the cached read
		"path": "rotate/sinch", "data_path": "creds/sinch", "modified": "true", "name": "sinch", "provider": "sinch-india"})

	failed := func(kind string, wait time.Duration) map[string]string {
		return map[string]string{"path": "creds/sinch", "data_path": "status/sinch", "modified": "false", "name": "sinch", "provider": "sinch-india",
			"kind": kind, "failures": "1", "next_attempt": showTime(m.clock.wall().Add(wait))}
	}
	m.set(`{"faults": [{"kind": "status", "status": 429, "retry_after": "120"}]}`)
	m.clock.advance(2 * time.Hour)
	m.read("creds/sinch").want(t, http.StatusBadGateway)
	m.wantEvent(sender, "creds-mint-fail", failed("rate_limited", 2*time.Minute))
	m.read("creds/sinch").want(t, http.StatusBadGateway) // backs off: nothing happens

	m.set(`{"faults": null}`)
	m.clock.advance(2 * time.Hour)
	m.token("sinch")
	m.wantEvent(sender, "creds-mint", map[string]string{
		"path": "creds/sinch", "data_path": "creds/sinch", "modified": "true", "name": "sinch", "provider": "sinch-india"})
	m.set(`{"faults": [{"kind": "refuse"}]}`)
	m.clock.advance(2 * time.Hour)
	m.read("creds/sinch").want(t, http.StatusBadRequest)
	m.wantEvent(sender, "creds-refused", failed("refused", time.Minute))

	m.delete("config/sinch").want(t, http.StatusNoContent)
	m.wantEvent(sender, "config-delete", map[string]string{"path": "config/sinch", "modified": "true", "name": "sinch"})
}

// What has not happened is not told.
func TestNoEventOfARefusedWrite(t *testing.T) {
	m, sender := newMount(t), logical.NewMockEventSender()
	m.withEvents(sender)
	m.write("config/sinch", m.sinch(fields{"password": "wrong-hunter2"})).want(t, http.StatusBadRequest)
	m.write("config/sinch", m.sinch(fields{"min_ttl": "soon"})).want(t, http.StatusBadRequest)
	m.patch("config/none", fields{"min_ttl": "1m"}).want(t, http.StatusNotFound)
	m.storage.failing(func(op, _ string) error { return errStorage })
	m.delete("config/sinch").want(t, http.StatusInternalServerError)
	if len(sender.Events) > 0 {
		t.Errorf("sent %v", sender.Events)
	}
}

// A reader that took each mint of an unshared token for news, and read the token,
// would go round in circles.
func TestEventOfAnUnsharedTokenSaysNothingToRead(t *testing.T) {
	m, sender := newMount(t), logical.NewMockEventSender()
	m.withEvents(sender)
	m.write("config/own", m.oauth2(fields{"share": false, "verify_connection": false})).want(t, http.StatusNoContent)
	m.wantEvent(sender, "config-write", map[string]string{"path": "config/own", "data_path": "config/own", "modified": "true", "name": "own"})
	m.token("own")
	m.wantEvent(sender, "creds-mint", map[string]string{"path": "creds/own", "modified": "false", "name": "own", "provider": "oauth2"})
}

// senderFunc is a sender that does as it is told.
type senderFunc func(ctx context.Context) error

func (f senderFunc) SendEvent(ctx context.Context, _ logical.EventType, _ *logical.EventData) error {
	return f(ctx)
}

func TestServerWithoutEvents(t *testing.T) {
	for what, err := range map[string]error{
		"none set up":    framework.ErrNoEvents,
		"unknown to it":  status.Error(codes.Unimplemented, "unknown service pb.Events"),
		"not started":    status.Error(codes.Unknown, "event broker has not been started"),
		"none, at setup": nil,
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
				eventually(t, "both were sent", func() bool { return sent.Load() == 2 })
			}
			if log := m.log.String(); strings.Contains(log, "event") {
				t.Error("the log has it:", log)
			}
		})
	}
}

func TestEventThatCannotBeSent(t *testing.T) {
	m := newMount(t)
	m.withEvents(senderFunc(func(context.Context) error { return errors.New("the bus is full") }))
	m.write("config/sinch", m.sinch(nil)).want(t, http.StatusNoContent)
	if log := m.log.String(); !strings.Contains(log, "an event could not be sent") || !strings.Contains(log, "the bus is full") {
		t.Error("the log does not say so:", log)
	}
}

// A server that does not take events holds up no read, no rotate, and no other
// write of the config.
func TestSlowSender(t *testing.T) {
	m := newMount(t)
	asked, answer := make(chan string, 10), make(chan struct{})
	defer close(answer)
	m.write("config/sinch", m.sinch(nil)).want(t, http.StatusNoContent)
	m.withEvents(senderFunc(func(ctx context.Context) error {
		if deadline, ok := ctx.Deadline(); !ok || time.Until(deadline) > 5*time.Second {
			asked <- fmt.Sprint("it would wait until ", deadline)
		}
		asked <- ""
		<-answer
		return nil
	}))
	begun := func() {
		t.Helper()
		if problem := <-asked; problem != "" {
			t.Error(problem)
		}
	}
	m.clock.advance(2 * time.Hour)
	m.token("sinch")
	begun()
	m.token("sinch")
	m.clock.advance(time.Minute)
	m.request(logical.UpdateOperation, "rotate/sinch", nil).want(t, http.StatusOK)
	begun()
	for range 2 {
		req := &logical.Request{Operation: logical.UpdateOperation, Path: "config/sinch", Storage: m.storage, Data: fields{"min_ttl": "1m"}}
		go func() { _, _ = m.HandleRequest(context.Background(), req) }()
		begun()
	}
	m.token("sinch")
}
