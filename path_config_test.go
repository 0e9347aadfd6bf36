// SPDX-License-Identifier: MPL-2.0

package messaging

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"testing"
)

// changer returns write or patch by its name.
func (m *mount) changer(name string) func(path string, data fields) answer {
	if name == "patch" {
		return m.patch
	}
	return m.write
}

func TestConfigRead(t *testing.T) {
	m := newMount(t)
	for _, test := range []struct {
		write, want fields
	}{
		{
			m.sinch(nil),
			fields{"provider": "sinch-india", "environment": "production", "username": "acme", "secrets_set": []string{"password"}},
		}, {
			m.sinch(fields{"environment": "uat", "request_timeout": "5s", "refresh_window": 0, "min_ttl": "1m", "max_ttl": "0", "default_ttl": 3600, "lease_ttl": "15m", "lease": false, "credentials_expire": "2027-03-01"}),
			fields{"provider": "sinch-india", "environment": "uat", "username": "acme", "secrets_set": []string{"password"},
				"request_timeout": int64(5), "refresh_window": int64(0), "min_ttl": int64(60), "max_ttl": int64(0), "default_ttl": int64(3600), "lease_ttl": int64(900), "lease": false, "credentials_expire": "2027-03-01"},
		}, {
			m.enablex("rcs", nil),
			fields{"provider": "enablex-rcs", "app_id": "5f0c0ffee0ddba11acce55ed", "secrets_set": []string{"app_key"}},
		}, {
			m.conversation(nil),
			fields{"provider": "sinch-conversation", "client_id": "conversation-key", "auth_style": "header", "secrets_set": []string{"client_secret"}},
		}, {
			m.oauth2(fields{"scopes": "read,write", "token_params": fields{"audience": "https://api.example.com", "n": 1}}),
			fields{"provider": "oauth2", "client_id": "generic-client", "secrets_set": []string{"client_secret"},
				"auth_style": "header", "grant_type": "client_credentials", "scopes": []string{"read", "write"},
				"token_params": map[string]any{"audience": "https://api.example.com", "n": "1"}},
		}, {
			m.oauth2(fields{"grant_type": "password", "username": "alice", "password": "wonderland", "auth_style": "body"}),
			fields{"provider": "oauth2", "client_id": "generic-client", "username": "alice", "secrets_set": []string{"client_secret", "password"},
				"auth_style": "body", "grant_type": "password"},
		},
	} {
		test.want["token_url"] = test.write["token_url"]
		test.want["credentials_written"] = "2026-11-22T08:00:00Z"
		for _, name := range []string{"lease", "share"} {
			if test.want[name] == nil {
				test.want[name] = true
			}
		}
		m.write("config/a", test.write).want(t, http.StatusNoContent)
		equal(t, fmt.Sprintf("config after %v", test.write), m.read("config/a").data, test.want)
		m.delete("config/a").want(t, http.StatusNoContent)
	}
}

func TestConfigReadShowsDefaultEndpoint(t *testing.T) {
	m := newMount(t)
	data := m.sinch(fields{"verify_connection": false, "environment": "uat"})
	delete(data, "token_url")
	m.write("config/a", data).want(t, http.StatusNoContent)
	const want = "https://apiuat.aclwhatsapp.com/auth/realms/ipmessaging/protocol/openid-connect/token"
	equal(t, "token_url", m.read("config/a").data["token_url"], want)
}

func TestConfigUpdateMerges(t *testing.T) {
	for _, write := range []string{"update", "patch"} {
		t.Run(write, func(t *testing.T) {
			m := newMount(t)
			m.write("config/a", m.oauth2(fields{"scopes": "a,b", "lease": false, "min_ttl": 7, "token_params": fields{"x": "1"}})).want(t, http.StatusNoContent)
			change := m.changer(write)
			want := m.read("config/a").data
			for _, data := range []fields{{"max_ttl": "10m"}, {"scopes": []string{"c"}}, {"min_ttl": "0s"}, {"lease": true}, {}} {
				change("config/a", data).want(t, http.StatusNoContent)
				for name, v := range map[string]any{"max_ttl": int64(600), "scopes": []string{"c"}, "min_ttl": int64(0), "lease": true} {
					if _, ok := data[name]; ok {
						want[name] = v
					}
				}
				equal(t, fmt.Sprintf("config after %v", data), m.read("config/a").data, want)
			}
			m.token("a")
		})
	}
}

