// SPDX-License-Identifier: MPL-2.0

package revocation

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"vault-plugin-secrets-messaging/internal/account"
	"vault-plugin-secrets-messaging/internal/secret"
	"vault-plugin-secrets-messaging/internal/simulator"
	"vault-plugin-secrets-messaging/internal/token"
)

// If the config has a new endpoint, CA or client_id, an old token is not sent.
func TestTokenGoesOnlyToItsEndpoint(t *testing.T) {
	ca, err := simulator.NewCA(time.Now())
	if err != nil {
		t.Fatal(err)
	}
	for name, test := range map[string]struct {
		change func(*account.Config)
		sent   bool
	}{
		"nothing":        {func(*account.Config) {}, true},
		"password":       {func(c *account.Config) { c.Fields["password"] = "hunter2-new" }, true},
		"no secret":      {func(c *account.Config) { delete(c.Fields, "password") }, true},
		"scopes":         {func(c *account.Config) { c.Fields["scopes"] = "read" }, true},
		"ca_cert":        {func(c *account.Config) { c.CACert = string(ca.PEM) }, false},
		"revocation_url": {func(c *account.Config) { c.RevocationURL = "https://evil.example/revoke" }, false},
		"environment":    {func(c *account.Config) { c.Environment = "uat" }, false},
		"provider":       {func(c *account.Config) { c.Provider = "other" }, false},
		"client_id":      {func(c *account.Config) { c.Fields["client_id"] = "eve" }, false},
	} {
		t.Run(name, func(t *testing.T) {
			for _, queued := range []bool{false, true} {
				f := newFixture(t)
				a := f.config("a")
				rev, err := Decode(f.token(a, "leased").Stored())
				if err != nil {
					t.Fatal(err)
				}
				if queued {
					f.Queue(rev)
				}
				f.config("a", func(c *account.Config) { c.Revision = "2" }, test.change)
				if queued {
					f.tick()
				} else {
					warning := f.RevokeOrQueue(rev)
					if test.sent != (warning == "") {
						t.Errorf("queued=%t: got warning %q, want one only if the token is not sent", queued, warning)
					}
				}
				sent := append(f.provider.take(), f.other.take()...)
				if got := len(sent) == 1; got != test.sent {
					t.Errorf("queued=%t: got revocations of %q, want sent=%t", queued, sent, test.sent)
				}
				f.wantQueued(0)
				if got := f.log.count("left to expire"); (got > 0) == test.sent {
					t.Errorf("queued=%t: got %d log lines of a token that is left to expire, want some only if it is not sent", queued, got)
				}
			}
		})
	}
}

// Leases of an older plugin have no endpoint, so their tokens are never sent.
func TestLeaseOfAnOlderPlugin(t *testing.T) {
	f := newFixture(t)
	stored := f.token(f.config("a"), "leased").Stored()
	delete(stored, "endpoint")
	rev, err := Decode(stored)
	if err != nil {
		t.Fatal(err)
	}
	wantContains(t, f.RevokeOrQueue(rev), "left to expire")
	f.wantSent()
	f.wantQueued(0)
}

// Vault stores the token only if the config has a revocation endpoint. Logs never show the token.
func TestStoredForm(t *testing.T) {
	f := newFixture(t)
	for _, rev := range []Revocation{f.token(f.config("a"), "my-token"), f.token(f.config("b", func(c *account.Config) { c.RevocationURL = "" }), "my-token")} {
		encoded, err := json.Marshal(rev.Stored())
		if err != nil {
			t.Fatal(err)
		}
		if got := strings.Contains(string(encoded), "my-token"); got != (rev.URL != "") {
			t.Errorf("got %s, want the token only with a revocation endpoint", encoded)
		}
		if strings.Contains(string(encoded), "hunter2") {
			t.Errorf("got %s, which has a credential", encoded)
		}
		shown, err := json.Marshal(rev)
		if got := fmt.Sprintf("%s %v %+v %#v", shown, rev, rev, rev); err != nil || strings.Contains(got, "my-token") {
			t.Errorf("got %s, error %v, want no token", got, err)
		}
		decoded, err := Decode(rev.Stored())
		if err != nil || rev.URL != "" && decoded != rev {
			t.Errorf("got %+v, %v, want %+v", decoded, err, rev)
		}
	}
}

// RevokeOnce ignores the stored config, and uses the credentials of the given account.
func TestRevokeOnce(t *testing.T) {
	f := newFixture(t)
	a := f.config("a", func(c *account.Config) { c.Revision = "2" })
	f.config("a", func(c *account.Config) { c.RevocationURL = "https://old.example/revoke" })
	wantNone(t, f.RevokeOnce(a, f.token(a, "one"), f.token(a, "two")))
	f.wantSent("one", "two")
	f.provider.fail(errDown)
	warning := f.RevokeOnce(a, f.token(a, "three"))
	wantContains(t, warning, "connection refused")
	wantContains(t, warning, "left to expire")
	f.wantQueued(0)
}

