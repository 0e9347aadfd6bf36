// SPDX-License-Identifier: MPL-2.0

package providers

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"testing"

	"vault-plugin-secrets-messaging/internal/secret"
)

func TestRenew(t *testing.T) {
	const token = `{"access_token":"new","expires_in":300,"refresh_token":"second","refresh_expires_in":1800}`
	tests := map[string]struct {
		refresh secret.String
		replies []reply
		grants  string // those asked for, in turn
		kind    Kind   // "" for a token
		step    bool   // whether the error says that it was the refresh
	}{
		"without a refresh token":                 {replies: []reply{{body: token}}, grants: "password"},
		"with one":                                {refresh: "first", replies: []reply{{body: token}}, grants: "refresh_token"},
		"with a dead one":                         {refresh: "first", replies: []reply{{status: 400, body: `{"error":"invalid_grant","error_description":"Token is not active"}`}, {body: token}}, grants: "refresh_token password"},
		"with a refused one":                      {refresh: "first", replies: []reply{{status: 401}, {body: token}}, grants: "refresh_token password"},
		"with a refused one and a wrong password": {refresh: "first", replies: []reply{{status: 400, body: `{"error":"invalid_grant"}`}}, grants: "refresh_token password", kind: Refused},
		"rate-limited":                            {refresh: "first", replies: []reply{{status: 429}}, grants: "refresh_token", kind: RateLimited, step: true},
		"unavailable":                             {refresh: "first", replies: []reply{{status: 503}}, grants: "refresh_token", kind: Unavailable, step: true},
		"malformed":                               {refresh: "first", replies: []reply{{body: "<p>"}}, grants: "refresh_token", kind: Malformed, step: true},
		"unavailable without one":                 {replies: []reply{{status: 503}}, grants: "password", kind: Unavailable},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			e := serve(t, handlers(test.replies)...)
			s := Settings{TokenURL: e.url, Values: values("username", "acme", "password", hidden)}
			got, err := Renew(t.Context(), sinchIndia{}, testClient(t), s, test.refresh)
			if test.kind == "" {
				if err != nil || got.Access != "new" || got.Refresh != "second" {
					t.Errorf("got %+v, %v; want the new token", got, err)
				}
			} else if f := failure(t, err); f.Kind != test.kind || strings.HasPrefix(f.Error(), "refreshing the token: ") != test.step {
				t.Errorf("got %v; want %q, said to be the refresh: %v", f, test.kind, test.step)
			}
			var grants []string
			for _, r := range e.requests() {
				grants = append(grants, r.form.Get("grant_type"))
			}
			if got := strings.Join(grants, " "); got != test.grants {
				t.Errorf("asked for %q, want %q", got, test.grants)
			}
		})
	}
}

// A refresh token that was stored for a provider without refresh is no use.
func TestRenewWithoutRefresher(t *testing.T) {
	e := serve(t, reply{body: `{"access_token":"new","expires_in":300}`})
	s := Settings{TokenURL: e.url, Values: values("client_id", "acme", "client_secret", hidden)}
	token, err := Renew(t.Context(), sinchConversation{}, testClient(t), s, "left over")
	if err != nil || token.Access != "new" || token.Refresh != "" {
		t.Errorf("got %+v, %v", token, err)
	}
	if got := e.requests()[0].form.Get("grant_type"); got != "client_credentials" {
		t.Errorf("asked for %q", got)
	}
}

type brokenRefresher struct{ sinchIndia }

var errBroken = errors.New("broken")

func (brokenRefresher) Refresh(context.Context, *Client, Settings, secret.String) (Token, error) {
	return Token{}, errBroken
}

func TestRenewReturnsErrorsItDoesNotKnow(t *testing.T) {
	if _, err := Renew(t.Context(), brokenRefresher{}, nil, Settings{}, "first"); !errors.Is(err, errBroken) {
		t.Errorf("got %v", err)
	}
}

func handlers(replies []reply) []http.Handler {
	var h []http.Handler
	for _, r := range replies {
		h = append(h, r)
	}
	return h
}
