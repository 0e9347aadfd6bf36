// SPDX-License-Identifier: MPL-2.0

package oauth

import (
	"fmt"
	"strings"
	"testing"

	"vault-plugin-secrets-messaging/acceptance/harness"
)

// TestKeycloak runs all tests with Keycloak as subtests. They share the two servers, because the
// servers start slowly. Sinch India runs Keycloak, so some subtests are about the behaviour of Keycloak
// that the plugin relies on.
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
			w.keycloak.deleteEvents(t)
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

// account is a user of the realm, and a config with the same name in Vault.
type account struct {
	*servers
	name, password string
	id             string // the user's id at Keycloak
}

// account makes a user. The test writes the config itself.
func (w *servers) account(t *testing.T) *account {
	t.Helper()
	w.accounts++
	a := &account{servers: w, name: fmt.Sprintf("acme-%d", w.accounts), password: "correct-horse-battery"}
	a.id = w.keycloak.addUser(t, a.name, a.password)
	t.Cleanup(func() { w.vault.Delete(t, a.config()) }) // ends the background refreshes
	return a
}

func (a *account) config() string { return "messaging/config/" + a.name }
func (a *account) creds() string  { return "messaging/creds/" + a.name }

// write writes the account's config with additional fields.
func (a *account) write(t *testing.T, more harness.Fields) harness.Response {
	t.Helper()
	fields := harness.Fields{
		"provider": "sinch-india", "username": a.name, "password": a.password,
		"token_url": a.keycloak.endpoint("token"),
	}
	for name, value := range more {
		fields[name] = value
	}
	return a.vault.Write(t, a.config(), fields)
}

// token reads creds and returns the access token. It fails the test if the read fails.
func (a *account) token(t *testing.T) string {
	t.Helper()
	return a.vault.Read(t, a.creds()).OK(t).Text("access_token")
}

// next reads creds until the token differs from old, and returns the new token. It fails the test
// if a read fails.
func (a *account) next(t *testing.T, old string) (token string) {
	t.Helper()
	harness.Until(t, "creds return the next token", func() bool {
		token = a.token(t)
		return token != old
	})
	return token
}

// retryLogin repeats do, which must cause a login, until the login succeeds. Keycloak may refuse a
// login shortly after another login of the user: see testConcurrentLogins.
func (a *account) retryLogin(t *testing.T, do func() harness.Response) {
	t.Helper()
	harness.Until(t, "Keycloak accepts another login", func() bool {
		r := do()
		if strings.Contains(r.Raw, "Invalid user credentials") {
			return false
		}
		r.OK(t)
		return true
	})
}

// refreshEarly makes the engine refresh tokens in the background after a tenth of their lifetime,
// so that tests need not wait for the end of a token.
var refreshEarly = harness.Fields{"refresh_window": "1h"}
