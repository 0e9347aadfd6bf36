// SPDX-License-Identifier: MPL-2.0

package revocation

import (
	"testing"
	"time"

	"vault-plugin-secrets-messaging/internal/clock"
	"vault-plugin-secrets-messaging/internal/token"
)

func TestCooldowns(t *testing.T) {
	const url = "https://one.example"
	for _, test := range []struct {
		err  *token.Error
		want time.Duration // of the cooldown
	}{
		{&token.Error{Kind: token.Unavailable}, cooldown},
		{&token.Error{Kind: token.Unavailable, RetryAfter: time.Second}, cooldown},
		{&token.Error{Kind: token.RateLimited, RetryAfter: 10 * time.Minute}, 10 * time.Minute},
		{&token.Error{Kind: token.Refused}, cooldown},
		{&token.Error{Kind: token.Malformed}, 0}, // concerns only this token
	} {
		var now clock.Instant
		c := newCooldowns(func() clock.Instant { return now })
		check := func(what string, got, want bool) {
			t.Helper()
			if got != want {
				t.Errorf("%s, RetryAfter %s: %s: got %t, want %t", test.err.Kind, test.err.RetryAfter, what, got, want)
			}
		}
		rev, starts := Revocation{Config: "a", URL: url}, test.want > 0
		c.start(rev, test.err)
		check("cooldown of another config", c.active(Revocation{Config: "b", URL: url}), false)
		check("cooldown of another endpoint", c.active(Revocation{Config: "a", URL: "https://two.example"}), false)
		check("cooldown", c.active(rev), starts)
		now = now.Add(max(test.want-1, 0))
		check("cooldown just before its end", c.active(rev), starts)
		now = now.Add(1)
		check("cooldown at its end", c.active(rev), false)
		check("failed before the first success", c.end(rev), starts)
		check("failed before the second success", c.end(rev), false)
	}
}
