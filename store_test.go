// SPDX-License-Identifier: MPL-2.0

package messaging

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"
	"time"
)

// A stored config that cannot be used is a 500 that names it, quotes nothing of
// it, and is neither "does not exist" nor overwritten; deleting it helps.
func TestStoredConfigOfNoUse(t *testing.T) {
	const good = `{"version":1,"revision":"r","provider":"sinch-india","fields":{"username":"acme","password":"correct-horse"}}`
	for name, test := range map[string]struct{ stored, problem string }{
		"empty":            {``, "it is damaged"},
		"truncated":        {good[:len(good)-10], "it is damaged"},
		"garbage":          {"\x00\xffhunter2", "it is damaged"},
		"null":             {`null`, "it is damaged"},
		"a list":           {`["hunter2"]`, "it is damaged"},
		"no version":       {strings.Replace(good, `"version":1,`, "", 1), "it is damaged"},
		"version 0":        {strings.Replace(good, `"version":1`, `"version":0`, 1), "it is damaged"},
		"version as text":  {strings.Replace(good, `"version":1`, `"version":"hunter2"`, 1), "it is damaged"},
		"newer":            {strings.Replace(good, `"version":1`, `"version":2`, 1), "a newer plugin wrote it (record version 2, this plugin knows 1); upgrade the plugin"},
		"newer, other":     {`{"version":9,"fields":["hunter2"]}`, "a newer plugin wrote it (record version 9, this plugin knows 1); upgrade the plugin"},
		"fields of a kind": {strings.Replace(good, `"acme"`, `{"hunter2":1}`, 1), "it is damaged"},
		"no provider":      {strings.Replace(good, `"provider":"sinch-india",`, "", 1), "it is damaged"},
		"no revision":      {strings.Replace(good, `"revision":"r",`, "", 1), "it is damaged"},
		"unknown provider": {strings.Replace(good, "sinch-india", "carrier-pigeon", 1), `this plugin has no provider "carrier-pigeon"`},
	} {
		t.Run(name, func(t *testing.T) {
			m := newMount(t)
			m.storage.put("config/a", test.stored)
			problem := "the stored config/a cannot be used: " + test.problem
			m.read("config/a").want(t, http.StatusInternalServerError, problem)
			m.read("creds/a").want(t, http.StatusInternalServerError, problem)
			m.read("status/a").want(t, http.StatusInternalServerError, problem)
			m.rotate("a").want(t, http.StatusInternalServerError, problem)
			m.write("config/a", m.sinch(nil)).want(t, http.StatusInternalServerError, problem)
			m.patch("config/a", fields{"min_ttl": 5}).want(t, http.StatusInternalServerError, problem)
			if got := m.storage.snapshot()["config/a"]; got != test.stored {
				t.Errorf("stored: %s", got)
			}
			m.list("config/").want(t, http.StatusOK)
			m.delete("config/a").want(t, http.StatusNoContent)
			m.write("config/a", m.sinch(nil)).want(t, http.StatusNoContent)
			m.token("a")
		})
	}
}

// A config that was good once, but has a CA certificate that is not one any more,
// is not the reader's fault.
func TestStoredConfigWithBadCA(t *testing.T) {
	m := newMount(t)
	m.storage.put("config/a", `{"version":1,"revision":"r","provider":"sinch-india","ca_cert":"x","fields":{"username":"acme","password":"correct-horse"}}`)
	m.read("creds/a").want(t, http.StatusInternalServerError, "the stored config/a cannot be used: ca_cert: must contain at least one PEM certificate")
}

// A stored token that cannot be used costs a login, and no more.
func TestStoredTokenOfNoUse(t *testing.T) {
	for name, spoil := range map[string]func(good string) string{
		"empty":          func(string) string { return "" },
		"truncated":      func(good string) string { return good[:len(good)/2] },
		"garbage":        func(string) string { return "\x00\xff" },
		"newer":          func(good string) string { return strings.Replace(good, `"version":1`, `"version":2`, 1) },
		"no version":     func(good string) string { return strings.Replace(good, `"version":1,`, "", 1) },
		"other revision": func(good string) string { return strings.Replace(good, `"revision":"`, `"revision":"x`, 1) },
		"no token":       func(good string) string { return strings.Replace(good, `"access_token":`, `"was_access_token":`, 1) },
		"no time":        func(good string) string { return strings.Replace(good, `"sent":`, `"was_sent":`, 1) },
		"no lifetime":    func(good string) string { return strings.Replace(good, `"lifetime_ms":3600000`, `"lifetime_ms":0`, 1) },
		"negative":       func(good string) string { return strings.Replace(good, `"lifetime_ms":3600000`, `"lifetime_ms":-1`, 1) },
		"overflow": func(good string) string {
			return strings.Replace(good, `"lifetime_ms":3600000`, `"lifetime_ms":9223372036854775807`, 1)
		},
		"refresh overflow": func(good string) string {
			return strings.Replace(good, `"refresh_lifetime_ms":1800000`, `"refresh_lifetime_ms":9223372036854775807`, 1)
		},
		"of the future": func(good string) string { return strings.Replace(good, "2026-11-22T0", "2036-11-22T0", 1) },
	} {
		t.Run(name, func(t *testing.T) {
			m := newMount(t)
			m.write("config/a", m.sinch(nil)).want(t, http.StatusNoContent)
			token, good := m.token("a"), m.storage.snapshot()["token/a"]
			bad := spoil(good)
			if bad == good {
				t.Fatalf("nothing is spoilt in %s", good)
			}
			m.storage.put("token/a", bad)
			n := m.again()
			if n.token("a") == token || m.logins() != 2 {
				t.Errorf("%d logins", m.logins())
			}
			if m.again().token("a") == token || m.logins() != 2 {
				t.Error("the new token was not stored")
			}
		})
	}
}

func TestStoredTokenThatIsOver(t *testing.T) {
	m := newMount(t)
	m.write("config/a", m.sinch(nil)).want(t, http.StatusNoContent)
	token := m.token("a")
	m.clock.advance(time.Hour)
	if m.again().token("a") == token {
		t.Error("a dead token")
	}
}

// The stored form is what later versions have to read.
func TestStoredForm(t *testing.T) {
	m := newMount(t)
	m.write("config/a", m.sinch(fields{"min_ttl": 5, "lease": false})).want(t, http.StatusNoContent)
	for key, want := range map[string][]string{
		"config/a": {"version", "revision", "provider", "token_url", "fields", "min_ttl", "leaseless"},
		"token/a":  {"version", "revision", "access_token", "token_type", "sent", "lifetime_ms", "refresh_token", "refresh_lifetime_ms"},
	} {
		var got map[string]any
		if err := json.Unmarshal([]byte(m.storage.snapshot()[key]), &got); err != nil {
			t.Fatal(err)
		}
		for _, name := range want {
			if _, ok := got[name]; !ok {
				t.Errorf("%s has no %s", key, name)
			}
			delete(got, name)
		}
		if len(got) > 0 {
			t.Errorf("%s also has %d others", key, len(got))
		}
	}
}
