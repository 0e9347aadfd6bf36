// SPDX-License-Identifier: MPL-2.0

package token

import (
	"testing"
	"time"
)

func TestError(t *testing.T) {
	const where = "auth.example.com/token"
	tests := []struct {
		err  Error
		want string
	}{
		{Error{Kind: Refused}, "credentials refused"},
		{Error{Kind: Refused, Operator: true}, "account blocked"},
		{Error{Kind: Refused, Words: "No."}, `credentials refused: "No."`},
		{
			Error{Kind: Refused, Status: 401, Code: "invalid_grant", Words: "Invalid user credentials", Endpoint: where},
			`credentials refused: auth.example.com/token answered 401 Unauthorized: invalid_grant "Invalid user credentials"`,
		},
		{
			Error{Kind: RateLimited, Status: 429, RetryAfter: 30 * time.Second, Endpoint: where},
			"rate-limited: auth.example.com/token answered 429 Too Many Requests, asking to wait 30s",
		},
		{
			Error{Kind: Unavailable, Endpoint: where, Problem: "no complete answer within 10s (request_timeout)", Step: "refreshing the token"},
			"refreshing the token: unavailable: auth.example.com/token: no complete answer within 10s (request_timeout)",
		},
		{
			Error{Kind: Malformed, Status: 299, Code: "77", Endpoint: where, Problem: "it is odd"},
			"malformed answer: auth.example.com/token answered 299: it is odd: 77",
		},
	}
	for _, test := range tests {
		if got := test.err.Error(); got != test.want {
			t.Errorf("%#v:\ngot  %s\nwant %s", test.err, got, test.want)
		}
	}
}

func TestKind(t *testing.T) {
	for kind, want := range []string{"unavailable", "malformed", "rate_limited", "refused"} {
		if got := Kind(kind).String(); got != want {
			t.Errorf("Kind(%d): got %q, want %q", kind, got, want)
		}
	}
}
