// SPDX-License-Identifier: MPL-2.0

package providers

import (
	"net/url"
	"reflect"
	"testing"
	"time"
)

// Answers from Sinch's documentation: of this product, and of another product of the realm.
const (
	sinchHour = `{"access_token":"eyJh","expires_in":3600,"refresh_expires_in":1800,"refresh_token":"eyJr",
		"token_type":"Bearer","not-before-policy":0,"session_state":"f2cd48bf-d162-4754-b2c7-bdc9c97064b3","scope":"email profile"}`
	sinchMinutes = `{"access_token":"eyJh","expires_in":300,"refresh_expires_in":1800,"refresh_token":"eyJr","token_type":"Bearer"}`
)

func TestSinchIndiaMint(t *testing.T) {
	c := contractOf(t, "sinch-india")
	for body, life := range map[string]time.Duration{sinchHour: time.Hour, sinchMinutes: 5 * time.Minute} {
		e := serve(t, reply{body: body})
		got, err := c.ask(t, c.settings(e.url))
		wantToken(t, got, err, "eyJh", life)
		if got.Refresh != "eyJr" || got.RefreshLifetime != 30*time.Minute {
			t.Errorf("got refresh token %q for %v, want eyJr for 30m", got.Refresh.Reveal(), got.RefreshLifetime)
		}
		checkSinchRequest(t, e, url.Values{
			"grant_type": {"password"}, "client_id": {"ipmessaging-client"}, "username": {"acme"}, "password": {hidden},
		})
	}
}

func TestSinchIndiaRefresh(t *testing.T) {
	e := serve(t, reply{body: sinchMinutes})
	c := contractOf(t, "sinch-india")
	got, err := sinchIndia{}.Refresh(t.Context(), testClient(t), c.settings(e.url), "old")
	wantToken(t, got, err, "eyJh", 5*time.Minute)
	if got.Refresh != "eyJr" {
		t.Errorf("got refresh token %q, want eyJr", got.Refresh.Reveal())
	}
	checkSinchRequest(t, e, url.Values{
		"grant_type": {"refresh_token"}, "client_id": {"ipmessaging-client"}, "refresh_token": {"old"},
	})
}

// checkSinchRequest checks the only request. Sinch documents Cache-Control. HTTP Basic would
// count as a failed login.
func checkSinchRequest(t *testing.T, e *endpoint, form url.Values) {
	t.Helper()
	requests := e.requests()
	if len(requests) != 1 {
		t.Fatalf("got %d requests, want 1", len(requests))
	}
	r := requests[0]
	if !reflect.DeepEqual(r.form, form) {
		t.Errorf("got form %v, want %v", r.form, form)
	}
	if r.header.Get("Cache-Control") != "no-cache" || r.header.Get("Authorization") != "" {
		t.Errorf("got headers %v, want Cache-Control: no-cache and no Authorization", r.header)
	}
}
