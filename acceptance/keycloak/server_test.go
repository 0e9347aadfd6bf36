// SPDX-License-Identifier: MPL-2.0

package keycloak

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"vault-plugin-secrets-messaging/acceptance/harness"
)

// keycloak is a Keycloak server with the realm ipmessaging.
type keycloak struct {
	url    string
	t      *testing.T // the server stops at the end of this test
	script *harness.Script
	client http.Client
}

// startKeycloak starts a Keycloak server and makes the realm. It skips the test if KEYCLOAK_HOME is
// not set.
func startKeycloak(t *testing.T) *keycloak {
	t.Helper()
	if os.Getenv("KEYCLOAK_HOME") == "" {
		t.Skip(`KEYCLOAK_HOME is not set: run this test with "make test-keycloak"`)
	}
	harness.Need(t)
	addr := harness.FreeAddress(t)
	k := &keycloak{url: "http://" + addr, t: t, client: http.Client{Timeout: harness.Timeout}}
	for name, value := range map[string]string{
		"KC_HTTP_PORT":                     strings.TrimPrefix(addr, "127.0.0.1:"),
		"KC_HOSTNAME":                      k.url,
		"KC_DB_URL":                        "jdbc:h2:file:" + filepath.Join(t.TempDir(), "keycloak") + ";NON_KEYWORDS=VALUE",
		"KC_BOOTSTRAP_ADMIN_CLIENT_ID":     adminClient,
		"KC_BOOTSTRAP_ADMIN_CLIENT_SECRET": adminSecret,
	} {
		t.Setenv(name, value)
	}
	k.start(t)
	k.makeRealm(t)
	return k
}

// start starts the server. After stop it starts the server again with the same data.
func (k *keycloak) start(t *testing.T) {
	t.Helper()
	began := time.Now()
	serve, err := filepath.Abs("serve")
	if err != nil {
		t.Fatal(err)
	}
	k.script = harness.StartScript(k.t, serve)
	harness.Within(t, 5*harness.Timeout, "Keycloak answers", func() error {
		if len(k.script.Descendants()) == 0 {
			k.script.WaitFor(t, "Listening on: ") // fails, and shows the output
		}
		r, err := k.client.Get(k.url + "/realms/master")
		if err != nil {
			return err
		}
		defer r.Body.Close()
		if r.StatusCode != http.StatusOK {
			return fmt.Errorf("got status %d, want 200", r.StatusCode)
		}
		return nil
	})
	t.Logf("Keycloak took %s to start", time.Since(began).Round(time.Second/10))
}

func (k *keycloak) stop(t *testing.T) {
	t.Helper()
	k.script.Interrupt(t)
	k.client.CloseIdleConnections()
}

// endpoint returns the URL of an endpoint of the realm, such as token, logout or revoke.
func (k *keycloak) endpoint(name string) string {
	return k.url + "/realms/" + realm + "/protocol/openid-connect/" + name
}

type response struct {
	Status int
	Header http.Header
	Body   string

	AccessToken      string `json:"access_token"`
	ExpiresIn        int    `json:"expires_in"` // seconds
	RefreshToken     string `json:"refresh_token"`
	RefreshExpiresIn *int   `json:"refresh_expires_in"`
	Error            string `json:"error"`
	Description      string `json:"error_description"`
	Active           bool   `json:"active"`
}

// post sends a form. The pairs are names, each followed by its value.
func (k *keycloak) post(t *testing.T, address string, pairs ...string) response {
	t.Helper()
	r, err := k.send(address, pairs...)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func (k *keycloak) send(address string, pairs ...string) (r response, err error) {
	var form []string
	for pair := range slices.Chunk(pairs, 2) {
		form = append(form, url.QueryEscape(pair[0])+"="+url.QueryEscape(pair[1]))
	}
	res, err := k.client.Post(address, "application/x-www-form-urlencoded", strings.NewReader(strings.Join(form, "&")))
	if err != nil {
		return response{}, err
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		return response{}, err
	}
	r = response{Status: res.StatusCode, Header: res.Header, Body: string(body)}
	_ = json.Unmarshal(body, &r) // a body that is not JSON is in Body
	return r, nil
}

// try, login, refresh, logout and revoke send requests as the client that Sinch documents. try logs
// in once, and returns the response whatever its status.
func (k *keycloak) try(t *testing.T, a *account, password string) response {
	t.Helper()
	return k.post(t, k.endpoint("token"),
		"grant_type", "password", "client_id", client, "username", a.name, "password", password)
}

// login logs in with the right password. It retries, because Keycloak refuses even the right
// password during another login of the user: see testConcurrentLogins.
func (k *keycloak) login(t *testing.T, a *account) (in response) {
	t.Helper()
	harness.Until(t, "Keycloak accepts the password", func() bool {
		in = k.try(t, a, a.password)
		return in.Description != "Invalid user credentials"
	})
	return in
}

func (k *keycloak) refresh(t *testing.T, refreshToken string) response {
	t.Helper()
	return k.post(t, k.endpoint("token"), "grant_type", "refresh_token", "client_id", client, "refresh_token", refreshToken)
}

func (k *keycloak) logout(t *testing.T, refreshToken string) response {
	t.Helper()
	return k.post(t, k.endpoint("logout"), "client_id", client, "refresh_token", refreshToken)
}

func (k *keycloak) revoke(t *testing.T, token string) response {
	t.Helper()
	return k.post(t, k.endpoint("revoke"), "client_id", client, "token", token)
}

// introspect asks Keycloak whether an access token is active.
func (k *keycloak) introspect(t *testing.T, token string) response {
	t.Helper()
	return k.post(t, k.endpoint("token/introspect"),
		"client_id", introspector, "client_secret", introspectorSecret, "token", token).want(t, 200, "", "")
}

// wantActive fails the test unless introspection of an access token returns active=want.
func (k *keycloak) wantActive(t *testing.T, token string, want bool) {
	t.Helper()
	if r := k.introspect(t, token); r.Active != want {
		t.Errorf("introspection of the access token: got active=%t, want %t: %s", r.Active, want, r.Body)
	}
}

// want fails the test unless the response has this status, error and description.
func (r response) want(t *testing.T, status int, code, description string) response {
	t.Helper()
	if r.Status != status || r.Error != code || r.Description != description {
		t.Fatalf("got status %d %s, want %d %q %q", r.Status, r.Body, status, code, description)
	}
	return r
}

// claims holds some claims of an access token.
type claims struct {
	Session  string `json:"sid"`
	Issued   int    `json:"iat"`
	Expires  int    `json:"exp"`
	Username string `json:"preferred_username"`
}

// read decodes the claims of an access token.
func read(t *testing.T, token string) (c claims) {
	t.Helper()
	parts := strings.Split(token, ".")
	if len(parts) != 3 {
		t.Fatalf("got access token %q, want a JWT", token)
	}
	payload, err := base64.RawURLEncoding.DecodeString(parts[1])
	if err == nil {
		err = json.Unmarshal(payload, &c)
	}
	if err != nil {
		t.Fatalf("decoding access token %q: %v", token, err)
	}
	return c
}

// wantOtherSession fails the test if both access tokens belong to one session.
func wantOtherSession(t *testing.T, first, second string) {
	t.Helper()
	if session := read(t, first).Session; read(t, second).Session == session {
		t.Errorf("got two tokens of session %q, want the second token in another session", session)
	}
}
