// SPDX-License-Identifier: MPL-2.0

package messaging

import (
	"encoding/json"
	"errors"
	"maps"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/hashicorp/vault/sdk/logical"
)

// An unusable stored config causes a 500 that does not quote the config. A write does not replace
// the config. A delete removes it.
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
		"newer":            {strings.Replace(good, `"version":1`, `"version":3`, 1), "a newer plugin wrote the record (version 3, this plugin knows 2); upgrade the plugin"},
		"newer form":       {`{"version":9,"fields":["hunter2"]}`, "a newer plugin wrote the record (version 9, this plugin knows 2); upgrade the plugin"},
		"wrong type":       {strings.Replace(good, `"acme"`, `{"hunter2":1}`, 1), "it is damaged"},
		"no provider":      {strings.Replace(good, `"provider":"sinch-india",`, "", 1), "it is damaged"},
		"no revision":      {strings.Replace(good, `"revision":"r",`, "", 1), "it is damaged"},
		"unknown provider": {strings.Replace(good, "sinch-india", "carrier-pigeon", 1), `this plugin has no provider "carrier-pigeon"`},
	} {
		t.Run(name, func(t *testing.T) {
			m := newMount(t)
			m.storage.put("config/a", test.stored)
			problem := "the stored config/a cannot be used: " + test.problem
			for _, a := range []answer{
				m.read("config/a"), m.read("creds/a"), m.read("status/a"), m.rotate("a"),
				m.write("config/a", m.sinch(nil)), m.patch("config/a", fields{"min_ttl": 5}),
			} {
				a.want(t, http.StatusInternalServerError, problem)
			}
			equal(t, "stored config", m.storage.snapshot()["config/a"], test.stored)
			m.list("config/").want(t, http.StatusOK)
			m.delete("config/a").want(t, http.StatusNoContent)
			m.write("config/a", m.sinch(nil)).want(t, http.StatusNoContent)
			m.token("a")
		})
	}
}

// An invalid field of a stored config causes a 500, because readers of creds cannot correct the
// field.
func TestStoredConfigWithBadCA(t *testing.T) {
	m := newMount(t)
	m.storage.put("config/a", `{"version":1,"revision":"r","provider":"sinch-india","ca_cert":"x","fields":{"username":"acme","password":"correct-horse"}}`)
	m.read("creds/a").want(t, http.StatusInternalServerError, "the stored config/a cannot be used: ca_cert: must contain at least one PEM certificate")
}

// A stored token that cannot be used costs one login.
func TestStoredTokenOfNoUse(t *testing.T) {
	for name, change := range map[string]struct{ old, new string }{
		"truncated":        {`}`, ""},
		"garbage":          {`{`, "\x00\xff"},
		"newer":            {`"version":1`, `"version":2`},
		"no version":       {`"version":1,`, ""},
		"other revision":   {`"revision":"`, `"revision":"x`},
		"no token":         {`"access_token":`, `"was_access_token":`},
		"no time":          {`"sent":`, `"was_sent":`},
		"no lifetime":      {`"lifetime_ms":3600000`, `"lifetime_ms":0`},
		"negative":         {`"lifetime_ms":3600000`, `"lifetime_ms":-1`},
		"overflow":         {`"lifetime_ms":3600000`, `"lifetime_ms":9223372036854775807`},
		"refresh overflow": {`"refresh_lifetime_ms":1800000`, `"refresh_lifetime_ms":9223372036854775807`},
		"ended":            {"2026-11-22T08", "2026-11-22T07"},
		"of the future":    {"2026-11-22T0", "2036-11-22T0"},
	} {
		t.Run(name, func(t *testing.T) {
			m := newSinchMount(t, nil)
			token, good := m.token("a"), m.storage.snapshot()["token/a"]
			bad := strings.Replace(good, change.old, change.new, 1)
			if bad == good {
				t.Fatalf("got no change of %s, want a bad token", good)
			}
			m.storage.put("token/a", bad)
			renewed := m.restart().token("a")
			if renewed == token || m.restart().token("a") != renewed {
				t.Errorf("%s: got the old token, or another token after a restart; want one new token", bad)
			}
			m.wantLogins(2)
		})
	}
}

// If the plugin failed to start on a new active server, Vault refuses the plugin's writes to
// storage. Errors, warnings and logs say what to do.
func TestStorageThatIsStillBeingSetUp(t *testing.T) {
	const advice = `run "vault operator step-down", or restart the server`
	m := newSinchMount(t, nil)
	m.storage.failWith(func(operation, _ string) error {
		if operation == "put" || operation == "delete" {
			return errors.New(logical.ErrSetupReadOnly.Error()) // as text, as from Vault
		}
		return nil
	})
	m.write("config/a", fields{"min_ttl": 5}).want(t, http.StatusInternalServerError, advice)
	m.delete("config/a").want(t, http.StatusInternalServerError, advice)
	m.rotate("a").wantWarning(t, advice)
	m.wantLogged("step-down")
}

// Later versions have to read the stored form.
func TestStoredForm(t *testing.T) {
	m := newSinchMount(t, fields{"min_ttl": 5, "lease": false, "credentials_expire": "2027-03-01"})
	for key, want := range map[string][]string{
		"config/a": {"version", "revision", "provider", "token_url", "fields", "min_ttl", "leaseless", "credentials_expire", "credentials_written"},
		"token/a":  {"version", "revision", "access_token", "token_type", "sent", "lifetime_ms", "refresh_token", "refresh_lifetime_ms"},
	} {
		var got map[string]any
		if err := json.Unmarshal([]byte(m.storage.snapshot()[key]), &got); err != nil {
			t.Fatal(err)
		}
		slices.Sort(want)
		equal(t, "members of "+key, slices.Sorted(maps.Keys(got)), want)
	}
}
