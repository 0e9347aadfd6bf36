// SPDX-License-Identifier: MPL-2.0

// Package clients tests the plugin with clients that others wrote, and with the
// programs of docs/recipes that are built on them. Run it with
// "make test-clients".
package clients

import (
	"testing"

	"vault-plugin-secrets-messaging/acceptance/harness"
)

func TestMain(m *testing.M) { harness.Main(m) }
