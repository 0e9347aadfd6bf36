// SPDX-License-Identifier: MPL-2.0

package messaging

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/vault/sdk/helper/consts"
	"github.com/hashicorp/vault/sdk/logical"
)

func TestRotateKey(t *testing.T) {
	m, a := newKeyMount(t, nil)
	m.token("a")
	first := m.keyID("current")
	m.write("keys/a/rotate", nil).want(t, http.StatusOK)
	next := m.keyID("next")
	again := m.write("keys/a/rotate", nil)
	again.wantWarning(t, "a rotation is under way")
	if next == "" || next == first || m.keyID("next") != next || len(m.jwks("a")) != 2 {
		t.Fatalf("got the next key %q beside %q, want another one in the JWK Set too", next, first)
	}
	a.learn(m, "a", "current", "next")
	a.takeAsked()
	m.mintAfter(time.Minute)
	if got := a.takeAsked(); len(got) != 1 || got[0] != first {
		t.Errorf("a minute after the rotate: got the keys %v, want the current key alone", got)
	}
	m.mintAfter(5 * time.Minute)
	if got := a.takeAsked(); len(got) != 1 || got[0] != next {
		t.Errorf("after the cache time: got the keys %v, want the next key alone", got)
	}
	if m.keyID("current") != next || m.keyID("previous") != first || m.keyID("next") != "" || len(m.jwks("a")) != 2 {
		t.Errorf("got %v, want the next key adopted and the other one kept", m.read("keys/a").data)
	}
	m.wantLogged("the provider accepts the next signing key")
	m.mintAfter(time.Minute)
	if m.keyID("previous") != first {
		t.Error("a minute after the adoption: got no previous key, want it kept")
	}
	m.mintAfter(5 * time.Minute)
	if m.keyID("previous") != "" || len(m.jwks("a")) != 1 {
		t.Errorf("after the new key has worked again: got %v, want the previous key dropped", m.read("keys/a").data)
	}
	if got := m.status("failures_in_row"); got != 0 {
		t.Errorf("got %v failures, want none", got)
	}
}

// If a provider never learns the next key, the engine tries that key once in 5 minutes, and no
// read fails.
func TestRotateKeyThatIsNeverLearned(t *testing.T) {
	for _, code := range []string{"invalid_client", "invalid_grant"} {
		m, a := newKeyMount(t, nil)
		a.set(func() { a.invalid = code })
		first := m.keyID("current")
		m.write("keys/a/rotate", nil).want(t, http.StatusOK)
		next := m.keyID("next")
		m.clock.advance(5 * time.Minute)
		attempts := 0
		for range 20 {
			m.mintAfter(time.Minute)
		}
		for _, id := range a.takeAsked() {
			if id == next {
				attempts++
			}
		}
		if attempts != 4 || m.keyID("current") != first || m.keyID("next") != next {
			t.Errorf("%s: got %d attempts in 20 minutes, and %v; want 4, and the current key in use", code, attempts, m.read("keys/a").data)
		}
		if got := m.read("keys/a").data["next"].(map[string]any)["refused_time"]; got == nil {
			t.Error("got a refused key without refused_time, want the time")
		}
		if m.status("failures_in_row") != 0 || m.status("last_error") != nil {
			t.Errorf("got %v, want no failure", m.read("status/a").data)
		}
		a.learn(m, "a", "current", "next") // late
		m.mintAfter(5 * time.Minute)
		if m.keyID("current") != next {
			t.Errorf("%s: got %v after the provider learned of the key, want the key adopted", code, m.read("keys/a").data)
		}
	}
}

// If a mint with the next key fails for another reason, the engine counts the failure and does
// not blame the key.
func TestRotateKeyDuringAnOutage(t *testing.T) {
	m, a := newKeyMount(t, nil)
	m.token("a")
	m.write("keys/a/rotate", nil).want(t, http.StatusOK)
	a.learn(m, "a", "current", "next")
	a.set(func() { a.down = true })
	a.takeAsked()
	m.clock.advance(6 * time.Minute)
	m.read("creds/a").want(t, http.StatusBadGateway)
	if got := a.takeAsked(); len(got) != 1 {
		t.Errorf("got the keys %v, want a single attempt", got)
	}
	a.set(func() { a.down = false })
	m.mintAfter(time.Minute)
	if m.keyID("next") == "" {
		t.Error("got the next key adopted within 5 minutes of the last attempt, want it pending")
	}
	m.mintAfter(5 * time.Minute)
	if m.keyID("next") != "" {
		t.Error("got the next key pending, want it adopted")
	}
}

// A provider with several nodes may first accept the next key and then refuse it.
func TestRotateKeyIsTakenBack(t *testing.T) {
	m, a := newKeyMount(t, nil)
	first := m.keyID("current")
	m.write("keys/a/rotate", nil).want(t, http.StatusOK)
	next := m.keyID("next")
	a.learn(m, "a", "current", "next")
	m.mintAfter(6 * time.Minute)
	if m.keyID("current") != next {
		t.Fatal("got the next key pending, want it adopted")
	}
	a.learn(m, "a", "previous")
	m.mintAfter(time.Minute)
	if m.keyID("current") != first || m.keyID("next") != next {
		t.Errorf("got %v, want the previous key in use again", m.read("keys/a").data)
	}
	m.wantLogged("the provider no longer accepts the new signing key")
	m.mintAfter(time.Minute)
	a.learn(m, "a", "current", "next")
	m.mintAfter(5 * time.Minute)
	if m.keyID("current") != next {
		t.Errorf("got %v, want the key adopted once it works again", m.read("keys/a").data)
	}
}

