// SPDX-License-Identifier: MPL-2.0

package kubernetes

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"

	"vault-plugin-secrets-messaging/acceptance/harness"
)

const tokenFile = "/vault/secrets/sinch-token"

// startAgentInjector runs the containers that the injector adds to the page's pod. It returns the file
// that the app reads.
func startAgentInjector(t *testing.T, w *world) []watch {
	t.Helper()
	if os.Getuid() != 0 || exec.Command("unshare", "--mount", "true").Run() != nil {
		t.Skip("NOT RUN: the Agent Injector, because only root may run its containers with mounts and users of their own")
	}
	w.startInjector(t)
	other := w.injectedPod(t, "other-user", "vault.hashicorp.com/agent-run-as-same-user")
	other.runInit(t)
	if out, err := other.readFile(t); err == nil || !strings.Contains(out, "Permission denied") {
		t.Errorf("got %q (%v) for an app of another user than the agent's; the page says that the app is locked out", out, err)
	}
	pod := w.injectedPod(t, "my-app", "")
	pod.runInit(t)
	out, err := pod.readFile(t)
	if err != nil || !strings.HasSuffix(out, " 400") {
		t.Fatalf("got %q (%v) when the app reads its file, want a token in a file with the mode 400", out, err)
	}
	pod.startSidecar(t)
	return []watch{{"Agent Injector", func() string { // without a process for each look
		token, _ := os.ReadFile(filepath.Join(pod.volumes["vault-secrets"], filepath.Base(tokenFile)))
		return string(token)
	}}}
}

// startInjector starts the injector and registers its webhook. The injector reads the files that every
// pod has.
func (w *world) startInjector(t *testing.T) {
	t.Helper()
	addr := harness.FreeAddress(t)
	_, port, _ := strings.Cut(addr, ":")
	w.apply(t, fmt.Sprintf(injectorManifests, port, w.namespace))
	volume := t.TempDir()
	writeFile(t, filepath.Join(volume, "token"), w.serviceAccountToken(t, reviewers, "injector"))
	writeFile(t, filepath.Join(volume, "ca.crt"), readFile(t, w.caFile))
	harness.StartProgram(t, containerCommand(t, 0, 0, map[string]string{
		"/var/run/secrets/kubernetes.io/serviceaccount": volume,
		"/image": imageOf(t, func(dir string) { harness.CopyProgram(t, filepath.Join(w.programs, "vault-k8s"), dir) }),
	}, []string{
		"KUBERNETES_SERVICE_HOST=" + w.host, "KUBERNETES_SERVICE_PORT=" + w.port, "NAMESPACE=" + reviewers,
		"AGENT_INJECT_LISTEN=" + addr, "AGENT_INJECT_VAULT_ADDR=" + w.Addr, "AGENT_INJECT_VAULT_AUTH_PATH=auth/kubernetes",
		"AGENT_INJECT_TLS_AUTO=vault-agent-injector-cfg", "AGENT_INJECT_TLS_AUTO_HOSTS=localhost",
	}, "vault-k8s", "agent-inject"))
}

// injectorManifests are the injector's service account and its webhook, at a port of localhost.
const injectorManifests = `
{apiVersion: v1, kind: ServiceAccount, metadata: {name: injector, namespace: vault}}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata: {name: injector}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: cluster-admin}
subjects: [{kind: ServiceAccount, name: injector, namespace: vault}]
---
apiVersion: admissionregistration.k8s.io/v1
kind: MutatingWebhookConfiguration
metadata: {name: vault-agent-injector-cfg}
webhooks:
  - name: vault.hashicorp.com
    sideEffects: None
    admissionReviewVersions: [v1]
    clientConfig: {url: "https://localhost:%s/mutate"}
    rules: [{operations: [CREATE], apiGroups: [""], apiVersions: [v1], resources: [pods]}]
    namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: %s}}
    failurePolicy: Fail
`

// pod is a pod of the API server, with its volumes as folders.
type pod struct {
	Spec struct {
		InitContainers, Containers []container
		Volumes                    []struct {
			Name      string
			Projected *struct {
				Sources []struct {
					ServiceAccountToken *struct{ Audience, Path string }
				}
			}
		}
	}
	volumes map[string]string // folders, by the names of the volumes
	image   string            // the folder of the image that the injected containers run
}

type container struct {
	Name            string
	Command, Args   []string
	Env             []struct{ Name, Value string }
	VolumeMounts    []struct{ Name, MountPath string }
	SecurityContext struct{ RunAsUser, RunAsGroup int }
}

