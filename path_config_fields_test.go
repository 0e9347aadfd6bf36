// SPDX-License-Identifier: MPL-2.0

package messaging

import (
	"encoding/json"
	"fmt"
	"net/http"
	"testing"
)

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
