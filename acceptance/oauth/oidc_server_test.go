// SPDX-License-Identifier: MPL-2.0

package oauth

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"maps"
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

// oidcProvider is an oidc-provider behind TLS. See oidc-provider/server.mjs.
type oidcProvider struct {
	url    string
	ca     *simulator.CA // of the server, and of clients
	script *harness.Script
	client http.Client
	seer   registration // a client that introspects tokens
}

// tokenTTL is the lifetime of access tokens. With refreshEarly, the engine refreshes a token when a
// tenth of its lifetime has passed.
const tokenTTL = 20 * time.Second

// startOIDCProvider starts an oidc-provider. It skips the test if Node.js or npm is missing, and prints
// "LEFT OUT", because "go test" without -v does not show skipped tests.
func startOIDCProvider(t *testing.T) *oidcProvider {
	t.Helper()
	harness.Need(t)
	for _, program := range []string{"node", "npm"} {
		if _, err := exec.LookPath(program); err != nil {
			fmt.Printf("LEFT OUT: oidc-provider, because there is no %s on the PATH\n", program)
			t.Skipf("there is no %s on the PATH", program)
		}
	}
	dir := harness.InstallNode(t, "oidc-provider", "oidc-provider")
	harness.CopyTo(t, dir, "oidc-provider/server.mjs")
	ca, err := simulator.NewCA(time.Now())
	if err != nil {
		t.Fatal(err)
	}
	files := serverFiles(t, ca)
	addr := harness.FreeAddress(t)
	p := &oidcProvider{url: "https://" + addr, ca: ca, client: trusting(ca)}
	server := exec.Command("node", filepath.Join(dir, "server.mjs"))
	server.Env = append(os.Environ(),
		"PORT="+strings.TrimPrefix(addr, "127.0.0.1:"), fmt.Sprintf("TTL=%.0f", tokenTTL.Seconds()), "NODE_NO_WARNINGS=1",
		"TLS_CERT="+files.cert, "TLS_KEY="+files.key, "TLS_CA="+files.ca)
	p.script = harness.StartProgram(t, server)
	p.script.WaitFor(t, "Listening on: ")
	p.seer = p.register(t, object{"token_endpoint_auth_method": "client_secret_basic"})
	return p
}

// pemFiles are the names of files in PEM.
type pemFiles struct{ cert, key, ca string }

// serverFiles writes a certificate of a server on 127.0.0.1, its key, and the CA's certificate.
func serverFiles(t *testing.T, ca *simulator.CA) pemFiles {
	t.Helper()
	server, err := ca.Server()
	if err != nil {
		t.Fatal(err)
	}
	key, err := x509.MarshalPKCS8PrivateKey(server.PrivateKey)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	write := func(name string, content []byte) string {
		file := filepath.Join(dir, name)
		if err := os.WriteFile(file, content, 0o600); err != nil {
			t.Fatal(err)
		}
		return file
	}
	return pemFiles{
		cert: write("cert.pem", pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate[0]})),
		key:  write("key.pem", pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: key})),
		ca:   write("ca.pem", ca.PEM),
	}
}

// trusting returns an HTTP client that trusts a CA.
func trusting(ca *simulator.CA) http.Client {
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(ca.PEM)
	return http.Client{Timeout: harness.Timeout, Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool}}}
}

// endpoint returns the URL of an endpoint.
func (p *oidcProvider) endpoint(name string) string { return p.url + "/" + name }

// registration is a client as the server knows it.
type registration struct {
	ID     string `json:"client_id"`
	Secret string `json:"client_secret"`
}

// register registers a client (RFC 7591) for client credentials, unless the metadata says otherwise.
func (p *oidcProvider) register(t *testing.T, metadata object) (r registration) {
	t.Helper()
	whole := object{"grant_types": []string{"client_credentials"}, "response_types": []string{}, "redirect_uris": []string{}}
	maps.Copy(whole, metadata)
	body, err := json.Marshal(whole)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := p.client.Post(p.endpoint("reg"), "application/json", bytes.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	content, err := io.ReadAll(resp.Body)
	if err == nil && resp.StatusCode != http.StatusCreated {
		err = fmt.Errorf("got status %s, want 201: %s", resp.Status, content)
	}
	if err == nil {
		err = json.Unmarshal(content, &r)
	}
	if err != nil {
		t.Fatalf("registering a client with %s: %v", body, err)
	}
	return r
}

// wantActive fails the test unless introspection of an access token returns active=want.
func (p *oidcProvider) wantActive(t *testing.T, token string, want bool) {
	t.Helper()
	as := strings.Replace(p.endpoint("token/introspection"), "://", "://"+p.seer.ID+":"+p.seer.Secret+"@", 1)
	if r := post(t, &p.client, as, "token", token).want(t, 200, "", ""); r.Active != want {
		t.Errorf("introspection of the access token: got active=%t, want %t: %s", r.Active, want, r.Body)
	}
}

// grants counts the token requests of a client that succeeded, by grant.
func (p *oidcProvider) grants(t *testing.T, client string) map[string]int {
	t.Helper()
	count := map[string]int{}
	for line := range strings.Lines(p.script.Output(t)) {
		if words := strings.Fields(line); len(words) == 3 && words[0] == "grant.success" && words[1] == client {
			count[words[2]]++
		}
	}
	return count
}
