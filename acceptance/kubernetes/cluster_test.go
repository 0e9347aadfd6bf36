// SPDX-License-Identifier: MPL-2.0

package kubernetes

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.yaml.in/yaml/v3"

	"vault-plugin-secrets-messaging/acceptance/harness"
)

const (
	adminToken = "admin-token"
	// reviewers is the name of a service account and of its namespace. Vault uses the service
	// account to check apps' tokens.
	reviewers = "vault"
)

// cluster is a Kubernetes API server and its etcd. No pod runs, because there is no kubelet.
type cluster struct {
	programs   string // the folder that scripts/kubernetes prints
	host, port string
	caFile     string
	kubeconfig string // the file of a user who may do everything
	http       *http.Client
}

// startCluster starts a cluster. It skips the test if KUBERNETES_PROGRAMS is not set.
func startCluster(t *testing.T) *cluster {
	t.Helper()
	harness.Need(t)
	c := &cluster{programs: os.Getenv("KUBERNETES_PROGRAMS")}
	if c.programs == "" {
		t.Skip(`KUBERNETES_PROGRAMS is not set: run this test with "make test-kubernetes"`)
	}
	began := time.Now()
	dir := t.TempDir()
	etcd := c.startEtcd(t, filepath.Join(dir, "etcd"))
	c.startAPIServer(t, dir, etcd)
	c.kubeconfig = harness.WriteFile(t, dir, "kubeconfig", fmt.Sprintf(`
apiVersion: v1
kind: Config
current-context: test
contexts: [{name: test, context: {cluster: test, user: admin}}]
clusters: [{name: test, cluster: {server: %q, certificate-authority: %q}}]
users: [{name: admin, user: {token: %q}}]
`, c.url(), c.caFile, adminToken))
	definitions, err := filepath.Glob(filepath.Join(c.programs, "crds", "*", "*_*.yaml"))
	if err != nil || len(definitions) == 0 {
		t.Fatalf("got no resource definitions of the operators (error %v), want some", err)
	}
	for _, file := range definitions {
		c.apply(t, strings.TrimPrefix(harness.ReadFile(t, file), "---\n"))
	}
	c.apply(t, tokenReviewer)
	t.Logf("the API server took %s to start", time.Since(began).Round(time.Second/10))
	return c
}

// tokenReviewer defines the service account that Vault uses to check the tokens of apps.
const tokenReviewer = `
{apiVersion: v1, kind: Namespace, metadata: {name: vault}}
---
{apiVersion: v1, kind: ServiceAccount, metadata: {name: vault, namespace: vault}}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata: {name: vault-reviews-tokens}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: system:auth-delegator}
subjects: [{kind: ServiceAccount, name: vault, namespace: vault}]
`

func (c *cluster) start(t *testing.T, program string, env []string, args ...string) *harness.Script {
	t.Helper()
	cmd := exec.Command(filepath.Join(c.programs, program), args...)
	cmd.Env = append([]string{"PATH=" + os.Getenv("PATH"), "HOME=" + t.TempDir()}, env...)
	return harness.StartProgram(t, cmd)
}

func (c *cluster) startEtcd(t *testing.T, dir string) (url string) {
	t.Helper()
	url = "http://" + harness.FreeAddress(t)
	peers := "http://" + harness.FreeAddress(t)
	c.start(t, "etcd", nil, "--data-dir="+dir, "--unsafe-no-fsync", "--log-level=warn",
		"--listen-client-urls="+url, "--advertise-client-urls="+url, "--listen-peer-urls="+peers,
		"--initial-advertise-peer-urls="+peers, "--initial-cluster=default="+peers)
	return url
}

