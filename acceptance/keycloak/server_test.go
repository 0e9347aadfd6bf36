// SPDX-License-Identifier: MPL-2.0

package keycloak

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
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

// patience is how long something may take that takes seconds on a machine with
// nothing else to do.
const patience = 60 * time.Second

// keycloak is a Keycloak server of the test, and its realm ipmessaging.
type keycloak struct {
	url    string
	t      *testing.T // of which the server is a part: it ends with it
	script *harness.Script
	client http.Client
}

// startKeycloak starts a server of which nothing is kept, with the realm. It skips
// the test where there is no Keycloak.
func startKeycloak(t *testing.T) *keycloak {
	t.Helper()
	if os.Getenv("KEYCLOAK_HOME") == "" {
		t.Skip(`needs KEYCLOAK_HOME: run it with "make test-keycloak"`)
	}
	harness.Need(t)
	port := freePort(t)
	k := &keycloak{url: "http://127.0.0.1:" + port, t: t, client: http.Client{Timeout: patience}}
	for name, value := range map[string]string{
		"KC_HTTP_PORT":                     port,
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

// start starts the server, or starts it again after stop, with the same data.
func (k *keycloak) start(t *testing.T) {
	t.Helper()
	began := time.Now()
	serve, err := filepath.Abs("serve")
	if err != nil {
		t.Fatal(err)
	}
	k.script = harness.StartScript(k.t, serve)
	harness.Within(t, 5*patience, "Keycloak answers", func() error {
		if len(k.script.Descendants()) == 0 {
			k.script.WaitFor(t, "Listening on: ") // which shows what it said instead
		}
		r, err := k.client.Get(k.url + "/realms/master")
		if err != nil {
			return err
		}
		defer r.Body.Close()
		if r.StatusCode != http.StatusOK {
			return fmt.Errorf("status %d", r.StatusCode)
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

// freePort returns a port that nothing listens on, below those that systems hand
// out by themselves, so that it is still there after a restart.
func freePort(t *testing.T) string {
	t.Helper()
	for range 100 {
		port := fmt.Sprint(15000 + rand.IntN(4000))
		if l, err := net.Listen("tcp", "127.0.0.1:"+port); err == nil {
			l.Close()
			return port
		}
	}
	t.Fatal("found no free port")
	return ""
}

// endpoint is the address of one of the realm's endpoints: token, logout, revoke.
func (k *keycloak) endpoint(name string) string {
	return k.url + "/realms/" + realm + "/protocol/openid-connect/" + name
}

// answer is what an endpoint said.
type answer struct {
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

// post sends a form, given as pairs of name and value.
func (k *keycloak) post(t *testing.T, address string, pairs ...string) answer {
	t.Helper()
	a, err := k.send(address, pairs...)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func (k *keycloak) send(address string, pairs ...string) (a answer, err error) {
	var form []string
	for pair := range slices.Chunk(pairs, 2) {
		form = append(form, url.QueryEscape(pair[0])+"="+url.QueryEscape(pair[1]))
	}
	r, err := k.client.Post(address, "application/x-www-form-urlencoded", strings.NewReader(strings.Join(form, "&")))
	if err != nil {
		return answer{}, err
	}
	defer r.Body.Close()
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return answer{}, err
	}
	a = answer{Status: r.StatusCode, Header: r.Header, Body: string(body)}
	_ = json.Unmarshal(body, &a) // where it is not JSON, Body is all there is
	return a, nil
}

// try, login, refresh, logout and revoke do what the plugin does, or may come to
// do, as the client that Sinch documents. try is one login.
func (k *keycloak) try(t *testing.T, a *account, password string) answer {
	t.Helper()
	return k.post(t, k.endpoint("token"),
		"grant_type", "password", "client_id", client, "username", a.name, "password", password)
}

// login logs in with the right password, which Keycloak calls wrong while it is
// not done with another login of the user: see testLoginsAtOnce.
func (k *keycloak) login(t *testing.T, a *account) (in answer) {
	t.Helper()
	until(t, "Keycloak takes the password", func() bool {
		in = k.try(t, a, a.password)
		return in.Description != "Invalid user credentials"
	})
	return in
}

func (k *keycloak) refresh(t *testing.T, refreshToken string) answer {
	t.Helper()
	return k.post(t, k.endpoint("token"), "grant_type", "refresh_token", "client_id", client, "refresh_token", refreshToken)
}

func (k *keycloak) logout(t *testing.T, refreshToken string) answer {
	t.Helper()
	return k.post(t, k.endpoint("logout"), "client_id", client, "refresh_token", refreshToken)
}

func (k *keycloak) revoke(t *testing.T, token string) answer {
	t.Helper()
	return k.post(t, k.endpoint("revoke"), "client_id", client, "token", token)
}

// introspect asks whether an access token is active, as a server does that is
// shown one.
func (k *keycloak) introspect(t *testing.T, token string) answer {
	t.Helper()
	return k.post(t, k.endpoint("token/introspect"),
		"client_id", introspector, "client_secret", introspectorSecret, "token", token).want(t, 200, "", "")
}

// wantActive fails the test unless introspection says this of an access token.
func (k *keycloak) wantActive(t *testing.T, token string, want bool) {
	t.Helper()
	if a := k.introspect(t, token); a.Active != want {
		t.Errorf("the access token is active: %t, want %t: %s", a.Active, want, a.Body)
	}
}

// want fails the test unless the answer has this status, error and description.
func (a answer) want(t *testing.T, status int, code, description string) answer {
	t.Helper()
	if a.Status != status || a.Error != code || a.Description != description {
		t.Fatalf("the answer is %d %s, want %d %q %q", a.Status, a.Body, status, code, description)
	}
	return a
}

// claims are what an access token says of itself.
type claims struct {
	Session  string `json:"sid"`
	Issued   int    `json:"iat"`
	Expires  int    `json:"exp"`
	Username string `json:"preferred_username"`
}

func read(t *testing.T, token string) (c claims) {
	t.Helper()
	parts := strings.Split(token, ".")
	if len(parts) != 3 {
		t.Fatal("the access token is not a JWT")
	}
	payload, err := base64.RawURLEncoding.DecodeString(parts[1])
	if err == nil {
		err = json.Unmarshal(payload, &c)
	}
	if err != nil {
		t.Fatalf("reading the access token: %v", err)
	}
	return c
}
