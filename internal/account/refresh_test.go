// SPDX-License-Identifier: MPL-2.0

package account

import (
	"context"
	"errors"
	"testing"

	"vault-plugin-secrets-messaging/internal/token"
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

// No exchange begins after the mount is closed, because nothing would wait for its result.
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
