// SPDX-License-Identifier: MPL-2.0

package providers

import (
	"net/url"
	"reflect"
	"testing"
	"time"
)

// The example of Sinch's documentation, and that of another product of the
// same realm.
const (
	sinchHour = `{"access_token":"eyJh","expires_in":3600,"refresh_expires_in":1800,"refresh_token":"eyJr",
		"token_type":"Bearer","not-before-policy":0,"session_state":"f2cd48bf-d162-4754-b2c7-bdc9c97064b3","scope":"email profile"}`
	sinchMinutes = `{"access_token":"eyJh","expires_in":300,"refresh_expires_in":1800,"refresh_token":"eyJr","token_type":"Bearer"}`
)

func TestSinchIndiaMint(t *testing.T) {
	for body, life := range map[string]time.Duration{sinchHour: time.Hour, sinchMinutes: 5 * time.Minute} {
		e := serve(t, reply{body: body})
		s := Settings{TokenURL: e.url, Values: values("username", "acme", "password", hidden)}
		got, err := sinchIndia{}.Mint(t.Context(), testClient(t), s)
		if err != nil {
			t.Fatal(err)
		}
		if got.Access != "eyJh" || got.Lifetime != life || got.Refresh != "eyJr" || got.RefreshLifetime != 30*time.Minute {
			t.Errorf("got %+v", got)
		}
		checkSinchRequest(t, e, url.Values{
			"grant_type": {"password"}, "client_id": {"ipmessaging-client"}, "username": {"acme"}, "password": {hidden},
		})
	}
}

func TestSinchIndiaRefresh(t *testing.T) {
	for body, refresh := range map[string]string{
		sinchMinutes: "eyJr",
		`{"access_token":"eyJh","expires_in":300}`: "old", // RFC 6749 §6: the old one goes on
	} {
		e := serve(t, reply{body: body})
		s := Settings{TokenURL: e.url, Values: values("username", "acme", "password", hidden)}
		got, err := sinchIndia{}.Refresh(t.Context(), testClient(t), s, "old")
		if err != nil || got.Access != "eyJh" || got.Refresh.Reveal() != refresh {
			t.Errorf("got %+v with refresh token %q, %v; want %q", got, got.Refresh.Reveal(), err, refresh)
		}
		checkSinchRequest(t, e, url.Values{
			"grant_type": {"refresh_token"}, "client_id": {"ipmessaging-client"}, "refresh_token": {"old"},
		})
	}
}

func TestSinchIndiaRefreshTokenIsBlanked(t *testing.T) {
	e := serve(t, reply{status: 400, body: `{"error":"invalid_grant","error_description":"unshown is not active"}`})
	s := Settings{TokenURL: e.url, Values: values("username", "acme", "password", hidden)}
	_, err := sinchIndia{}.Refresh(t.Context(), testClient(t), s, "unshown")
	if f := failure(t, err, "unshown"); f.Words != "[redacted] is not active" {
		t.Errorf("words are %q", f.Words)
	}
}

// checkSinchRequest checks that one request was made, of that form, with what
// Sinch asks for, and with no HTTP Basic.
func checkSinchRequest(t *testing.T, e *endpoint, form url.Values) {
	t.Helper()
	requests := e.requests()
	if len(requests) != 1 {
		t.Fatalf("%d requests, want one", len(requests))
	}
	r := requests[0]
	if !reflect.DeepEqual(r.form, form) {
		t.Errorf("form is %v, want %v", r.form, form)
	}
	if r.header.Get("Cache-Control") != "no-cache" || r.header.Get("Authorization") != "" {
		t.Errorf("headers are %v", r.header)
	}
}
