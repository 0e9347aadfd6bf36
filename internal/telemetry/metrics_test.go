// SPDX-License-Identifier: MPL-2.0

package telemetry

import (
	"slices"
	"testing"

	"vault-plugin-secrets-messaging/internal/tokencache"
)

func TestMostUrgent(t *testing.T) {
	sample := func(name string, failures int) accountSample {
		return accountSample{config: name, status: tokencache.Status{Failures: failures}}
	}
	var got []string
	for _, s := range mostUrgent([]accountSample{sample("d", 0), sample("c", 1), sample("a", 0), sample("b", 9)}) {
		got = append(got, s.config)
	}
	if want := []string{"b", "c", "a", "d"}; !slices.Equal(got, want) { // b and c fail
		t.Errorf("got %q, want %q", got, want)
	}
}
