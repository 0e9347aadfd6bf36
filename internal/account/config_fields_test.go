// SPDX-License-Identifier: MPL-2.0

package account

import "testing"

func TestURLs(t *testing.T) {
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
		"https://auth.example.com/\u202ea":          true, // in a path, where it is sent escaped
		"https://auth.example.com/\u202e":           false,
		"\u200bhttps://auth.example.com/":           false,
		"https://auth.example.com/\x00":             false,
		"http://localhost:8299:8299/":               false,
		"https://auth.example.com:-1/":              false,
		"https://auth.example.com:0x10/":            false,
		"https://auth.example.com:/token":           true,
		"https://auth.example.com/token?user=a@b.c": true,
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
