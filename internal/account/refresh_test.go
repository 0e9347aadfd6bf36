// SPDX-License-Identifier: MPL-2.0

package account

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/vault/sdk/logical"

	"vault-plugin-secrets-messaging/internal/clock"
	"vault-plugin-secrets-messaging/internal/secret"
	"vault-plugin-secrets-messaging/internal/token"
	"vault-plugin-secrets-messaging/providers"
)

// A refresh token counts as lost only if the provider's answer blames the refresh token itself.
func TestOutcomeOf(t *testing.T) {
	for name, test := range map[string]struct {
		err  error
		want outcome
	}{
		"a token":                         {nil, answered},
		"no connection":                   {&token.Error{Kind: token.Unavailable, Unsent: true}, notConsumed},
		"no answer":                       {&token.Error{Kind: token.Unavailable}, unknown},
		"an error of another type":        {errors.New("x"), unknown},
		"a malformed answer":              {&token.Error{Kind: token.Malformed, Status: 200}, unknown},
		"500":                             {&token.Error{Kind: token.Unavailable, Status: 500}, unknown},
		"503":                             {&token.Error{Kind: token.Unavailable, Status: 503}, notConsumed},
		"429":                             {&token.Error{Kind: token.RateLimited, Status: 429}, notConsumed},
		"a refused client (RFC 6749)":     {&token.Error{Kind: token.Refused, Status: 401, Code: "invalid_client"}, notConsumed},
		"a refused client (definition)":   {&token.Error{Kind: token.Refused, Status: 200, Code: "-104", Client: true}, notConsumed},
		"a setting at the provider":       {&token.Error{Kind: token.Refused, Operator: true, Code: "-103"}, notConsumed},
		"401 without a code":              {&token.Error{Kind: token.Refused, Status: 401}, notConsumed},
		"a refused token (RFC 6749)":      {&token.Error{Kind: token.Refused, Status: 400, Code: "invalid_grant"}, refused},
		"a refused token (another code)":  {&token.Error{Kind: token.Refused, Status: 200, Code: "invalid_refresh_token"}, refused},
		"a refused token without a code":  {&token.Error{Kind: token.Refused, Status: 400}, refused},
		"a wrapped refusal of the client": {errors.Join(&token.Error{Kind: token.Refused, Client: true}), notConsumed},
	} {
		if got := outcomeOf(test.err); got != test.want {
			t.Errorf("%s: got outcome %d, want %d", name, got, test.want)
		}
	}
}

// After the mount is closed, no refresh token is used, because nothing would wait for the answer.
func TestNoExchangeBeginsAfterClose(t *testing.T) {
	closed, cancel := context.WithCancel(t.Context())
	cancel()
	r := newRefreshTokens(nil, nil, nil)
	for range 50 { // the turn is free too, and select chooses at random
		_, err := r.exchange(closed, &Account{Name: "a"}, nil)
		if e := (*token.Error)(nil); !errors.As(err, &e) || !e.Unsent {
			t.Fatalf("got the error %v of an exchange after the close, want one that says that nothing was sent", err)
		}
	}
}

func TestRefreshTokenInStorage(t *testing.T) {
	ctx, s := t.Context(), &logical.InmemStorage{}
	r := newRefreshTokens(s, clock.System(), hclog.NewNullLogger)
	a := &Account{Name: "a", refresh: r, Config: &Config{Fields: map[string]secret.String{providers.RefreshField: "one"},
		provider: &provider{spec: providers.Spec{SpendsRefresh: true}}}}
	use := func(r *RefreshTokens, want secret.String, during func()) {
		t.Helper()
		_, err := r.exchange(ctx, a, func(_ context.Context, got secret.String) (token.Token, error) {
			if got != want {
				t.Errorf("got the refresh token %s, want %s", got.Reveal(), want.Reveal())
			}
			during()
			return token.Token{Access: "t", Lifetime: time.Hour, Sent: clock.System()(), Refresh: "two"}, nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	use(r, "one", func() { s.Underlying().FailPut(true) })
	if !r.HasUnsaved() || a.RefreshTokenState() != refreshUnsaved {
		t.Errorf("storage refused the refresh token: got the state %s, want %s", a.RefreshTokenState(), refreshUnsaved)
	}
	r.StoreUnsaved(ctx)
	s.Underlying().FailPut(false)
	r.StoreUnsaved(ctx)
	if r.HasUnsaved() || a.RefreshTokenState() != refreshStored {
		t.Errorf("storage works again: got the state %s, want %s", a.RefreshTokenState(), refreshStored)
	}
	use(newRefreshTokens(s, clock.System(), hclog.NewNullLogger), "two", func() {}) // after a restart
	if err := r.removeToken(ctx, "a"); err != nil {
		t.Fatal(err)
	}
	if got, err := r.token(ctx, "a", a.Config); got != nil || err != nil {
		t.Errorf("the access token was removed: got %v, %v, want none", got, err)
	}
	use(r, "two", func() { r.drop(ctx, "a") })
	if entry, err := s.Get(ctx, RefreshPrefix+"a"); entry != nil || err != nil {
		t.Errorf("the config was deleted during an exchange: got the record %v, %v, want none", entry, err)
	}
}
