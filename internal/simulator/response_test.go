// SPDX-License-Identifier: MPL-2.0

package simulator_test

import (
	"encoding/base64"
	"net/url"
	"strings"
	"testing"

	"vault-plugin-secrets-messaging/internal/simulator"
)

func TestDateHeader(t *testing.T) {
	for settings, want := range map[string][]string{
		`{}`:                         {"Sun, 22 Nov 2026 08:00:00 GMT"},
		`{"clock_offset": -3600}`:    {"Sun, 22 Nov 2026 07:00:00 GMT"},
		`{"date_header": "garbage"}`: {"the day after tomorrow"},
	} {
		r := newRig(t, simulator.Options{})
		r.patch(settings)
		r.equal("Date with "+settings, r.login("acme", "correct-horse").header.Values("Date"), want)
	}
}

func TestEchoSecrets(t *testing.T) {
	const secret = "pä\"ss& wörd😀"
	r := newRig(t, simulator.Options{})
	for form, want := range map[string]struct{ wire, decoded string }{
		"raw":        {"", secret},
		"url":        {"", url.QueryEscape(secret)},
		"base64":     {"", base64.StdEncoding.EncodeToString([]byte(secret))},
		"json":       {`\u0070\u00e4\u0022`, secret},
		"json-twice": {"", `\u0070\u00e4\u0022`},
	} {
		r.patch(`{"echo_secrets": ["` + form + `"]}`)
		for field, got := range map[string]result{
			"error_description": r.login("acme", secret),
			"reason":            r.enablex("whatsapp", appID, secret),
			"description":       r.enablex("rcs", appID, secret),
			"desc":              r.enablex("sms", appID, secret),
		} {
			if !strings.Contains(got.str(field), want.decoded) || !strings.Contains(got.text, want.wire) {
				t.Errorf("echo_secrets %s: got %s, want %q in the body and %q in %s", form, got.text, want.wire, want.decoded, field)
			}
		}
	}
	r.patch(`{"echo_secrets": ["raw"], "faults": [{"kind": "status"}]}`)
	if got := r.login("acme", "hunter2"); !strings.Contains(got.text, "hunter2") {
		t.Errorf("got the page %s, want the secret in it", got.text)
	}
	r.patch(`{"faults": null}`)
	got := r.oauth("/generic/token", basic("generic-client", "hunter 2"), "grant_type", "client_credentials")
	if !strings.Contains(got.str("error_description"), "hunter 2") {
		t.Errorf("got %s, want the client secret in error_description", got.text)
	}
}
