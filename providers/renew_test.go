// SPDX-License-Identifier: MPL-2.0

package providers

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"testing"
	"time"

	"vault-plugin-secrets-messaging/internal/secret"
	"vault-plugin-secrets-messaging/internal/token"
)

func TestRenew(t *testing.T) {
	success := reply{body: `{"access_token":"new","expires_in":300,"refresh_token":"second","refresh_expires_in":1800}`}
	invalidGrant := reply{status: 400, body: `{"error":"invalid_grant"}`}
	tests := map[string]struct {
		refresh secret.String
		replies []http.Handler
		grants  string // in the order of the requests
		err     string // what the error begins with; "" for a token
	}{
		"no refresh token":                        {"", []http.Handler{success}, "password", ""},
		"a refresh token":                         {"first", []http.Handler{success}, "refresh_token", ""},
		"an expired refresh token":                {"first", []http.Handler{invalidGrant, success}, "refresh_token password", ""},
		"a refresh token refused with a 401":      {"first", []http.Handler{reply{status: 401}, success}, "refresh_token password", ""},
		"both the refresh token and the password": {"first", []http.Handler{invalidGrant}, "refresh_token password", "credentials refused: "},
		"a refresh that is rate-limited":          {"first", []http.Handler{reply{status: 429}}, "refresh_token", "refreshing the token: rate-limited: "},
		"a refresh without an answer":             {"first", []http.Handler{reply{status: 503}}, "refresh_token", "refreshing the token: unavailable: "},
		"a refresh with a malformed answer":       {"first", []http.Handler{reply{body: "<p>"}}, "refresh_token", "refreshing the token: malformed answer: "},
		"a login without an answer":               {"", []http.Handler{reply{status: 503}}, "password", "unavailable: "},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			e := serve(t, test.replies...)
			c := contractOf(t, "sinch-india")
			got, err := Renew(t.Context(), c.lookup(t), testClient(t), c.settings(e.url), test.refresh)
			if test.err == "" {
				wantToken(t, got, err, "new", 5*time.Minute)
			} else if f := failure(t, err); !strings.HasPrefix(f.Error(), test.err) {
				t.Errorf("got %v, want %s", f, test.err)
			}
			var grants []string
			for _, r := range e.requests() {
				grants = append(grants, r.form.Get("grant_type"))
			}
			if got := strings.Join(grants, " "); got != test.grants {
				t.Errorf("got the grants %q, want %q", got, test.grants)
			}
		})
	}
}

// A provider without refresh ignores a stored refresh token.
func TestRenewWithoutRefresher(t *testing.T) {
	e := serve(t, reply{body: `{"access_token":"new","expires_in":300}`})
	c := contractOf(t, "sinch-conversation")
	got, err := Renew(t.Context(), c.lookup(t), testClient(t), c.settings(e.url), "stored")
	wantToken(t, got, err, "new", 5*time.Minute)
	if grant := e.requests()[0].form.Get("grant_type"); grant != "client_credentials" || got.Refresh != "" {
		t.Errorf("got grant %q and refresh token %q, want client_credentials and none", grant, got.Refresh.Reveal())
	}
}

type brokenRefresher struct{ sinchIndia }

var errBroken = errors.New("broken")

func (brokenRefresher) Refresh(context.Context, *Client, Settings, secret.String) (token.Token, error) {
	return token.Token{}, errBroken
}

func TestRenewReturnsOtherErrors(t *testing.T) {
	if _, err := Renew(t.Context(), brokenRefresher{}, testClient(t), Settings{}, "first"); !errors.Is(err, errBroken) {
		t.Errorf("got %v, want %v", err, errBroken)
	}
}