// injectedPod creates the page's pod, without an annotation if one is named, and returns the pod as the
// injector changed it.
func (w *world) injectedPod(t *testing.T, name, without string) *pod {
	t.Helper()
	var template map[string]any
	if err := yaml.Unmarshal([]byte(blocks(t, section(t, "Agent Injector"), "yaml")[0]), &template); err != nil {
		t.Fatal(err)
	}
	template["apiVersion"], template["kind"] = "v1", "Pod"
	metadata := template["metadata"].(map[string]any)
	metadata["name"], metadata["namespace"] = name, w.namespace
	delete(metadata["annotations"].(map[string]any), without)
	manifest, err := json.Marshal(template)
	if err != nil {
		t.Fatal(err)
	}
	p := &pod{volumes: map[string]string{}, image: imageOf(t, func(dir string) { harness.CopyVault(t, dir) })}
	w.apply(t, string(manifest))
	got, err := w.do("GET", "/api/v1/namespaces/"+w.namespace+"/pods/"+name, "", "")
	if err == nil {
		err = json.Unmarshal(got, p)
	}
	if err != nil {
		t.Fatal(err)
	}
	if len(p.Spec.InitContainers) != 1 || len(p.Spec.Containers) != 2 {
		t.Fatalf("got a pod without the injector's containers, want an init container and a sidecar: %s", got)
	}
	p.makeVolumes(t, w)
	return p
}

// makeVolumes does what the kubelet does for the volumes that the injected containers mount.
func (p *pod) makeVolumes(t *testing.T, w *world) {
	t.Helper()
	for _, v := range p.Spec.Volumes {
		dir := t.TempDir()
		p.volumes[v.Name] = dir
		if err := os.Chmod(dir, 0o777); err != nil {
			t.Fatal(err)
		}
		if v.Projected == nil {
			continue
		}
		for _, s := range v.Projected.Sources {
			if s.ServiceAccountToken == nil {
				continue
			}
			var audiences []string
			if s.ServiceAccountToken.Audience != "" {
				audiences = []string{s.ServiceAccountToken.Audience}
			}
			file := filepath.Join(dir, s.ServiceAccountToken.Path)
			writeFile(t, file, w.serviceAccountToken(t, w.namespace, "my-app", audiences...))
			if err := os.Chmod(file, 0o644); err != nil {
				t.Fatal(err)
			}
		}
	}
}

// runInit runs the injected init container, which writes the first token.
func (p *pod) runInit(t *testing.T) {
	t.Helper()
	init := p.Spec.InitContainers[0]
	if out, err := p.command(t, init, append(init.Command, init.Args...)...).CombinedOutput(); err != nil {
		t.Fatalf("the init container %s: %v\n%s", init.Name, err, out)
	}
}

// startSidecar runs the injected sidecar until the end of the test.
func (p *pod) startSidecar(t *testing.T) {
	t.Helper()
	c := p.container(t, "vault-agent")
	harness.StartProgram(t, p.command(t, c, append(c.Command, c.Args...)...))
}

// readFile returns what the app sees of its file: the token and the mode of the file.
func (p *pod) readFile(t *testing.T) (string, error) {
	t.Helper()
	read := "cat " + tokenFile + " && stat -c ' %a' " + tokenFile
	out, err := p.command(t, p.container(t, "app"), "/bin/sh", "-c", read).CombinedOutput()
	return strings.TrimSpace(string(out)), err
}

func (p *pod) container(t *testing.T, name string) container {
	t.Helper()
	for _, c := range p.Spec.Containers {
		if c.Name == name {
			return c
		}
	}
	t.Fatalf("got no container %q, want one", name)
	return container{}
}

// command returns a command that runs in a container of the pod.
func (p *pod) command(t *testing.T, c container, command ...string) *exec.Cmd {
	t.Helper()
	mounts := map[string]string{"/image": p.image}
	for _, m := range c.VolumeMounts {
		mounts[m.MountPath] = p.volumes[m.Name]
	}
	var env []string
	for _, e := range c.Env {
		env = append(env, e.Name+"="+e.Value)
	}
	return containerCommand(t, c.SecurityContext.RunAsUser, c.SecurityContext.RunAsGroup, mounts, env, command...)
}

// containerCommand returns a command that runs in a container with these folders, by their paths in the
// container. The folder /image is on the PATH.
func containerCommand(t *testing.T, user, group int, mounts map[string]string, env []string, command ...string) *exec.Cmd {
	t.Helper()
	root, list := t.TempDir(), ""
	for path, folder := range mounts {
		makeDir(t, filepath.Join(root, path))
		list += folder + " " + path + "\n"
	}
	script, err := filepath.Abs("container")
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(script, append([]string{root, fmt.Sprintf("%d:%d", user, group)}, command...)...)
	cmd.Stdin = strings.NewReader(list)
	cmd.Env = append([]string{"PATH=/image:/usr/sbin:/usr/bin:/sbin:/bin"}, env...)
	return cmd
}

// imageOf returns a folder with a program, as an image would hold it.
func imageOf(t *testing.T, copy func(dir string)) (dir string) {
	t.Helper()
	dir = t.TempDir()
	copy(dir)
	files, err := filepath.Glob(filepath.Join(dir, "*"))
	for _, file := range append(files, dir) {
		if err == nil {
			err = os.Chmod(file, 0o755)
		}
	}
	if err != nil {
		t.Fatal(err)
	}
	return dir
}

func makeDir(t *testing.T, dir string) {
	t.Helper()
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
}
