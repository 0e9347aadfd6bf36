// SPDX-License-Identifier: MPL-2.0

package account

import (
	"strings"
	"testing"

	"vault-plugin-secrets-messaging/providers"
)

func TestURLWithInvisibleEnds(t *testing.T) {
	for text, ok := range map[string]bool{
		"https://auth.example.com/\u202ea": true, // in a path, where it is sent escaped
		"https://auth.example.com/\u202e":  false,
		"\u200bhttps://auth.example.com/":  false,
		"http://auth.example.com/":         false,
	} {
		if err := checkURL(text); (err == nil) != ok {
			t.Errorf("checkURL(%q): got %v, want accepted: %t", text, err, ok)
		}
	}
}

func TestDisplayName(t *testing.T) {
	for name, want := range map[string]string{"token_url": "Token URL", "ca_cert": "CA cert", "client_id": "Client ID", "min_ttl": "Min TTL", "password": "Password"} {
		if got := displayName(name); got != want {
			t.Errorf("displayName(%q): got %q, want %q", name, got, want)
		}
	}
}

// A definition cannot declare a field that every config has.
func TestNamesAreReservedInDefinitions(t *testing.T) {
	names := []string{"name", "provider", "verify_connection", "secrets_set"}
	for _, f := range configFields() {
		names = append(names, f.name)
	}
	for _, name := range names {
		text := "title: T\nfields: {" + name + ": {description: A field.}}\nhttp: {token: /token, lifetime: {fixed: 1h}}\n"
		if _, err := providers.ParseDefinition("test", []byte(text)); err == nil || !strings.Contains(err.Error(), "is a reserved name") {
			t.Errorf("field %s: got error %v, want the name to be reserved", name, err)
		}
	}
}