// An activation before the provider knows the key fails no read, even if it is repeated within minutes.
func TestKeyIsActivatedTooEarly(t *testing.T) {
	m, a := newKeyMount(t, nil)
	m.token("a")
	first := m.keyID("current")
	m.write("keys/a/rotate", nil).want(t, http.StatusOK)
	next := m.keyID("next")
	a.learn(m, "a", "current")
	for range 3 {
		m.write("keys/a/activate", nil).want(t, http.StatusOK)
		a.takeAsked()
		m.mintAfter(time.Minute)
		if got := a.takeAsked(); len(got) != 2 || got[0] != next || got[1] != first || m.keyID("current") != first {
			t.Errorf("got the keys %v, and %v; want the next key tried, and the first one in use again", got, m.read("keys/a").data)
		}
	}
	if got := m.status("failures_in_row"); got != 0 {
		t.Errorf("got %v failures, want none", got)
	}
}

// If the process is killed at any moment, storage still has a key that works.
func TestKeyRotationOutlivesKills(t *testing.T) {
	for _, learned := range [][]string{{"current"}, {"current", "next"}} {
		m, a := newKeyMount(t, nil)
		m.token("a")
		step := func(what string) {
			t.Helper()
			m = m.restart()
			m.clock.advance(time.Minute)
			if r := m.read("creds/a"); r.status != http.StatusOK {
				t.Errorf("provider knows %v, kill after %s: got %d %s, want a token", learned, what, r.status, r.text)
			}
			m.settled()
		}
		step("the key was made")
		m.write("keys/a/rotate", nil).want(t, http.StatusOK)
		a.learn(m, "a", learned...)
		step("the next key was made")
		m.clock.advance(5 * time.Minute)
		// Storage adopts the new key, but the process dies before the write returns.
		m.storage.failWith(func(op, key string) error {
			if op == "put" && key == "key/a" {
				return errStorage
			}
			return nil
		})
		m.read("creds/a").want(t, http.StatusOK)
		m.storage.failWith(nil)
		step("the next key was tried, and the adoption was not stored")
		m.clock.advance(5 * time.Minute)
		step("the adoption")
		m.clock.advance(6 * time.Minute)
		step("the previous key was dropped")
		if adopted := m.keyID("next") == ""; adopted != (len(learned) == 2) {
			t.Errorf("provider knows %v: got the next key adopted: %t", learned, adopted)
		}
	}
}

// Storage faults delay a rotation, and fail no read.
func TestKeyRotationWithStorageFaults(t *testing.T) {
	m, a := newKeyMount(t, nil)
	m.token("a")
	fail := func(failing ...string) {
		m.storage.failWith(func(op, key string) error {
			for _, f := range failing {
				if op+" "+key == f {
					return errStorage
				}
			}
			return nil
		})
	}
	fail("put key/a")
	m.write("keys/a/rotate", nil).want(t, http.StatusInternalServerError)
	fail("get key/a")
	m.write("keys/a/rotate", nil).want(t, http.StatusInternalServerError)
	m.clock.advance(time.Minute)
	m.token("a")
	fail()
	m.write("keys/a/rotate", nil).want(t, http.StatusOK)
	next := m.keyID("next")
	a.learn(m, "a", "current", "next")
	for _, fault := range []string{"put key/a", "get key/a"} {
		fail(fault)
		m.clock.advance(6 * time.Minute)
		m.token("a")
		eventually(t, "the failure is logged", func() bool {
			return strings.Contains(m.log.String(), "the change of the signing key could not be stored")
		})
		m.clock.advance(time.Minute)
		m.token("a")
	}
	a.takeAsked()
	fail()
	m.mintAfter(time.Minute)
	if asked := a.takeAsked(); len(asked) != 1 || asked[0] != next || m.keyID("current") != next {
		t.Errorf("got the keys %v and %v, want the accepted key in use and stored", asked, m.read("keys/a").data)
	}
	// When the provider no longer knows the old key, mints with the new key continue.
	a.learn(m, "a", "current")
	fail("put key/a")
	m.clock.advance(6 * time.Minute)
	m.token("a")
	fail()
	m.mintAfter(time.Minute)
	if m.keyID("previous") != "" {
		t.Error("got the previous key, want it dropped at the first mint that can store that")
	}
}

// A performance secondary cannot store that a key was adopted, so it remembers this in memory.
func TestKeyRotationOnASecondary(t *testing.T) {
	m, a := newKeyMount(t, nil)
	m.token("a")
	m.write("keys/a/rotate", nil).want(t, http.StatusOK)
	next := m.keyID("next")
	a.learn(m, "a", "current", "next")
	m.system.set(func(s *system) { s.state = consts.ReplicationPerformanceSecondary })
	m.storage.failWith(func(op, key string) error {
		if op != "get" && op != "list" && !strings.HasPrefix(key, "token/") {
			return logical.ErrReadOnly
		}
		return nil
	})
	m.clock.advance(6 * time.Minute)
	m.token("a")
	a.learn(m, "a", "current")
	a.takeAsked()
	m.clock.advance(time.Minute)
	m.token("a")
	if asked := a.takeAsked(); len(asked) != 1 || asked[0] != next || m.keyID("current") != next {
		t.Errorf("got the keys %v, want the accepted key alone", asked)
	}
	if !m.write("keys/a/rotate", nil).forwarded {
		t.Error("got a rotate on a secondary that is not forwarded, want it forwarded")
	}
	// The primary adopts the key, and the secondary learns of it.
	m.storage.failWith(nil)
	m.mintAfter(time.Minute)
	m.Backend.(*backend).invalidate(t.Context(), "key/a")
	m.mintAfter(time.Minute)
	if m.keyID("current") != next || m.keyID("previous") == "" {
		t.Errorf("got %v, want the key adopted", m.read("keys/a").data)
	}
}
