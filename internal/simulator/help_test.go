// SPDX-License-Identifier: MPL-2.0

package simulator_test

import (
	"reflect"
	"strings"
	"testing"

	"vault-plugin-secrets-messaging/internal/simulator"
)

func TestHelp(t *testing.T) {
	want := []string{"  /rcs/v1/token ", "  PATCH /sim/settings ", "correct-horse\n", "Each use returns new tokens."}
	for _, kind := range simulator.FaultKinds() {
		want = append(want, "\n    "+kind+" ")
	}
	for _, v := range []any{simulator.ProviderSettings{}, simulator.Account{}, simulator.Fault{}} {
		for _, f := range reflect.VisibleFields(reflect.TypeOf(v)) {
			name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
			want = append(want, "\n  "+name+" ")
		}
	}
	help := simulator.Help()
	for _, text := range want {
		if !strings.Contains(help, text) {
			t.Errorf("got a help without %q: %s", text, help)
		}
	}
}
