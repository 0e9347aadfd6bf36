// SPDX-License-Identifier: MPL-2.0

package oauth

import (
	"fmt"
	"maps"
	"testing"
)

// Names of the realm and its clients. The realm and the first client have the names that Sinch
// India uses.
const (
	realm  = "ipmessaging"
	client = "ipmessaging-client"

	// introspector is a client that may introspect tokens, because it has a secret.
	introspector       = "introspector"
	introspectorSecret = "introspector-secret"

	adminClient = "test-admin"
	adminSecret = "test-admin-secret"
)

// object is a JSON object of Keycloak's admin API.
type object = map[string]any

// defaults holds the settings that the realm has unless a test changes them. The lifetimes are those
// that Sinch documents. The realm locks a user after 3 failures, because Keycloak's default of 30 would
// make the tests slow. The other settings are Keycloak's defaults.
var defaults = object{
	"enabled":               true,
	"accessTokenLifespan":   300,
	"ssoSessionIdleTimeout": 1800,
	"ssoSessionMaxLifespan": 36000,
	"revokeRefreshToken":    false,
	"bruteForceProtected":   true,
	"failureFactor":         3,
}

// mappers adds the introspector to the audience of a client's tokens. Otherwise Keycloak would tell the
// introspector that the tokens are not active.
var mappers = []object{{
	"name": "audience", "protocol": "openid-connect", "protocolMapper": "oidc-audience-mapper",
	"config": object{"included.client.audience": introspector, "access.token.claim": "true"},
}}

// makeRealm makes the realm with its clients.
func (k *keycloak) makeRealm(t *testing.T) {
	t.Helper()
	settings := object{
		"realm":             realm,
		"passwordPolicy":    "hashAlgorithm(pbkdf2-sha256) and hashIterations(1)", // makes logins faster
		"eventsEnabled":     true,
		"enabledEventTypes": []string{"LOGIN", "LOGIN_ERROR", "REFRESH_TOKEN", "REFRESH_TOKEN_ERROR", "LOGOUT", "REVOKE_GRANT"},
		"clients": []object{
			{
				"clientId": client, "publicClient": true,
				"directAccessGrantsEnabled": true, "standardFlowEnabled": false,
				"protocolMappers": mappers,
			},
			{"clientId": introspector, "secret": introspectorSecret, "standardFlowEnabled": false},
		},
	}
	maps.Copy(settings, defaults)
	k.admin(t, "POST", "", settings, nil)
}

// configure changes settings of the realm until the end of the test.
func (k *keycloak) configure(t *testing.T, settings object) {
	t.Helper()
	t.Cleanup(func() { k.admin(t, "PUT", "/"+realm, defaults, nil) })
	k.admin(t, "PUT", "/"+realm, settings, nil)
}

// admin sends a request to /admin/realms<path>. It decodes the response into result, unless result
// is nil.
func (k *keycloak) admin(t *testing.T, method, path string, body, result any) {
	t.Helper()
	login := k.post(t, k.url+"/realms/master/protocol/openid-connect/token",
		"grant_type", "client_credentials", "client_id", adminClient, "client_secret", adminSecret).ok(t)
	sendJSON(t, &k.client, method, k.url+"/admin/realms"+path, login.AccessToken, body, result)
}

// addUser makes a user who can log in, and returns the user's id.
func (k *keycloak) addUser(t *testing.T, name, password string) string {
	t.Helper()
	k.admin(t, "POST", "/"+realm+"/users", object{
		"username": name, "enabled": true, "emailVerified": true,
		"email": name + "@example.com", "firstName": "Acme", "lastName": "Ltd",
		"credentials": []object{{"type": "password", "value": password}},
	}, nil)
	var found []struct{ ID string }
	k.admin(t, "GET", "/"+realm+"/users?exact=true&username="+name, nil, &found)
	if len(found) != 1 {
		t.Fatalf("got %d users with the name %s, want 1", len(found), name)
	}
	return found[0].ID
}

