// SPDX-License-Identifier: MPL-2.0

package providers

import (
	"fmt"
	"net/http"
	"net/http/httptrace"
	"strings"
	"testing"
	"time"

	"vault-plugin-secrets-messaging/internal/clock"
	"vault-plugin-secrets-messaging/internal/token"
)

func TestClientKeepsConnections(t *testing.T) {
	e := serve(t, reply{body: "{}"})
	c := testClient(t)
	var reused []bool
	ctx := httptrace.WithClientTrace(t.Context(), &httptrace.ClientTrace{
		GotConn: func(info httptrace.GotConnInfo) { reused = append(reused, info.Reused) },
	})
	for range 3 {
		if _, err := c.send(ctx, request{url: e.url}); err != nil {
			t.Fatal(err)
		}
	}
	if len(reused) != 3 || reused[0] || !reused[1] || !reused[2] {
		t.Errorf("got connections reused: %v, want [false true true]", reused)
	}
}

func TestClientFollowsNoRedirect(t *testing.T) {
	target := serve(t, reply{body: "{}"})
	for _, status := range []int{301, 302, 303, 307, 308} {
		e := serve(t, http.RedirectHandler(target.url+"/unshown", status))
		_, err := testClient(t).send(t.Context(), request{url: e.url})
		wantFailure(t, err, token.Malformed, fmt.Sprintf("answered %d ", status), "unshown")
	}
	if n := len(target.requests()); n != 0 {
		t.Errorf("got %d requests to the target of the redirects, want none", n)
	}
}

func TestClientBoundsHeaders(t *testing.T) {
	e := serve(t, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("X-Long", strings.Repeat("x", 64<<10))
	}))
	_, err := testClient(t).send(t.Context(), request{url: e.url})
	wantFailure(t, err, token.Unavailable, "")
}

func TestClientRefusesInvalidURLs(t *testing.T) {
	for _, address := range []string{"", "auth.example.com/unshown", "gopher://auth.example.com/unshown", "https:///unshown", "https://[unshown", "http://unshown\x7f"} {
		t.Run(address, func(t *testing.T) {
			_, err := testClient(t).send(t.Context(), request{url: address})
			wantFailure(t, err, token.Malformed, "token_url must be an http or https URL", "unshown")
		})
	}
}

// net/http repeats requests with certain methods if a kept connection breaks. It must not
// repeat a login, because the provider may have received it.
func TestClientNeverRepeats(t *testing.T) {
	e := serve(t, reply{body: "{}"}, http.HandlerFunc(func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }))
	c := testClient(t)
	if _, err := c.send(t.Context(), request{url: e.url}); err != nil {
		t.Fatal(err)
	}
	_, err := c.send(t.Context(), request{url: e.url})
	wantFailure(t, err, token.Unavailable, "")
	if n := len(e.requests()); n != 2 {
		t.Errorf("got %d requests, want 2", n)
	}
}

// The clock is read when the request is sent, and once more for an answer without a Date.
func TestClientTellsWhenTheRequestWasSent(t *testing.T) {
	e := serve(t, reply{date: "none", body: enablexWire.body("tok", "3600")})
	readings := []clock.Instant{{Wall: noon, Mono: time.Hour}, {Wall: noon.Add(time.Minute), Mono: 2 * time.Hour}}
	sent := readings[0]
	c := testClient(t)
	c.clock = func() clock.Instant {
		now := readings[0]
		readings = readings[1:]
		return now
	}
	enablex := contractOf(t, "enablex-sms")
	got, err := enablex.lookup(t).Mint(t.Context(), c, enablex.settings(e.url))
	wantToken(t, got, err, "tok", 59*time.Minute)
	if got.Sent != sent {
		t.Errorf("got Sent %v, want %v", got.Sent, sent)
	}
}
