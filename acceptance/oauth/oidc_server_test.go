// SPDX-License-Identifier: MPL-2.0

package oauth

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
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
	ca     *simulator.CA // signs the certificates of the server and of clients
	script *harness.Script
	client http.Client
	seer   registration // a client that introspects tokens
}

// tokenTTL is the lifetime of access tokens. It is short, so that tests wait only 2 s for a
// refresh.
const tokenTTL = 20 * time.Second

// startOIDCProvider starts oidc-provider. It skips the test if Node.js or npm is missing.
func startOIDCProvider(t *testing.T) *oidcProvider {
	t.Helper()
	harness.Need(t)
	harness.NeedPrograms(t, "oidc-provider", "node", "npm")
	dir := harness.InstallNode(t, "oidc-provider", "oidc-provider")
	harness.CopyTo(t, dir, "oidc-provider/server.mjs")
	ca := harness.NewCA(t)
	files := serverFiles(t, ca)
	addr := harness.FreeAddress(t)
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(ca.PEM)
	p := &oidcProvider{url: "https://" + addr, ca: ca, client: http.Client{
		Timeout: harness.Timeout, Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool}}}}
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

// serverFiles writes a certificate for 127.0.0.1, its key, and the CA's certificate.
func serverFiles(t *testing.T, ca *simulator.CA) pemFiles {
	t.Helper()
	server, err := ca.Server()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	return pemFiles{
		cert: harness.WriteFile(t, dir, "cert.pem", harness.CertPEM(server.Certificate[0])),
		key:  harness.WriteFile(t, dir, "key.pem", harness.KeyPEM(t, server.PrivateKey)),
		ca:   harness.WriteFile(t, dir, "ca.pem", string(ca.PEM)),
	}
}

// endpoint returns the URL of an endpoint.
func (p *oidcProvider) endpoint(name string) string { return p.url + "/" + name }

// registration is a client as the server knows it.
type registration struct {
	ID     string `json:"client_id"`
	Secret string `json:"client_secret"`
}

// register registers a client (RFC 7591). The default grant type is client_credentials.
func (p *oidcProvider) register(t *testing.T, metadata object) (r registration) {
	t.Helper()
	whole := object{"grant_types": []string{"client_credentials"}, "response_types": []string{}, "redirect_uris": []string{}}
	maps.Copy(whole, metadata)
	sendJSON(t, &p.client, http.MethodPost, p.endpoint("reg"), "", whole, &r)
	return r
}

func (p *oidcProvider) wantActive(t *testing.T, token string, want bool) {
	t.Helper()
	as := strings.Replace(p.endpoint("token/introspection"), "://", "://"+p.seer.ID+":"+p.seer.Secret+"@", 1)
	if r := post(t, &p.client, as, "token", token).ok(t); r.Active != want {
		t.Errorf("introspection of the access token: got active=%t, want %t: %s", r.Active, want, r.Body)
	}
}

// grants counts a client's successful token requests by grant type.
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
