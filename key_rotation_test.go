// SPDX-License-Identifier: MPL-2.0

package messaging

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/vault/sdk/helper/consts"
	"github.com/hashicorp/vault/sdk/logical"
)

func TestRotateKey(t *testing.T) {
	m, a, first, next := newRotatedMount(t)
	m.write("keys/a/rotate", nil).wantWarning(t, "the last rotation has not finished")
	differ(t, "next key", next, first)
	m.wantKeys("after the rotates", first, next, "")
	a.learn(m, "a", "current", "next")
	a.takeAsked()
	m.mintAfter(time.Minute)
	a.wantAsked("a minute after the rotate", first)
	m.mintAfter(5 * time.Minute)
	a.wantAsked("after the cache time", next)
	m.wantKeys("after the cache time", next, "", first)
	m.wantLogged("the provider accepts the next signing key")
	m.mintAfter(time.Minute)
	m.wantKeys("a minute after the adoption", next, "", first)
	m.mintAfter(5 * time.Minute)
	m.wantKeys("after the new key has worked again", next, "", "")
	equal(t, "failures_in_row", m.status("failures_in_row"), 0)
}

// If the provider does not know the next key, the engine tries the key every 5 minutes, and no
// read fails.
func TestRotateKeyThatIsNeverLearned(t *testing.T) {
	for _, code := range []string{"invalid_client", "invalid_grant"} {
		m, a, first, next := newRotatedMount(t)
		a.set(func() { a.invalid = code })
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
		equal(t, code+": attempts in 20 minutes", attempts, 4)
		m.wantKeys(code, first, next, "")
		differ(t, "refused_time of the next key", m.read("keys/a").data["next"].(map[string]any)["refused_time"], nil)
		m.read("status/a").wantData(t, fields{"failures_in_row": 0, "last_error": nil})
		a.learn(m, "a", "current", "next") // late
		m.mintAfter(5 * time.Minute)
		m.wantKeys(code+", after the provider learned of the key", next, "", first)
	}
}

// In an outage, a mint tries only one key.
func TestRotateKeyDuringAnOutage(t *testing.T) {
	m, a, _, _ := newRotatedMount(t)
	a.learn(m, "a", "current", "next")
	a.set(func() { a.down = true })
	a.takeAsked()
	m.clock.advance(6 * time.Minute)
	m.read("creds/a").want(t, http.StatusBadGateway)
	equal(t, "attempts", len(a.takeAsked()), 1)
	a.set(func() { a.down = false })
	m.mintAfter(time.Minute)
	differ(t, "next key within 5 minutes of the last attempt", m.keyID("next"), "")
	m.mintAfter(5 * time.Minute)
	equal(t, "next key after 5 minutes", m.keyID("next"), "")
}

// A provider with several nodes may accept the next key at first and refuse it later.
func TestRotateKeyIsTakenBack(t *testing.T) {
	m, a, first, next := newRotatedMount(t)
	a.learn(m, "a", "current", "next")
	m.mintAfter(6 * time.Minute)
	m.wantKeys("once the provider accepts the next key", next, "", first)
	a.learn(m, "a", "previous")
	m.mintAfter(time.Minute)
	m.wantKeys("once the provider refuses the new key", first, next, "")
	m.wantLogged("the provider no longer accepts the new signing key")
	m.mintAfter(time.Minute)
	a.learn(m, "a", "current", "next")
	m.mintAfter(5 * time.Minute)
	m.wantKeys("once the provider accepts the new key again", next, "", first)
}

// No read fails if an operator activates a key too early.
func TestKeyIsActivatedTooEarly(t *testing.T) {
	m, a, first, next := newRotatedMount(t)
	a.learn(m, "a", "current")
	for range 3 {
		m.write("keys/a/activate", nil).want(t, http.StatusOK)
		a.takeAsked()
		m.mintAfter(time.Minute)
		a.wantAsked("after an activation", next, first)
		equal(t, "current key", m.keyID("current"), first)
	}
	equal(t, "failures_in_row", m.status("failures_in_row"), 0)
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
			m.read("creds/a").succeeded(t, fmt.Sprintf("provider knows %v, kill after %s", learned, what))
			m.settled()
		}
		step("the key was made")
		m.write("keys/a/rotate", nil).want(t, http.StatusOK)
		a.learn(m, "a", learned...)
		step("the next key was made")
		m.clock.advance(5 * time.Minute)
		// The process dies before the engine can store that the provider accepted the next key.
		m.storage.failOn("put key/a")
		m.read("creds/a").want(t, http.StatusOK)
		m.storage.failWith(nil)
		step("the next key was tried, and the adoption was not stored")
		m.clock.advance(5 * time.Minute)
		step("the adoption")
		m.clock.advance(6 * time.Minute)
		step("the previous key was dropped")
		equal(t, fmt.Sprintf("provider knows %v: the next key is adopted", learned), m.keyID("next") == "", len(learned) == 2)
	}
}

// Storage faults delay a rotation, and fail no read.
func TestKeyRotationWithStorageFaults(t *testing.T) {
	m, a := newKeyMount(t, nil)
	m.token("a")
	first := m.keyID("current")
	for _, fault := range []string{"put key/a", "get key/a"} {
		m.storage.failOn(fault)
		m.write("keys/a/rotate", nil).want(t, http.StatusInternalServerError)
	}
	m.clock.advance(time.Minute)
	m.token("a")
	m.storage.failWith(nil)
	m.write("keys/a/rotate", nil).want(t, http.StatusOK)
	next := m.keyID("next")
	a.learn(m, "a", "current", "next")
	for _, fault := range []string{"put key/a", "get key/a"} {
		m.storage.failOn(fault)
		m.clock.advance(6 * time.Minute)
		m.token("a")
		m.wantLogged("the change of the signing key could not be stored")
		m.clock.advance(time.Minute)
		m.token("a")
	}
	a.takeAsked()
	m.storage.failWith(nil)
	m.mintAfter(time.Minute)
	a.wantAsked("once storage works again", next)
	m.wantKeys("once storage works again", next, "", first)
	// The provider no longer knows the old key. The engine already uses the new key.
	a.learn(m, "a", "current")
	m.storage.failOn("put key/a")
	m.clock.advance(6 * time.Minute)
	m.token("a")
	m.storage.failWith(nil)
	m.mintAfter(time.Minute)
	m.wantKeys("at the first mint that can store the end of the old key", next, "", "")
}

// A performance secondary cannot write, so it remembers in memory which key works.
func TestKeyRotationOnASecondary(t *testing.T) {
	m, a, first, next := newRotatedMount(t)
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
	a.wantAsked("on the secondary", next)
	equal(t, "current key on the secondary", m.keyID("current"), next)
	equal(t, "the rotate on the secondary is forwarded", m.write("keys/a/rotate", nil).forwarded, true)
	// The primary adopts the key, and the secondary learns of it.
	m.storage.failWith(nil)
	m.mintAfter(time.Minute)
	m.InvalidateKey(t.Context(), "key/a")
	m.mintAfter(time.Minute)
	m.wantKeys("once the primary has adopted the key", next, "", first)
}