// null and the empty string restore a default.
func TestConfigNullAndEmpty(t *testing.T) {
	set := fields{
		"request_timeout": 5, "refresh_window": 6, "min_ttl": 7, "max_ttl": 800, "default_ttl": 900, "lease_ttl": 60, "lease": false, "credentials_expire": "2027-03-01",
		"scopes": "x", "token_params": fields{"p": "q"}, "auth_style": "body", "grant_type": "client_credentials",
	}
	for _, write := range []string{"update", "patch"} {
		for _, name := range slices.Sorted(maps.Keys(set)) {
			for _, empty := range []any{nil, ""} {
				m := newConfigMount(t, (*mount).oauth2, fields{"verify_connection": false})
				base := m.read("config/a").data
				change := m.changer(write)
				secret := fields{"client_secret": "generic-secret", "verify_connection": false}
				change("config/a", with(fields{name: set[name]}, secret)).want(t, http.StatusNoContent)
				if name != "grant_type" {
					differ(t, fmt.Sprintf("config after %s=%v", name, set[name]), m.read("config/a").data, base)
				}
				change("config/a", with(fields{name: empty}, secret)).want(t, http.StatusNoContent)
				equal(t, fmt.Sprintf("config after %s of %s=%#v", write, name, empty), m.read("config/a").data, base)
			}
		}
	}
}

func TestConfigNullOfOptionalSecret(t *testing.T) {
	m := newConfigMount(t, (*mount).oauth2, fields{"grant_type": "password", "username": "alice", "password": "wonderland"})
	m.patch("config/a", fields{"client_secret": nil, "client_id": "public-client"}).want(t, http.StatusNoContent)
	m.read("config/a").wantData(t, fields{"secrets_set": []string{"password"}})
}

func TestConfigPatch(t *testing.T) {
	m := newMount(t)
	m.patch("config/a", m.sinch(nil)).want(t, http.StatusNotFound, `there is no config "a" to patch: write it first`)
	m.wantStored()
	m.write("config/a", m.oauth2(fields{"token_params": fields{"a": "1", "b": "2"}})).want(t, http.StatusNoContent)

	// A patch merges token_params key by key (RFC 7396). An update replaces token_params. Values
	// are objects, or key=value texts from the CLI.
	for _, step := range []struct {
		op   string
		data any
		want map[string]any
	}{
		{"patch", fields{"b": "3", "c": 4}, map[string]any{"a": "1", "b": "3", "c": "4"}},
		{"patch", fields{"a": nil, "b": nil}, map[string]any{"c": "4"}},
		{"patch", fields{}, map[string]any{"c": "4"}},
		{"patch", "d=5", map[string]any{"c": "4", "d": "5"}},
		{"patch", []string{"d=6", "d=7"}, map[string]any{"c": "4", "d": []string{"6", "7"}}},
		{"patch", fields{"c": []any{"A", 5}}, map[string]any{"c": []string{"A", "5"}, "d": []string{"6", "7"}}},
		{"patch", []any{"c=8", fields{"d": nil}}, map[string]any{"c": "8"}},
		{"update", fields{"e": 6, "f": nil}, map[string]any{"e": "6"}},
		{"update", []string{"g=7", "h=8=9"}, map[string]any{"g": "7", "h": "8=9"}},
		{"update", "i=10", map[string]any{"i": "10"}},
		{"patch", fields{"i": nil}, nil},
	} {
		m.changer(step.op)("config/a", fields{"token_params": step.data, "verify_connection": false}).want(t, http.StatusNoContent)
		got, _ := m.read("config/a").data["token_params"].(map[string]any)
		equal(t, fmt.Sprintf("token_params after a %s with %v", step.op, step.data), got, step.want)
	}
}

