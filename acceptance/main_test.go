// SPDX-License-Identifier: MPL-2.0

// Package acceptance tests the built plugin in a real Vault server. Run it with
// "make acceptance".
package acceptance

import (
	"testing"

	"vault-plugin-secrets-messaging/acceptance/harness"
)

func TestMain(m *testing.M) { harness.Main(m) }
