// SPDX-License-Identifier: MPL-2.0

// Package keycloak tests the built plugin in a real Vault server against a real
// Keycloak, the server that Sinch India runs, and tests what Keycloak itself does
// where the plugin counts on it. Run it with "make test-keycloak".
package keycloak

import (
	"fmt"
	"strings"
	"testing"

	"vault-plugin-secrets-messaging/acceptance/harness"
)

func TestMain(m *testing.M) { harness.Main(m) }

// TestKeycloak is one test with many parts since they share the two servers,
// which take their time to start.
func TestKeycloak(t *testing.T) {
	w := &world{keycloak: startKeycloak(t), vault: harness.StartDev(t)}
	w.vault.InstallPlugin(t)

	for _, part := range []struct {
		name string
		run  func(*testing.T, *world)
	}{
		{"Answers", testAnswers},
		{"AnswersAboutTheAccount", testAnswersAboutTheAccount},
		{"AnswersAboutTheRealm", testAnswersAboutTheRealm},
		{"Lifetimes", testLifetimes},
		{"SessionNearItsMax", testSessionNearItsMax},
		{"OneUseRefreshTokens", testOneUseRefreshTokens},
		{"Lockout", testLockout},
		{"LoginsAtOnce", testLoginsAtOnce},
		{"Logout", testLogout},
		{"Revocation", testRevocation},
		{"PasswordGrant", testPasswordGrant},
		{"RefreshGrant", testRefreshGrant},
		{"RefreshTokenDiesFirst", testRefreshTokenDiesFirst},
		{"OfflineToken", testOfflineToken},
		{"SessionEnded", testSessionEnded},
		{"SessionsFollowEachOther", testSessionsFollowEachOther},
		{"RotateLogsIn", testRotateLogsIn},
		{"RotateRevokes", testRotateRevokes},
		{"ReadsAtOnce", testReadsAtOnce},
		{"WrongPassword", testWrongPassword},
		{"NoLockoutByUs", testNoLockoutByUs},
		{"LockedByOthers", testLockedByOthers},
		{"AccountDisabled", testAccountDisabled},
		{"AccountNotSetUp", testAccountNotSetUp},
		{"KeycloakStopsAndIsBack", testKeycloakStopsAndIsBack},
	} {
		t.Run(part.name, func(t *testing.T) {
			w.keycloak.forgetEvents(t)
			part.run(t, w)
		})
	}
}

// world is the two servers.
type world struct {
	keycloak *keycloak
	vault    *harness.Server
	accounts int // made so far
}

// account is a user of the realm, and the config of the same name in Vault, once
// it is written.
type account struct {
	*world
	name, password string
	id             string // Keycloak's
}

// account makes a user.
func (w *world) account(t *testing.T) *account {
	t.Helper()
	w.accounts++
	a := &account{world: w, name: fmt.Sprintf("acme-%d", w.accounts), password: "correct-horse-battery"}
	a.id = w.keycloak.addUser(t, a.name, a.password)
	t.Cleanup(func() { w.vault.Delete(t, a.config()) }) // else it is refreshed in the background
	return a
}

func (a *account) config() string { return "messaging/config/" + a.name }
func (a *account) creds() string  { return "messaging/creds/" + a.name }

// write writes the account's config, with these fields besides.
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

// token reads creds, which must succeed.
func (a *account) token(t *testing.T) string {
	t.Helper()
	return a.vault.Read(t, a.creds()).OK(t).Text("access_token")
}

// next reads creds until there is another token than old. Each read must succeed.
func (a *account) next(t *testing.T, old string) (token string) {
	t.Helper()
	harness.Within(t, patience, "the next token", func() error {
		if token = a.token(t); token == old {
			return fmt.Errorf("still the old one")
		}
		return nil
	})
	return token
}

// soon does what costs a login that comes soon after another one of the account,
// and so may be refused for that alone (see testLoginsAtOnce): then it does it again.
func (a *account) soon(t *testing.T, do func() harness.Response) {
	t.Helper()
	until(t, "Keycloak takes another login", func() bool {
		r := do()
		if strings.Contains(r.Raw, "Invalid user credentials") {
			return false
		}
		r.OK(t)
		return true
	})
}

// often has tokens refreshed behind their readers after a tenth of their life, so
// that a test need not wait for their end, nor come too late for it.
var often = harness.Fields{"refresh_window": "1h"}
