// SPDX-License-Identifier: MPL-2.0

// Package oauth tests the plugin with two real authorization servers: Keycloak, and oidc-provider
// for Node.js. Run it with "make test-oauth".
package oauth

import (
	"testing"

	"vault-plugin-secrets-messaging/acceptance/harness"
)

func TestMain(m *testing.M) { harness.Main(m) }
