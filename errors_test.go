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

// Errors become answers in one place. Coded ones stay bare, since Vault makes a
// 500 of one that is wrapped.
func TestAnswer(t *testing.T) {
	m := newMount(t)
	b := m.Backend.(*backend)
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
		{&token.Error{Kind: token.Unavailable}, 502, "unavailable"},
		{&token.Error{Kind: token.Malformed}, 502, "malformed"},
		{tokencache.ErrClosed, 503, "the mount is being closed: try again"},
		{context.Canceled, 503, "context canceled: the request ended before its answer was ready"},
		{fmt.Errorf("reading: %w", context.DeadlineExceeded), 503, "deadline exceeded"},
		{errors.New("anything else"), 500, "anything else"},
	} {
		req := &logical.Request{Operation: logical.ReadOperation, Path: "creds/a"}
		resp, err := b.responder.respond(req, test.err)
		m.answer(req, resp, err).want(t, test.status, test.text)
	}
	for _, err := range []error{logical.ErrReadOnly, fmt.Errorf("storing config/a: %w", logical.ErrReadOnly), errors.New("rpc error: " + logical.ErrReadOnly.Error())} {
		if _, got := b.responder.respond(&logical.Request{}, err); got != logical.ErrReadOnly {
			t.Errorf("%v became %v, which Vault does not know", err, got)
		}
	}
}

// panics is a mint that panics with something secret.
func panics(context.Context) (token.Token, error) { panic("the password is hunter2") }

// A provider that panics is an error for those who asked, said nowhere with what
// it panicked with, and nothing to a neighbour.
func TestPanicOfProvider(t *testing.T) {
	f := newFake(lives("fake-token", time.Hour))
	m := newMount(t, f)
	n := m.again()
	n.storage = &storage{}
	n.start()
	const says = "internal error (a panic, see the server's log)"
	breaks := panics
	good := lives("fake-token", time.Hour)

	f.mint.Store(&[]func(context.Context) (token.Token, error){breaks}[0])
	m.write("config/a", fakeConfig).want(t, http.StatusInternalServerError, says)
	if keys := m.storage.keys(); len(keys) > 0 {
		t.Errorf("stored %v", keys)
	}
	wantLoggedPanics(t, m, 1)

	m.write("config/a", also(fields{"verify_connection": false}, fakeConfig)).want(t, http.StatusNoContent)
	for range 10 {
		m.read("creds/a").want(t, http.StatusInternalServerError, says)
	}
	wantLoggedPanics(t, m, 2) // once a mint, not once a read
	m.rotate("a").want(t, http.StatusInternalServerError, says)
	wantLoggedPanics(t, m, 3)
	m.read("status/a").want(t, http.StatusOK)

	f.mint.Store(&good)
	n.write("config/a", fakeConfig).want(t, http.StatusNoContent)
	n.token("a")
	m.clock.advance(time.Minute)
	m.token("a")

	f.mint.Store(&[]func(context.Context) (token.Token, error){breaks}[0])
	m.clock.advance(55 * time.Minute)
	m.token("a") // begins a refresh, which panics
	eventually(t, "the refresh ends", func() bool { return m.read("status/a").data["failures_in_row"] == 1 })
	wantLoggedPanics(t, m, 4)
	a := m.read("creds/a")
	if len(a.warnings) != 1 || !strings.Contains(a.warnings[0], says) {
		t.Errorf("%v", a.warnings)
	}
	n.token("a")
}

// wantLoggedPanics wants so many panics in the log, each with where it was.
func wantLoggedPanics(t *testing.T, m *mount, n int) {
	t.Helper()
	eventually(t, fmt.Sprintf("%d panics in the log", n), func() bool { return strings.Count(m.log.String(), "recovered from a panic") >= n })
	if got := strings.Count(m.log.String(), "recovered from a panic"); got != n {
		t.Errorf("%d panics in the log, want %d", got, n)
	}
	if !strings.Contains(m.log.String(), "type=string") || !strings.Contains(m.log.String(), "errors_test.go") {
		t.Error("the log does not say where")
	}
}

// A handler that panics, and a storage that does, each are a 500.
func TestPanicElsewhere(t *testing.T) {
	m := newMount(t)
	m.write("config/a", m.sinch(nil)).want(t, http.StatusNoContent)
	n := m.again()
	panicking := func(string, string) error { panic("the password is hunter2") }
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
		m.storage.failing(panicking)
		do().want(t, http.StatusInternalServerError, "internal error (a panic, see the server's log)")
		m.storage.failing(nil)
	}
	wantLoggedPanics(t, n, 8)
	m.token("a")
	n.token("a") // no lock is left behind
	n.write("config/a", fields{"min_ttl": 5}).want(t, http.StatusNoContent)
}

// A token that cannot be stored because the storage panics is served nonetheless
// or refused, but the process lives, and so does the next read.
func TestPanicOfStorageInFlight(t *testing.T) {
	m := newMount(t)
	m.write("config/a", m.sinch(fields{"verify_connection": false})).want(t, http.StatusNoContent)
	m.storage.failing(func(op, key string) error {
		if op == "put" {
			panic("the password is hunter2")
		}
		return nil
	})
	if a := m.read("creds/a"); a.status != http.StatusOK {
		a.want(t, http.StatusInternalServerError, "internal error (a panic, see the server's log)")
	}
	m.storage.failing(nil)
	m.clock.advance(time.Minute)
	m.token("a")
}
