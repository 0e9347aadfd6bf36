// SPDX-License-Identifier: MPL-2.0

package messaging

import (
	"encoding/json"
	"net/http"
	"testing"
)

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
		"https://auth.example.com/\u202e":           true, // only a path, and what is sent is escaped
		"https://auth.example.com/\x00":             false,
		"http://localhost:8299:8299/":               false,
		"https://auth.example.com:-1/":              false,
		"https://auth.example.com:0x10/":            false,
		"https://auth.example.com:/token":           true,
		"https://auth.example.com/token?user=a@b.c": true,
	} {
		if err := checkURL(text); (err == nil) != ok {
			t.Errorf("%q: %v", text, err)
		}
	}
}

// Durations are as Vault gives them: JSON numbers and texts.
func TestDurations(t *testing.T) {
	m := newMount(t)
	m.write("config/a", m.sinch(nil)).want(t, http.StatusNoContent)
	for _, test := range []struct {
		value any
		want  int64 // -1: refused
	}{
		{0, 0}, {"0", 0}, {"0s", 0}, {"0ms", 0}, {1, 1}, {"1", 1}, {90, 90}, {"90", 90}, {"5m", 300}, {"1h30m", 5400}, {"1.5h", 5400},
		{"2000ms", 2}, {"1d", 86400}, {json.Number("60"), 60}, {315360000, 315360000},
		{"500ms", -1}, {"1.5s", -1}, {1.5, -1}, {0.5, -1}, {"1500ms", -1}, {-1, -1}, {"-1s", -1}, {"-1", -1}, {"abc", -1}, {"5 m", -1}, {" 5m", -1},
		{"s", -1}, {true, -1}, {false, -1}, {[]int{5}, -1}, {fields{"s": 5}, -1}, {"1e3", -1}, {json.Number("1e3"), -1}, {"0x10", -1},
		{315360001, -1}, {"99999h", -1}, {json.Number("9223372036854775807"), -1}, {json.Number("92233720368547758070"), -1}, {"9999999999h", -1}, {"NaN", -1}, {"∞", -1},
	} {
		for _, name := range []string{"refresh_window", "min_ttl", "max_ttl", "default_ttl"} {
			a := m.write("config/a", fields{name: test.value})
			if test.want < 0 {
				a.want(t, http.StatusBadRequest, name+": want a duration")
				continue
			}
			a.want(t, http.StatusNoContent)
			if got := m.read("config/a").data[name]; got != test.want {
				t.Errorf("%s=%#v is %v", name, test.value, got)
			}
		}
	}
	if m.logins() != 1 {
		t.Errorf("%d logins", m.logins())
	}
}

func TestRequestTimeout(t *testing.T) {
	m := newMount(t)
	m.write("config/a", m.sinch(nil)).want(t, http.StatusNoContent)
	for value, status := range map[any]int{"1s": 204, 60: 204, 0: 400, 61: 400, "2m": 400} {
		a := m.write("config/a", fields{"request_timeout": value})
		a.want(t, status)
		if status == http.StatusBadRequest {
			a.want(t, status, "request_timeout: want a duration from 1s to 1m0s")
		}
	}
}

func TestBooleans(t *testing.T) {
	m := newMount(t)
	m.write("config/a", m.sinch(nil)).want(t, http.StatusNoContent)
	for _, test := range []struct{ value, want any }{
		{false, false}, {true, true}, {"false", false}, {"true", true}, {"0", false}, {"1", true}, {0, false}, {1, true}, {nil, true}, {"", true},
		{"no", nil}, {2, nil}, {"maybe", nil}, {[]bool{true}, nil}, {fields{}, nil},
	} {
		a := m.write("config/a", fields{"lease": test.value})
		if test.want == nil {
			a.want(t, http.StatusBadRequest, "lease: want true or false")
			continue
		}
		a.want(t, http.StatusNoContent)
		if got := m.read("config/a").data["lease"]; got != test.want {
			t.Errorf("lease=%#v is %v", test.value, got)
		}
	}
}

func TestDisplayName(t *testing.T) {
	for name, want := range map[string]string{"token_url": "Token URL", "ca_cert": "CA cert", "client_id": "Client ID", "min_ttl": "Min TTL", "password": "Password"} {
		if got := displayName(name); got != want {
			t.Errorf("%s: %q", name, got)
		}
	}
}