// A warning names the field that is probably wrong.
func TestWrongEndpointIsReported(t *testing.T) {
	f := newFixture(t)
	f.provider.fail(errWrong)
	a := f.config("a")
	wantContains(t, f.RevokeOrQueue(f.token(a, "one"), f.token(a, "two")), "revocation_url is probably wrong")
	f.wantSent("one")
	f.wantQueued(2)
}

// A write of the config may have repaired what failed.
func TestNewRevisionIsTriedAtOnce(t *testing.T) {
	f := newFixture(t)
	f.provider.fail(&token.Error{Kind: token.Refused, Status: 401, Code: "invalid_client"})
	f.RevokeOrQueue(f.token(f.config("a"), "one"))
	f.RevokeOrQueue(f.token(f.config("a"), "two"))
	f.wantSent("one")
	f.provider.fail(nil)
	a := f.config("a", func(c *account.Config) { c.Revision = "2"; c.Fields["password"] = "hunter2-right" })
	wantNone(t, f.RevokeOrQueue(f.token(a, "three")))
}

func TestTokensThatNeedNoRevocation(t *testing.T) {
	f := newFixture(t)
	a := f.config("a", func(c *account.Config) { c.RevocationURL = "" })
	expired := f.token(f.config("b"), "expired")
	expired.Expires = f.opts.Clock().Wall.Unix()
	for _, rev := range []Revocation{f.token(a, "no-endpoint"), expired} {
		f.Queue(rev)
		if warning := f.RevokeOrQueue(rev) + f.RevokeOnce(a, rev); warning != "" {
			t.Errorf("%s: got warning %q, want none", rev.Config, warning)
		}
	}
	f.wantSent()
	f.wantQueued(0)
}

// Cleanup queues tokens after Close.
func TestQueueAfterClose(t *testing.T) {
	f := newFixture(t)
	rev := f.token(f.config("a"), "parked")
	f.Close()
	f.Queue(rev)
	f.wantQueued(1)
	f.restart()
	f.tick()
	f.wantSent("parked")
	f.wantQueued(0)
}

func TestCloseReportsTheQueue(t *testing.T) {
	f := newFixture(t)
	f.tainted = true
	f.RevokeOrQueue(f.token(f.config("a"), "one"))
	f.Close()
	if got := f.log.count("left to expire if the mount is being disabled"); got != 1 {
		t.Errorf("got %d log lines of the tokens that wait, want 1", got)
	}
}

// A token that storage refuses waits in memory.
func TestStorageThatRefusesTheQueue(t *testing.T) {
	f := newFixture(t)
	f.provider.fail(errDown)
	f.storage.failOn("put")
	wantContains(t, f.RevokeOrQueue(f.token(f.config("a"), "one")), errStorage.Error())
	f.storage.failOn("")
	f.provider.fail(nil)
	f.provider.take()
	f.ticks(1)
	f.wantSent("one")
	if f.Pending() {
		t.Error("got Pending after the token ended, want nothing to do")
	}
}

// The memory for tokens that storage refuses is bounded.
func TestStorageThatRefusesManyTokens(t *testing.T) {
	f := newFixture(t)
	f.storage.failOn("put")
	a := f.config("a")
	for i := range maxKept + 10 {
		f.Queue(f.token(a, fmt.Sprint(i)))
	}
	if got := f.Revoker.queue.len(); got != maxKept {
		t.Errorf("got %d tokens in memory, want %d", got, maxKept)
	}
}

func TestWaits(t *testing.T) {
	for failures, want := range map[int]time.Duration{0: 30 * time.Second, 1: 30 * time.Second, 2: time.Minute, 5: 8 * time.Minute, 6: 15 * time.Minute, 1000: 15 * time.Minute} {
		if got := waitAfter(failures); got != want {
			t.Errorf("%d failures: got %s, want %s", failures, got, want)
		}
	}
}

func TestKeysDiffer(t *testing.T) {
	seen := map[string]Revocation{}
	for _, rev := range []Revocation{
		{}, {Config: "a"}, {Endpoint: "a"}, {AccessToken: "a"}, {Deleting: true},
		{Config: "a", AccessToken: secret.String(`" "b`)}, {Config: `a" "b`, AccessToken: ""},
	} {
		key := keyOf(rev)
		if other, ok := seen[key]; ok {
			t.Errorf("got the same key for %+v and %+v", rev, other)
		}
		seen[key] = rev
	}
}