// change changes settings of the user.
func (a *account) change(t *testing.T, settings object) {
	t.Helper()
	a.keycloak.admin(t, "PUT", "/"+realm+"/users/"+a.id, settings, nil)
}

// events counts the user's events by type, such as "LOGIN". For a failure, the error follows the type,
// as in "LOGIN_ERROR invalid_user_credentials". events leaves out the logins that Keycloak refused
// because the user was locked or was logging in already.
func (a *account) events(t *testing.T) map[string]int {
	t.Helper()
	var list []struct{ Type, Error, UserID, SessionID string }
	a.keycloak.admin(t, "GET", "/"+realm+"/events?max=1000", nil, &list)
	// The event of a failed refresh names the session, but not the user.
	sessions := map[string]bool{}
	for _, e := range list {
		if e.UserID == a.id && e.SessionID != "" {
			sessions[e.SessionID] = true
		}
	}
	count := map[string]int{}
	for _, e := range list {
		if e.UserID != a.id && !sessions[e.SessionID] || e.Error == "user_temporarily_disabled" {
			continue
		}
		if e.Error != "" {
			e.Type += " " + e.Error
		}
		count[e.Type]++
	}
	return count
}

// wantEvents fails the test unless the user has exactly these events.
func (a *account) wantEvents(t *testing.T, want map[string]int) {
	t.Helper()
	if got := a.events(t); fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("got events %v of user %s, want %v", got, a.name, want)
	}
}

// sessions returns the ids of the user's sessions.
func (a *account) sessions(t *testing.T) (ids []string) {
	t.Helper()
	var list []struct{ ID string }
	a.keycloak.admin(t, "GET", "/"+realm+"/users/"+a.id+"/sessions", nil, &list)
	for _, s := range list {
		ids = append(ids, s.ID)
	}
	return ids
}

// endSession ends a session through the admin API.
func (k *keycloak) endSession(t *testing.T, id string) {
	t.Helper()
	k.admin(t, "DELETE", "/"+realm+"/sessions/"+id, nil, nil)
}

// bruteForce returns what Keycloak's brute-force detection knows of the user.
func (a *account) bruteForce(t *testing.T) (status struct {
	NumFailures int
	Disabled    bool // temporarily locked
}) {
	t.Helper()
	a.keycloak.admin(t, "GET", "/"+realm+"/attack-detection/brute-force/users/"+a.id, nil, &status)
	return status
}

// lock logs in with a wrong password until Keycloak locks the user.
func (a *account) lock(t *testing.T) {
	t.Helper()
	for range 10 {
		a.keycloak.try(t, a, "wrong").want(t, 400, "invalid_grant", "Invalid user credentials")
		if a.bruteForce(t).Disabled {
			return
		}
	}
	t.Fatalf("got no lock of user %s after ten failed logins, want one", a.name)
}

// defaultScope makes an optional scope of the client a default scope until the end of the test. Every
// login then requests the scope.
func (k *keycloak) defaultScope(t *testing.T, scope string) {
	t.Helper()
	id := func(path, field, name string) string {
		var list []object
		k.admin(t, "GET", "/"+realm+path, nil, &list)
		for _, o := range list {
			if o[field] == name {
				return fmt.Sprint(o["id"])
			}
		}
		t.Fatalf("got no %s with %s %q, want one", path, field, name)
		return ""
	}
	clientPath, scopeID := "/"+realm+"/clients/"+id("/clients", "clientId", client), id("/client-scopes", "name", scope)
	move := func(from, to string) {
		k.admin(t, "DELETE", clientPath+"/"+from+"/"+scopeID, nil, nil)
		k.admin(t, "PUT", clientPath+"/"+to+"/"+scopeID, nil, nil)
	}
	t.Cleanup(func() { move("default-client-scopes", "optional-client-scopes") })
	move("optional-client-scopes", "default-client-scopes")
}
