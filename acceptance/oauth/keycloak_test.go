// SPDX-License-Identifier: MPL-2.0

package oauth

import (
	"fmt"
	"strings"
	"testing"

	"vault-plugin-secrets-messaging/acceptance/harness"
)

// TestKeycloak runs all tests with Keycloak. These tests share the servers, because the servers
// start slowly. Some tests call Keycloak without the engine, because Sinch India runs Keycloak.
func TestKeycloak(t *testing.T) {
	t.Parallel()
	w := &servers{keycloak: startKeycloak(t), vault: harness.StartDev(t)}
	w.vault.InstallPlugin(t)

	for _, test := range []struct {
		name string
		run  func(*testing.T, *servers)
	}{
		{"TokenResponses", testTokenResponses},
		{"AccountErrors", testAccountErrors},
		{"RealmErrors", testRealmErrors},
		{"Lifetimes", testLifetimes},
		{"RefreshNearSessionMax", testRefreshNearSessionMax},
		{"OneUseRefreshTokens", testOneUseRefreshTokens},
		{"Lockout", testLockout},
		{"ConcurrentLogins", testConcurrentLogins},
		{"Logout", testLogout},
		{"Revocation", testRevocation},
		{"PasswordGrant", testPasswordGrant},
		{"RefreshGrant", testRefreshGrant},
		{"RefreshTokenEndsFirst", testRefreshTokenEndsFirst},
		{"OfflineToken", testOfflineToken},
		{"SessionEnded", testSessionEnded},
		{"SessionReachesItsMax", testSessionReachesItsMax},
		{"RotateLogsIn", testRotateLogsIn},
		{"RotateRevokes", testRotateRevokes},
		{"ConcurrentReads", testConcurrentReads},
		{"WrongPassword", testWrongPassword},
		{"WrongPasswordCausesNoLockout", testWrongPasswordCausesNoLockout},
		{"LockedUser", testLockedUser},
		{"AccountDisabled", testAccountDisabled},
		{"AccountNotSetUp", testAccountNotSetUp},
		{"ClientSecret", testKeycloakClientSecret},
		{"RefreshTokenGrant", testKeycloakRefreshTokenGrant},
		{"PrivateKey", testPrivateKeyOfClient},
		{"SignedAssertion", testSignedAssertion},
		{"KeyActivated", testKeyActivated},
		{"JWTAuthorizationGrant", testJWTAuthorizationGrant},
		{"X509", testX509},
		{"KeycloakRestarts", testKeycloakRestarts},
	} {
		t.Run(test.name, func(t *testing.T) {
			w.keycloak.admin(t, "DELETE", "/"+realm+"/events", nil, nil) // of the previous subtest
			test.run(t, w)
		})
	}
}

// servers holds the servers that the subtests share.
type servers struct {
	keycloak *keycloak
	vault    *harness.Server
	accounts int // the number of users so far
}

// account is a user of the realm, and a config with the user's name.
type account struct {
	*config
	keycloak *keycloak
	password string
	id       string // the user's id at Keycloak
}

// account makes a user. The test writes the config itself.
func (w *servers) account(t *testing.T) *account {
	t.Helper()
	w.accounts++
	name, password := fmt.Sprintf("acme-%d", w.accounts), "correct-horse-battery"
	a := &account{
		config: &config{w.vault, w.keycloak, name, harness.Fields{
			"provider": "sinch-india", "username": name, "password": password, "token_url": w.keycloak.endpoint("token"),
		}},
		keycloak: w.keycloak, password: password, id: w.keycloak.addUser(t, name, password),
	}
	a.deleteAfter(t)
	return a
}

// retryLogin repeats a login until Keycloak accepts the login. Keycloak may refuse a login shortly
// after another login.
func (a *account) retryLogin(t *testing.T, do func(*testing.T) harness.Response) {
	t.Helper()
	harness.Until(t, "Keycloak accepts another login", func() bool {
		r := do(t)
		if strings.Contains(r.Raw, "Invalid user credentials") {
			return false
		}
		r.OK(t)
		return true
	})
}

// writeConfig writes the config without additional fields.
func (a *account) writeConfig(t *testing.T) harness.Response {
	t.Helper()
	return a.write(t, nil)
}
