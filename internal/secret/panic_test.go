// SPDX-License-Identifier: MPL-2.0

package secret_test

import (
	"errors"
	"strings"
	"testing"

	"vault-plugin-secrets-messaging/internal/secret"
)

func TestRecoverTo(t *testing.T) {
	fail := func(value any) (err error) {
		defer secret.RecoverTo(&err)
		if value != nil {
			panic(value)
		}
		return nil
	}
	err := fail("unshown")
	var p *secret.PanicError
	if !errors.As(err, &p) || p.Type != "string" || !strings.Contains(string(p.Stack), "TestRecoverTo") || strings.Contains(err.Error(), "unshown") {
		t.Errorf("got %#v, want a PanicError with the stack and without the value", err)
	}
	if err := fail(nil); err != nil {
		t.Errorf("no panic: got %v, want nil", err)
	}
}
