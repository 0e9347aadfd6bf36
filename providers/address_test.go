// SPDX-License-Identifier: MPL-2.0

package providers

import (
	"testing"

	"vault-plugin-secrets-messaging/internal/secret"
)

func TestCheckURL(t *testing.T) {
	for text, ok := range map[string]bool{
		"https://auth.example.com/token":           true,
		"https://auth.example.com":                 true,
		"https://auth.example.com:8443/t?tenant=1": true,
		"HTTPS://AUTH.EXAMPLE.COM/token":           true,
		"https://[2001:db8::1]/token":              true,
		"http://127.0.0.1:8299/token":              true,
		"http://127.8.9.10/token":                  true,
		"http://[::1]:8299/token":                  true,
		"http://localhost:8299/token":              true,
		"http://LocalHost/token":                   true,

		"http://auth.example.com/token":             false,
		"http://10.0.0.1/token":                     false,
		"http://0.0.0.0/token":                      false,
		"http://[::]/token":                         false,
		"http://localhost.example.com/":             false,
		"http://127.0.0.1.example.com/":             false,
		"http://127.1/":                             false,
		"http://2130706433/":                        false,
		"http://[::1%25lo]/":                        false,
		"https://user:pw@auth.example.com/token":    false,
		"https://user@auth.example.com/token":       false,
		"http://localhost:1@evil.example/token":     false,
		"https://auth.example.com/token#x":          false,
		"https://auth.example.com/token#":           false,
		"ftp://auth.example.com/token":              false,
		"file:///etc/passwd":                        false,
		"unix:///var/run/x":                         false,
		"auth.example.com/token":                    false,
		"//auth.example.com/token":                  false,
		"https:auth.example.com":                    false,
		"https://":                                  false,
		"https:///token":                            false,
		"https://:443/token":                        false,
		"https://auth.example.com:port/":            false,
		"https://auth.example.com:99999/":           false,
		"https://auth.example.com/a b":              false,
		" https://auth.example.com/":                false,
		"https://auth.example.com/\n":               false,
		"https://auth.example.com/\r\nX: y":         false,
		"https://exa mple.com/":                     false,
		"https://auth.example.com/%zz":              false,
		"javascript:alert(1)":                       false,
		"https://auth.example.com\\@evil.example/":  false,
		"https://[::1":                              false,
		"null":                                      false,
		"http://[::ffff:8.8.8.8]/":                  false,
		"http://127.0.0.1\t/":                       false,
		"https://auth.example.com/\u202e":           true, // in a path, where it is sent escaped
		"https://auth.example.com/\x00":             false,
		"http://localhost:8299:8299/":               false,
		"https://auth.example.com:-1/":              false,
		"https://auth.example.com:0x10/":            false,
		"https://auth.example.com:/token":           true,
		"https://auth.example.com/token?user=a@b.c": true,
	} {
		if err := CheckURL(text); (err == nil) != ok {
			t.Errorf("CheckURL(%q): got %v, want accepted: %t", text, err, ok)
		}
	}
}

func TestEndpointURL(t *testing.T) {
	e := Endpoint{TokenURL: "https://auth-{region}.{zone}.acme.example/v1/{tenant}/token?for={tenant}"}
	for _, test := range []struct{ region, zone, tenant, want string }{
		{"eu", "a1", "acme", "https://auth-eu.a1.acme.example/v1/acme/token?for=acme"},
		{"eu", "a1", "a/b?c#d e", "https://auth-eu.a1.acme.example/v1/a%2Fb%3Fc%23d%20e/token?for=a%2Fb%3Fc%23d+e"},
		{"evil.example/", "a1", "acme", ""},
		{"eu@evil", "a1", "acme", ""},
		{"EU", "a1", "acme", ""},
		{"", "a1", "acme", ""},
		{"eu", "-a1", "acme", ""},
		{"eu", "a1", "..", ""},
		{"eu", "a1", "", ""},
	} {
		got := e.URL(map[string]secret.String{"region": secret.String(test.region), "zone": secret.String(test.zone), "tenant": secret.String(test.tenant)})
		if got != test.want {
			t.Errorf("region %q, zone %q, tenant %q: got %q, want %q", test.region, test.zone, test.tenant, got, test.want)
		}
	}
	if got, want := (Endpoint{TokenURL: "https://auth.example.com/token"}).URL(nil), "https://auth.example.com/token"; got != want {
		t.Errorf("no placeholders: got %q, want %q", got, want)
	}
}
