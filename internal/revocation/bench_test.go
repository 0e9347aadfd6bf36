// SPDX-License-Identifier: MPL-2.0

package revocation

import (
	"fmt"
	"testing"
)

// BenchmarkPending measures how long Pending takes if no token is due.
func BenchmarkPending(b *testing.B) {
	for _, tokens := range []int{100, 20_000} {
		b.Run(fmt.Sprint(tokens), func(b *testing.B) {
			f := newFixture(b)
			f.tick()
			f.provider.fail(errDown)
			a := f.config("a")
			for i := range tokens {
				f.RevokeOrQueue(f.token(a, fmt.Sprint(i)))
			}
			for b.Loop() {
				if f.Pending() {
					b.Fatal("got Pending while the endpoint rests, want nothing to do")
				}
			}
		})
	}
}