func (c *cluster) startAPIServer(t *testing.T, dir, etcd string) {
	t.Helper()
	var ok bool
	if c.host, c.port, ok = strings.Cut(harness.FreeAddress(t), ":"); !ok {
		t.Fatal("got an address without a port")
	}
	signer, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	key := harness.WriteFile(t, dir, "service-accounts.key", harness.KeyPEM(t, signer))
	tokens := harness.WriteFile(t, dir, "tokens.csv", adminToken+",admin,admin,system:masters\n")
	c.start(t, "kube-apiserver", nil, "--etcd-servers="+etcd, "--cert-dir="+filepath.Join(dir, "certificates"),
		"--bind-address="+c.host, "--secure-port="+c.port, "--endpoint-reconciler-type=none",
		"--service-cluster-ip-range=10.0.0.0/24", "--token-auth-file="+tokens, "--authorization-mode=RBAC",
		"--service-account-issuer=https://kubernetes.default.svc.cluster.local",
		"--service-account-key-file="+key, "--service-account-signing-key-file="+key)
	c.caFile = filepath.Join(dir, "certificates", "apiserver.crt") // the server signs its own certificate
	harness.Within(t, 2*harness.Timeout, "the API server is ready", func() error {
		pool := x509.NewCertPool()
		cert, err := os.ReadFile(c.caFile)
		if err != nil || !pool.AppendCertsFromPEM(cert) {
			return fmt.Errorf("got no certificate yet: %w", err)
		}
		c.http = &http.Client{Timeout: harness.Timeout, Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool}}}
		_, err = c.do("GET", "/readyz", "", "")
		return err
	})
}

func (c *cluster) url() string { return "https://" + c.host + ":" + c.port }

// do sends a request as the administrator. Any status except 2xx is an error.
func (c *cluster) do(method, path, contentType, body string) ([]byte, error) {
	req, err := http.NewRequest(method, c.url()+path, strings.NewReader(body))
	if err != nil {
		return nil, err
	}
	req.Header.Set("Authorization", "Bearer "+adminToken)
	req.Header.Set("Content-Type", contentType)
	res, err := c.http.Do(req)
	if err != nil {
		return nil, err
	}
	defer res.Body.Close()
	got, err := io.ReadAll(res.Body)
	if err == nil && res.StatusCode > 299 {
		err = fmt.Errorf("%s %s: got status %d: %s", method, path, res.StatusCode, got)
	}
	return got, err
}

// apply works like "kubectl apply". It retries, because the API server may not know a new kind of
// object yet.
func (c *cluster) apply(t *testing.T, manifests string) {
	t.Helper()
	for doc := range strings.SplitSeq(manifests, "\n---\n") {
		path, err := resourcePath(doc)
		if err != nil {
			t.Fatalf("got error %v, want a valid manifest:\n%s", err, doc)
		}
		if path == "" {
			continue
		}
		harness.Within(t, harness.Timeout, "the API server accepts a manifest", func() error {
			_, err := c.do("PATCH", path+"?fieldManager=test&force=true", "application/apply-patch+yaml", doc)
			return err
		})
	}
}

// resourcePath returns the path of the manifest's object. For an empty manifest, it returns "".
func resourcePath(manifest string) (string, error) {
	var o struct {
		APIVersion string `yaml:"apiVersion"`
		Kind       string
		Metadata   struct{ Name, Namespace string }
	}
	if err := yaml.Unmarshal([]byte(manifest), &o); err != nil || o.Kind == "" {
		return "", err
	}
	path := "/apis/" + o.APIVersion
	if o.APIVersion == "v1" {
		path = "/api/v1"
	}
	if o.Metadata.Namespace != "" {
		path += "/namespaces/" + o.Metadata.Namespace
	}
	return path + "/" + strings.ToLower(o.Kind) + "s/" + o.Metadata.Name, nil
}

// serviceAccountToken requests a token for a service account, as the kubelet does.
func (c *cluster) serviceAccountToken(t *testing.T, namespace, name string, audiences ...string) string {
	t.Helper()
	body, err := json.Marshal(map[string]any{
		"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest",
		"spec": map[string]any{"audiences": audiences, "expirationSeconds": 7200},
	})
	if err != nil {
		t.Fatal(err)
	}
	got, err := c.do("POST", "/api/v1/namespaces/"+namespace+"/serviceaccounts/"+name+"/token", "application/json", string(body))
	var answer struct{ Status struct{ Token string } }
	if err == nil {
		err = json.Unmarshal(got, &answer)
	}
	if err != nil || answer.Status.Token == "" {
		t.Fatalf("requesting a token for the service account %s/%s: got error %v, response %s, want a token", namespace, name, err, got)
	}
	return answer.Status.Token
}

// secret returns the field access_token of a Secret. It returns "" if the Secret does not exist.
func (c *cluster) secret(namespace, name string) string {
	got, err := c.do("GET", "/api/v1/namespaces/"+namespace+"/secrets/"+name, "", "")
	if err != nil {
		return ""
	}
	var secret struct{ Data map[string][]byte }
	_ = json.Unmarshal(got, &secret)
	return string(secret.Data["access_token"])
}
