// SPDX-License-Identifier: MPL-2.0

package keycloak

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"testing"
)

// What the realm is made of. Client and realm are called as at Sinch India.
const (
	realm  = "ipmessaging"
	client = "ipmessaging-client"

	// introspector is a client that may ask whether a token is active, which a
	// public client may not.
	introspector       = "introspector"
	introspectorSecret = "introspector-secret"

	adminClient = "test-admin"
	adminSecret = "test-admin-secret"
)

// object is a JSON object of Keycloak's admin API.
type object = map[string]any

// usual is how the realm is, unless a part of the test changes it: the lifetimes
// are those that Sinch documents, the rest is Keycloak's default, but for a
// lockout after three failures instead of thirty.
var usual = object{
	"enabled":               true,
	"accessTokenLifespan":   300,
	"ssoSessionIdleTimeout": 1800,
	"ssoSessionMaxLifespan": 36000,
	"revokeRefreshToken":    false,
	"bruteForceProtected":   true,
	"failureFactor":         3,
}

// makeRealm makes the realm with its clients.
func (k *keycloak) makeRealm(t *testing.T) {
	t.Helper()
	made := object{
		"realm":             realm,
		"passwordPolicy":    "hashAlgorithm(pbkdf2-sha256) and hashIterations(1)", // be quick
		"eventsEnabled":     true,
		"enabledEventTypes": []string{"LOGIN", "LOGIN_ERROR", "REFRESH_TOKEN", "REFRESH_TOKEN_ERROR", "LOGOUT", "REVOKE_GRANT"},
		"clients": []object{
			{
				"clientId": client, "publicClient": true,
				"directAccessGrantsEnabled": true, "standardFlowEnabled": false,
				// Keycloak tells nothing about a token to a client that is not among its audience.
				"protocolMappers": []object{{
					"name": "audience", "protocol": "openid-connect", "protocolMapper": "oidc-audience-mapper",
					"config": object{"included.client.audience": introspector, "access.token.claim": "true"},
				}},
			},
			{"clientId": introspector, "secret": introspectorSecret, "standardFlowEnabled": false},
		},
	}
	for name, value := range usual {
		made[name] = value
	}
	k.admin(t, "POST", "", made, nil)
}

// turn changes settings of the realm until the test is over.
func (k *keycloak) turn(t *testing.T, settings object) {
	t.Helper()
	t.Cleanup(func() { k.admin(t, "PUT", "/"+realm, usual, nil) })
	k.admin(t, "PUT", "/"+realm, settings, nil)
}

// admin makes one request to /admin/realms<path> and decodes the answer into
// result, unless that is nil.
func (k *keycloak) admin(t *testing.T, method, path string, body, result any) {
	t.Helper()
	content, err := json.Marshal(body)
	if err != nil {
		t.Fatal(err)
	}
	req, err := http.NewRequest(method, k.url+"/admin/realms"+path, bytes.NewReader(content))
	if err != nil {
		t.Fatal(err)
	}
	login := k.post(t, k.url+"/realms/master/protocol/openid-connect/token",
		"grant_type", "client_credentials", "client_id", adminClient, "client_secret", adminSecret).want(t, 200, "", "")
	req.Header.Set("Authorization", "Bearer "+login.AccessToken)
	req.Header.Set("Content-Type", "application/json")
	r, err := k.client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Body.Close()
	answer, err := io.ReadAll(r.Body)
	if err == nil && r.StatusCode > 299 {
		err = fmt.Errorf("%s: %s", r.Status, answer)
	}
	if err == nil && result != nil {
		err = json.Unmarshal(answer, result)
	}
	if err != nil {
		t.Fatalf("%s /admin/realms%s: %v", method, path, err)
	}
}

// addUser makes a user who can log in, and returns its id.
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
		t.Fatalf("%d users are called %s", len(found), name)
	}
	return found[0].ID
}

// change changes the user.
func (a *account) change(t *testing.T, settings object) {
	t.Helper()
	a.keycloak.admin(t, "PUT", "/"+realm+"/users/"+a.id, settings, nil)
}

// forgetEvents has Keycloak forget what has happened up to now.
func (k *keycloak) forgetEvents(t *testing.T) {
	t.Helper()
	k.admin(t, "DELETE", "/"+realm+"/events", nil, nil)
}

// events are how often what has happened to a user: "LOGIN", or of errors
// "LOGIN_ERROR invalid_user_credentials". It leaves out the logins of a user who
// was locked out, or not done with another one.
func (a *account) events(t *testing.T) map[string]int {
	t.Helper()
	var list []struct{ Type, Error, UserID, SessionID string }
	a.keycloak.admin(t, "GET", "/"+realm+"/events?max=1000", nil, &list)
	// The event of a refused refresh names the session, but not the user.
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

// wantEvents fails the test unless this is all that has happened to the user.
func (a *account) wantEvents(t *testing.T, want map[string]int) {
	t.Helper()
	if got := a.events(t); fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("Keycloak has seen %v, want %v", got, want)
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

// endSession ends a session as an administrator does.
func (k *keycloak) endSession(t *testing.T, id string) {
	t.Helper()
	k.admin(t, "DELETE", "/"+realm+"/sessions/"+id, nil, nil)
}

// bruteForce is what the brute-force detection has against the user.
func (a *account) bruteForce(t *testing.T) (status struct {
	NumFailures int
	Disabled    bool // locked, for a time
}) {
	t.Helper()
	a.keycloak.admin(t, "GET", "/"+realm+"/attack-detection/brute-force/users/"+a.id, nil, &status)
	return status
}

// lock has somebody guess passwords until the user is locked out.
func (a *account) lock(t *testing.T) {
	t.Helper()
	for range 10 {
		a.keycloak.try(t, a, "a guess").want(t, 400, "invalid_grant", "Invalid user credentials")
		if a.bruteForce(t).Disabled {
			return
		}
	}
	t.Fatal("ten failed logins do not lock the user out")
}

// defaultScope makes a scope one that the client asks for with every login,
// instead of one that it may ask for, until the test is over.
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
		t.Fatalf("there is no %s", name)
		return ""
	}
	of, scopeID := "/"+realm+"/clients/"+id("/clients", "clientId", client), id("/client-scopes", "name", scope)
	move := func(from, to string) {
		k.admin(t, "DELETE", of+"/"+from+"/"+scopeID, nil, nil)
		k.admin(t, "PUT", of+"/"+to+"/"+scopeID, nil, nil)
	}
	t.Cleanup(func() { move("default-client-scopes", "optional-client-scopes") })
	move("optional-client-scopes", "default-client-scopes")
}