func TestConfigListAndDelete(t *testing.T) {
	m := newMount(t)
	m.list("config/").want(t, http.StatusNotFound)
	m.read("config/a").want(t, http.StatusNotFound)
	m.delete("config/a").want(t, http.StatusNoContent)
	for _, name := range []string{"b", "a", "a.b-c_d9"} {
		m.write("config/"+name, m.sinch(nil)).want(t, http.StatusNoContent)
	}
	names := m.list("config/").data["keys"].([]string)
	equal(t, "list", slices.Sorted(slices.Values(names)), []string{"a", "a.b-c_d9", "b"})
	m.delete("config/a").want(t, http.StatusNoContent)
	m.read("config/a").want(t, http.StatusNotFound)
	m.read("creds/a").want(t, http.StatusBadRequest, `there is no config "a"`)
	m.wantStored("config/a.b-c_d9", "config/b", "token/a.b-c_d9", "token/b")
	m.token("b")
}

// A secret from a file (field=@file) may end in a line break.
func TestConfigSecretFromFile(t *testing.T) {
	for _, end := range []string{"\n", "\r\n"} {
		m := newSinchMount(t, fields{"password": "correct-horse" + end})
		m.token("a")
	}
}

func TestConfigTextFromNumber(t *testing.T) {
	m := newSinchMount(t, fields{"username": 20261122, "verify_connection": false})
	equal(t, "username", m.read("config/a").data["username"], "20261122")
}

// The engine accepts PEM that operators paste or read from files.
func TestConfigCACert(t *testing.T) {
	ca := newCA(t)
	lines := strings.Split(strings.TrimSpace(ca), "\n")
	for name, text := range map[string]string{
		"a byte order mark":         "\ufeff" + ca,
		"a byte order mark between": ca + "\ufeff" + ca,
		"indented":                  "  " + strings.Join(lines, "\n  "),
		"literal line breaks":       strings.Join(lines, `\n`) + `\n`,
	} {
		m := newMount(t)
		m.write("config/a", m.sinch(fields{"ca_cert": text, "verify_connection": false})).want(t, http.StatusNoContent)
		got, _ := m.read("config/a").data["ca_cert"].(string)
		if strings.TrimSpace(strings.ReplaceAll(got, ca, "")) != "" && strings.TrimSpace(got) != strings.TrimSpace(ca) {
			t.Errorf("%s: got %q, want %q", name, got, ca)
		}
	}
	m := newMount(t)
	m.write("config/a", m.sinch(fields{"ca_cert": strings.Join(lines, " ")})).want(t, http.StatusBadRequest,
		"ca_cert: contains a damaged PEM block; each block must be complete, with its BEGIN and END on lines of their own")
}

// Vault gives durations as JSON numbers and strings.
func TestDurations(t *testing.T) {
	m := newSinchMount(t, nil)
	for _, test := range []struct {
		value any
		want  int64 // -1: not accepted
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
				a.want(t, http.StatusBadRequest, name+": must be a duration")
				continue
			}
			a.want(t, http.StatusNoContent)
			equal(t, fmt.Sprintf("%s=%#v", name, test.value), m.read("config/a").data[name], test.want)
		}
	}
	m.wantLogins(1)
}

func TestRequestTimeout(t *testing.T) {
	m := newSinchMount(t, nil)
	for value, status := range map[any]int{"1s": 204, 60: 204, 0: 400, 61: 400, "2m": 400} {
		text := map[int]string{400: "request_timeout: must be a duration from 1s to 1m0s"}[status]
		m.write("config/a", fields{"request_timeout": value}).want(t, status, text)
	}
}

func TestBooleans(t *testing.T) {
	m := newSinchMount(t, nil)
	for _, test := range []struct{ value, want any }{
		{false, false}, {true, true}, {"false", false}, {"true", true}, {"0", false}, {"1", true}, {0, false}, {1, true}, {nil, true}, {"", true},
		{"no", nil}, {2, nil}, {"maybe", nil}, {[]bool{true}, nil}, {fields{}, nil},
	} {
		a := m.write("config/a", fields{"lease": test.value})
		if test.want == nil {
			a.want(t, http.StatusBadRequest, "lease: must be true or false")
			continue
		}
		a.want(t, http.StatusNoContent)
		equal(t, fmt.Sprintf("lease=%#v", test.value), m.read("config/a").data["lease"], test.want)
	}
}
