// SPDX-License-Identifier: MPL-2.0

package providers

import (
	"testing"
	"time"
)

func TestErrorReadsWell(t *testing.T) {
	const where = "auth.example.com/token"
	tests := []struct {
		err  Error
		want string
	}{
		{Error{Kind: Refused}, "credentials refused"},
		{Error{Kind: Refused, Words: "No."}, `credentials refused: "No."`},
		{
			Error{Kind: Refused, Status: 401, Code: "invalid_grant", Words: "Invalid user credentials", endpoint: where},
			`credentials refused: auth.example.com/token answered 401 Unauthorized: invalid_grant "Invalid user credentials"`,
		},
		{
			Error{Kind: RateLimited, Status: 429, RetryAfter: 30 * time.Second, endpoint: where},
			"rate-limited: auth.example.com/token answered 429 Too Many Requests, asking to wait 30s",
		},
		{
			Error{Kind: Unavailable, endpoint: where, problem: "no complete answer within 10s (request_timeout)", step: "refreshing the token"},
			"refreshing the token: unavailable: auth.example.com/token: no complete answer within 10s (request_timeout)",
		},
		{
			Error{Kind: Malformed, Status: 299, Code: "77", endpoint: where, problem: "it is odd"},
			"malformed answer: auth.example.com/token answered 299: it is odd: 77",
		},
	}
	for _, test := range tests {
		if got := test.err.Error(); got != test.want {
			t.Errorf("it reads\n%s, want\n%s", got, test.want)
		}
	}
	if got := (&FieldError{"username", "needed"}).Error(); got != "username: needed" {
		t.Errorf("FieldError reads %q", got)
	}
}

func TestRetryAfter(t *testing.T) {
	for header, want := range map[string]time.Duration{
		"":                               0,
		"0":                              0,
		"120":                            2 * time.Minute,
		" 120 ":                          2 * time.Minute,
		"901":                            15 * time.Minute,
		"99999999999999999999999":        15 * time.Minute,
		"-1":                             0,
		"1.5":                            0,
		"soon":                           0,
		"Sun, 04 May 2031 12:00:09 GMT":  9 * time.Second,
		"Sun, 04 May 2031 11:00:00 GMT":  0,
		"Sun, 04 May 2042 12:00:00 GMT":  15 * time.Minute,
		"Sunday, 04-May-31 12:00:09 GMT": 9 * time.Second, // the obsolete format of RFC 850
	} {
		if got := retryAfter(header, noon); got != want {
			t.Errorf("Retry-After: %q gives %v, want %v", header, got, want)
		}
	}
}
