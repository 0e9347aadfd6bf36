// SPDX-License-Identifier: MPL-2.0

package messaging

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/vault/sdk/logical"

	"vault-plugin-secrets-messaging/internal/secret"
	"vault-plugin-secrets-messaging/internal/token"
	"vault-plugin-secrets-messaging/internal/tokencache"
	"vault-plugin-secrets-messaging/providers"
)

func TestRespond(t *testing.T) {
	m := newMount(t)
	r := m.Backend.(*backend).responder
	soon := m.clock.wall().Add(90 * time.Second)
	for _, test := range []struct {
		err    error
		status int
		text   string
	}{
		{userError("no such thing"), 400, "no such thing"},
		{fmt.Errorf("wrapped: %w", userError("no such thing")), 400, "wrapped: no such thing"},
		{&providers.FieldError{Field: "f", Problem: "is bad"}, 400, "f: is bad"},
		{logical.CodedError(404, "not here"), 404, "not here"},
		{fmt.Errorf("wrapped: %w", logical.CodedError(404, "not here")), 404, "not here"},
		{&tokencache.Failure{Kind: token.Refused, Err: errors.New("no"), Next: soon}, 400, "no; the next attempt is at the first read after 2026-11-22T08:01:30Z (in 1m30s)"},
		{&tokencache.Failure{Kind: token.Malformed, Err: errors.New("no"), Next: soon}, 502, "no; the next attempt is at the first read after 2026-11-22T08:01:30Z (in 1m30s)"},
		{&tokencache.Failure{Kind: token.RateLimited, Err: errors.New("no"), Next: soon.Add(-time.Hour)}, 502, "(in 0s)"},
		{&tokencache.Failure{Err: &secret.PanicError{}, Next: soon}, 500, "internal error (a panic, see the server's log)"},
		{fmt.Errorf("wrapped: %w", &token.Error{Kind: token.Refused}), 400, "wrapped: credentials refused"},
		{&token.Error{Kind: token.Unavailable}, 502, "unavailable"},
		{&token.Error{Kind: token.Malformed}, 502, "malformed"},
		{tokencache.ErrClosed, 503, "the mount is being closed: try again"},
		{context.Canceled, 503, "context canceled: the request ended before its answer was ready"},
		{fmt.Errorf("reading: %w", context.DeadlineExceeded), 503, "deadline exceeded"},
		{errors.New("anything else"), 500, "anything else"},
	} {
		req := &logical.Request{Operation: logical.ReadOperation, Path: "creds/a"}
		resp, err := r.respond(req, test.err)
		m.answer(req, resp, err).want(t, test.status, test.text)
	}
	for _, err := range []error{logical.ErrReadOnly, fmt.Errorf("storing config/a: %w", logical.ErrReadOnly), errors.New("rpc error: " + logical.ErrReadOnly.Error())} {
		if _, got := r.respond(&logical.Request{}, err); got != logical.ErrReadOnly {
			t.Errorf("respond(%v): got %v, want a bare %v", err, got, logical.ErrReadOnly)
		}
	}
}

const panicText = "internal error (a panic, see the server's log)"

// If a provider panics, only the requests that need the provider fail. No answer and no log line
// shows the value of the panic.
func TestPanicOfProvider(t *testing.T) {
	f := newFake(panics)
	m := newMount(t, f)
	n := m.neighbor()

	m.write("config/a", fakeConfig).want(t, http.StatusInternalServerError, panicText)
	m.wantStored()
	m.wantLoggedPanics(1)

	m.write("config/a", with(fields{"verify_connection": false}, fakeConfig)).want(t, http.StatusNoContent)
	for range 10 {
		m.read("creds/a").want(t, http.StatusInternalServerError, panicText)
	}
	m.wantLoggedPanics(2) // one for the mint, not one for each read
	m.rotate("a").want(t, http.StatusInternalServerError, panicText)
	m.wantLoggedPanics(3)
	m.read("status/a").want(t, http.StatusOK)

	f.set(minting("fake-token", time.Hour))
	n.write("config/a", fakeConfig).want(t, http.StatusNoContent)
	n.token("a")
	m.clock.advance(time.Minute)
	m.token("a")

	f.set(panics)
	m.clock.advance(55 * time.Minute)
	m.token("a") // starts a refresh, which panics
	eventually(t, "the refresh fails", func() bool { return m.status("failures_in_row") == 1 })
	m.wantLoggedPanics(4)
	m.read("creds/a").wantWarning(t, panicText)
	n.token("a")
}

// wantLoggedPanics waits until the log has this number of panics, with type and stack.
func (m *mount) wantLoggedPanics(want int) {
	m.t.Helper()
	logged := func() int { return strings.Count(m.log.String(), "recovered from a panic") }
	eventually(m.t, fmt.Sprint(want, " panics in the log"), func() bool { return logged() >= want })
	equal(m.t, "panics in the log", logged(), want)
	m.wantLogged("type=string")
	m.wantLogged("_test.go") // in the stack
}

func TestPanicElsewhere(t *testing.T) {
	m := newSinchMount(t, nil)
	n := m.restart()
	for _, do := range []func() answer{
		func() answer { return n.read("config/a") },
		func() answer { return n.list("config/") },
		func() answer { return n.read("creds/a") },
		func() answer { return n.rotate("a") },
		func() answer { return n.read("status/a") },
		func() answer { return n.write("config/a", fields{"min_ttl": 5}) },
		func() answer { return n.patch("config/a", fields{"min_ttl": 5}) },
		func() answer { return n.delete("config/a") },
	} {
		m.storage.failWith(func(string, string) error { panic("the password is hunter2") })
		do().want(t, http.StatusInternalServerError, panicText)
		m.storage.failWith(nil)
	}
	n.wantLoggedPanics(8)
	m.token("a")
	n.token("a") // no panic left a lock locked
	n.write("config/a", fields{"min_ttl": 5}).want(t, http.StatusNoContent)
}

// If storage panics while the engine saves a token, only the read that waits for the token may
// fail.
func TestPanicOfStorageDuringAMint(t *testing.T) {
	m := newSinchMount(t, fields{"verify_connection": false})
	m.storage.failWith(func(op, _ string) error {
		if op == "put" {
			panic("the password is hunter2")
		}
		return nil
	})
	if a := m.read("creds/a"); a.status != http.StatusOK {
		a.want(t, http.StatusInternalServerError, panicText)
	}
	m.storage.failWith(nil)
	m.clock.advance(time.Minute)
	m.token("a")
}
