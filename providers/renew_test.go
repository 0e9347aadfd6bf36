// SPDX-License-Identifier: MPL-2.0

package providers

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"vault-plugin-secrets-messaging/internal/secret"
	"vault-plugin-secrets-messaging/internal/token"
)

func TestRenew(t *testing.T) {
	success := reply{body: `{"access_token":"new","expires_in":300,"refresh_token":"second","refresh_expires_in":1800}`}
	tests := map[string]struct {
		refresh secret.String
		reply   reply
		grant   string
		err     string // what the error begins with; "" for a token
	}{
		"no refresh token":                   {"", success, "password", ""},
		"a refresh token":                    {"first", success, "refresh_token", ""},
		"an expired refresh token":           {"first", reply{status: 400, body: `{"error":"invalid_grant"}`}, "refresh_token", "refreshing the token: credentials refused: "},
		"a refresh token refused with a 401": {"first", reply{status: 401, body: `{}`}, "refresh_token", "refreshing the token: credentials refused: "},
		"a refresh that a firewall blocks":   {"first", reply{status: 403, body: "<html>"}, "refresh_token", "refreshing the token: unavailable: "},
		"a refresh that is rate-limited":     {"first", reply{status: 429}, "refresh_token", "refreshing the token: rate-limited: "},
		"a refresh without an answer":        {"first", reply{status: 503}, "refresh_token", "refreshing the token: unavailable: "},
		"a refresh with a malformed answer":  {"first", reply{body: "<p>"}, "refresh_token", "refreshing the token: malformed answer: "},
		"a login without an answer":          {"", reply{status: 503}, "password", "unavailable: "},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			e := serve(t, test.reply)
			c := contractOf(t, "sinch-india")
			got, err := Renew(t.Context(), mustLookup(t, c.provider), testClient(t), c.settings(e.url), test.refresh)
			if test.err == "" {
				wantToken(t, got, err, "new", 5*time.Minute)
			} else if f := failure(t, err); !strings.HasPrefix(f.Error(), test.err) {
				t.Errorf("got %v, want %s", f, test.err)
			}
			var grants []string
			for _, r := range e.requests() {
				grants = append(grants, r.form.Get("grant_type"))
			}
			if got := strings.Join(grants, " "); got != test.grant {
				t.Errorf("got the grants %q, want only %q", got, test.grant)
			}
		})
	}
}

func TestRenewWithoutRefresher(t *testing.T) {
	e := serve(t, reply{body: `{"access_token":"new","expires_in":300}`})
	c := contractOf(t, "enablex-sms")
	_, err := Renew(t.Context(), mustLookup(t, c.provider), testClient(t), c.settings(e.url), "stored")
	wantFailure(t, err, token.Refused, "refreshing the token: credentials refused: the provider does not use refresh tokens")
	if n := len(e.requests()); n != 0 {
		t.Errorf("got %d requests, want none", n)
	}
}

type brokenRefresher struct{ Base }

func (brokenRefresher) Spec() Spec { return Spec{CanRefresh: true} }

func (brokenRefresher) Mint(context.Context, *Client, Settings) (token.Token, error) {
	return token.Token{}, errBroken
}

var errBroken = errors.New("broken")

func (brokenRefresher) Refresh(context.Context, *Client, Settings, secret.String) (token.Token, error) {
	return token.Token{}, errBroken
}

func TestRenewReturnsOtherErrors(t *testing.T) {
	if _, err := Renew(t.Context(), brokenRefresher{}, testClient(t), Settings{}, "first"); !errors.Is(err, errBroken) {
		t.Errorf("got %v, want %v", err, errBroken)
	}
}

func TestSerialKey(t *testing.T) {
	const address = "https://auth.example.com/token"
	for _, test := range []struct {
		provider string
		values   map[string]secret.String
		want     string
	}{
		{"sinch-india", values("username", "acme", "password", hidden), address + " acme"},
		{"oauth2", values("client_id", "acme", "grant_type", "password", "username", "joe", "password", hidden), address + " joe"},
		{"oauth2", values("client_id", "acme", "client_secret", hidden), ""},
		{"sinch-conversation", values("client_id", "acme", "client_secret", hidden), ""},
	} {
		if got := SerialKey(mustLookup(t, test.provider).Spec(), Settings{TokenURL: address, Values: test.values}); got != test.want {
			t.Errorf("%s with %v: got key %q, want %q", test.provider, test.values, got, test.want)
		}
	}
}

func TestRateKey(t *testing.T) {
	key := func(address, id, secret string) string {
		return RateKey(mustLookup(t, "oauth2").Spec(), Settings{TokenURL: address, Values: values("client_id", id, "client_secret", secret)})
	}
	base := key("https://auth.example.com/token", "acme", hidden)
	if want := "auth.example.com acme"; base != want {
		t.Errorf("got key %q, want %q", base, want)
	}
	for what, test := range map[string]struct {
		key  string
		same bool
	}{
		"another secret": {key("https://auth.example.com/token", "acme", "new"), true},
		"another path":   {key("https://auth.example.com/v2/token", "acme", hidden), true},
		"another host":   {key("https://auth2.example.com/token", "acme", hidden), false},
		"another client": {key("https://auth.example.com/token", "other", hidden), false},
	} {
		if same := test.key == base; same != test.same {
			t.Errorf("%s: got the same key: %v, want %v", what, same, test.same)
		}
	}
}
