// SPDX-License-Identifier: MPL-2.0

package oauth

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"vault-plugin-secrets-messaging/acceptance/harness"
	"vault-plugin-secrets-messaging/internal/simulator"
)

// keycloak is a Keycloak server with the realm ipmessaging.
type keycloak struct {
	url    string
	secure string        // the URL of the TLS listener, which asks for client certificates
	ca     *simulator.CA // signs the certificates of the server and of clients
	t      *testing.T    // the server stops at the end of this test
	env    []string      // the environment of the server
	script *harness.Script
	client http.Client
}

// startKeycloak starts Keycloak and creates the realm. Without KEYCLOAK_HOME, it skips the test.
func startKeycloak(t *testing.T) *keycloak {
	t.Helper()
	if os.Getenv("KEYCLOAK_HOME") == "" {
		fmt.Println("LEFT OUT: Keycloak, because Java or Maven is missing")
		t.Skip(`KEYCLOAK_HOME is not set: run this test with "make test-oauth"`)
	}
	harness.Need(t)
	ca := harness.NewCA(t)
	files := serverFiles(t, ca)
	addr, secureAddr := harness.FreeAddress(t), harness.FreeAddress(t)
	k := &keycloak{url: "http://" + addr, secure: "https://" + secureAddr, ca: ca, t: t, client: http.Client{Timeout: harness.Timeout}}
	for name, value := range map[string]string{
		"KC_HTTP_PORT":                     strings.TrimPrefix(addr, "127.0.0.1:"),
		"KC_HTTPS_PORT":                    strings.TrimPrefix(secureAddr, "127.0.0.1:"),
		"KC_HTTPS_CERTIFICATE_FILE":        files.cert,
		"KC_HTTPS_CERTIFICATE_KEY_FILE":    files.key,
		"KC_TRUSTSTORE_PATHS":              files.ca,
		"KC_HOSTNAME":                      k.url,
		"KC_DB_URL":                        "jdbc:h2:file:" + filepath.Join(t.TempDir(), "keycloak") + ";NON_KEYWORDS=VALUE",
		"KC_BOOTSTRAP_ADMIN_CLIENT_ID":     adminClient,
		"KC_BOOTSTRAP_ADMIN_CLIENT_SECRET": adminSecret,
	} {
		k.env = append(k.env, name+"="+value)
	}
	k.start(t)
	k.makeRealm(t)
	return k
}

// start starts Keycloak. A second start uses the same data.
func (k *keycloak) start(t *testing.T) {
	t.Helper()
	began := time.Now()
	server := exec.Command(harness.Absolute(t, "serve-keycloak"))
	server.Env = append(os.Environ(), k.env...)
	k.script = harness.StartProgram(k.t, server)
	harness.Within(t, 5*harness.Timeout, "Keycloak answers", func() error {
		if !k.script.Running() {
			k.script.WaitFor(t, "Listening on: ") // fails the test and shows the output
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

// endpoint returns the URL of the realm's endpoint, such as token, logout or revoke.
func (k *keycloak) endpoint(name string) string {
	return k.url + "/realms/" + realm + "/protocol/openid-connect/" + name
}

func (k *keycloak) post(t *testing.T, address string, pairs ...string) response {
	t.Helper()
	return post(t, &k.client, address, pairs...)
}

// try logs in once, with the client ID that Sinch documents. The response may have any status.
func (k *keycloak) try(t *testing.T, a *account, password string) response {
	t.Helper()
	return k.post(t, k.endpoint("token"),
		"grant_type", "password", "client_id", client, "username", a.name, "password", password)
}

// login logs in with the right password. It retries, because Keycloak refuses logins of a user
// during another login.
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

func (k *keycloak) introspect(t *testing.T, token string) response {
	t.Helper()
	return k.post(t, k.endpoint("token/introspect"),
		"client_id", introspector, "client_secret", introspectorSecret, "token", token).ok(t)
}

func (k *keycloak) wantActive(t *testing.T, token string, want bool) {
	t.Helper()
	if r := k.introspect(t, token); r.Active != want {
		t.Errorf("introspection of the access token: got active=%t, want %t: %s", r.Active, want, r.Body)
	}
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

// wantOtherSession fails the test if both access tokens are from the same session.
func wantOtherSession(t *testing.T, first, second string) {
	t.Helper()
	if session := read(t, first).Session; read(t, second).Session == session {
		t.Errorf("got two tokens of session %q, want the second token in another session", session)
	}
}
