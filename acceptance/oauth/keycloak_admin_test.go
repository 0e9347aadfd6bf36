// SPDX-License-Identifier: MPL-2.0

package oauth

import (
	"fmt"
	"maps"
	"testing"

	"vault-plugin-secrets-messaging/acceptance/harness"
)

// The realm and the first client have the names that Sinch India uses.
const (
	realm  = "ipmessaging"
	client = "ipmessaging-client"

	// The introspector client has a secret, so Keycloak lets this client introspect tokens.
	introspector       = "introspector"
	introspectorSecret = "introspector-secret"

	adminClient = "test-admin"
	adminSecret = "test-admin-secret"
)

// object is a JSON object of Keycloak's admin API.
type object = map[string]any

// defaults holds the realm's settings, with the lifetimes that Sinch documents. The low
// failureFactor makes the tests faster: Keycloak's default is 30.
var defaults = object{
	"enabled":               true,
	"accessTokenLifespan":   300,
	"ssoSessionIdleTimeout": 1800,
	"ssoSessionMaxLifespan": 36000,
	"revokeRefreshToken":    false,
	"bruteForceProtected":   true,
	"failureFactor":         3,
}

// mappers lets the introspector see that tokens are active.
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

// configure changes the realm's settings until the end of the test.
func (k *keycloak) configure(t *testing.T, settings object) {
	t.Helper()
	t.Cleanup(func() { k.admin(t, "PUT", "/"+realm, defaults, nil) })
	k.admin(t, "PUT", "/"+realm, settings, nil)
}

// admin sends a request to /admin/realms<path>, and decodes the response into result. If result is
// nil, admin ignores the response.
func (k *keycloak) admin(t *testing.T, method, path string, body, result any) {
	t.Helper()
	login := k.post(t, k.url+"/realms/master/protocol/openid-connect/token",
		"grant_type", "client_credentials", "client_id", adminClient, "client_secret", adminSecret).ok(t)
	sendJSON(t, &k.client, method, k.url+"/admin/realms"+path, login.AccessToken, body, result)
}

// addUser creates a user and returns the user's ID.
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

// events counts the user's events by type, such as "LOGIN" or "LOGIN_ERROR
// invalid_user_credentials". It omits logins that Keycloak refused because the user was locked or
// had another login in progress.
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

// bruteForce returns the user's state in Keycloak's brute-force detection.
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
	harness.Until(t, "Keycloak has locked user "+a.name, func() bool {
		a.keycloak.try(t, a, "wrong").want(t, 400, "invalid_grant", "Invalid user credentials")
		return a.bruteForce(t).Disabled
	})
}

// defaultScope adds the scope to every login of the client until the end of the test.
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
