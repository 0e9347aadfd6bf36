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

func startAgentInjector(t *testing.T, w *world) []watch {
	t.Helper()
	if os.Getuid() != 0 || exec.Command("unshare", "--mount", "true").Run() != nil {
		t.Skip("NOT RUN: the Agent Injector, because only root may run its containers with mounts and users of their own")
	}
	w.startInjector(t)
	other := w.injectedPod(t, "other-user", "vault.hashicorp.com/agent-run-as-same-user")
	other.runInit(t)
	if out, err := other.readFile(t); err == nil || !strings.Contains(out, "Permission denied") {
		t.Errorf("got %q (error %v) for an app that runs as another user than the agent, want \"Permission denied\", as the page says", out, err)
	}
	pod := w.injectedPod(t, "my-app", "")
	pod.runInit(t)
	out, err := pod.readFile(t)
	if err != nil || !strings.HasSuffix(out, " 400") {
		t.Fatalf("got %q (error %v) from the app's file, want a token and the mode 400", out, err)
	}
	sidecar := pod.container(t, "vault-agent")
	harness.StartProgram(t, pod.command(t, sidecar, append(sidecar.Command, sidecar.Args...)...))
	return []watch{{"Agent Injector", func() string { // reads the folder, without a process
		token, _ := os.ReadFile(filepath.Join(pod.volumes["vault-secrets"], filepath.Base(tokenFile)))
		return string(token)
	}}}
}

// startInjector starts the injector with the files that Kubernetes gives to every pod.
func (w *world) startInjector(t *testing.T) {
	t.Helper()
	addr := harness.FreeAddress(t)
	_, port, _ := strings.Cut(addr, ":")
	w.apply(t, fmt.Sprintf(injectorManifests, port, w.namespace))
	volume := t.TempDir()
	harness.WriteFile(t, volume, "token", w.serviceAccountToken(t, reviewers, "injector"))
	harness.WriteFile(t, volume, "ca.crt", harness.ReadFile(t, w.caFile))
	image := t.TempDir()
	harness.CopyTo(t, image, filepath.Join(w.programs, "vault-k8s"))
	harness.StartProgram(t, containerCommand(t, 0, 0, map[string]string{
		"/var/run/secrets/kubernetes.io/serviceaccount": volume, "/image": image,
	}, []string{
		"KUBERNETES_SERVICE_HOST=" + w.host, "KUBERNETES_SERVICE_PORT=" + w.port, "NAMESPACE=" + reviewers,
		"AGENT_INJECT_LISTEN=" + addr, "AGENT_INJECT_VAULT_ADDR=" + w.Addr, "AGENT_INJECT_VAULT_AUTH_PATH=auth/kubernetes",
		"AGENT_INJECT_TLS_AUTO=vault-agent-injector-cfg", "AGENT_INJECT_TLS_AUTO_HOSTS=localhost",
	}, "vault-k8s", "agent-inject"))
}

// injectorManifests needs the webhook's port and a namespace.
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

// injectedPod creates the pod of docs/recipes/kubernetes.md, and returns the pod with the injector's
// changes. The parameter without names an annotation to remove; "" means none.
func (w *world) injectedPod(t *testing.T, name, without string) *pod {
	t.Helper()
	var template map[string]any
	if err := yaml.Unmarshal([]byte(harness.CodeBlocks(t, pageSection(t, "Agent Injector"), "yaml")[0]), &template); err != nil {
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
	p := &pod{volumes: map[string]string{}, image: t.TempDir()}
	harness.CopyVault(t, p.image)
	path := "/api/v1/namespaces/" + w.namespace + "/pods/" + name
	// Before the API server notices the webhook, it accepts pods without calling the injector.
	harness.Within(t, harness.Timeout, "the API server calls the injector", func() error {
		got, err := w.do("PATCH", path+"?fieldManager=test&force=true&dryRun=All", "application/apply-patch+yaml", string(manifest))
		if err == nil && !strings.Contains(string(got), `"vault-agent-init"`) {
			err = fmt.Errorf("got a pod without the injector's containers: %s", got)
		}
		return err
	})
	w.apply(t, string(manifest))
	got, err := w.do("GET", path, "", "")
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

// makeVolumes creates the pod's folders and tokens in place of the kubelet.
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
			file := harness.WriteFile(t, dir, s.ServiceAccountToken.Path, w.serviceAccountToken(t, w.namespace, "my-app", audiences...))
			if err := os.Chmod(file, 0o644); err != nil {
				t.Fatal(err)
			}
		}
	}
}

// runInit runs the injected init container. This container writes the first token.
func (p *pod) runInit(t *testing.T) {
	t.Helper()
	init := p.Spec.InitContainers[0]
	harness.RunCommand(t, p.command(t, init, append(init.Command, init.Args...)...))
}

// readFile returns the token and the mode of the file that the app reads.
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

// containerCommand returns a command that runs in a container. In mounts, the keys are container
// paths and the values are host folders.
func containerCommand(t *testing.T, user, group int, mounts map[string]string, env []string, command ...string) *exec.Cmd {
	t.Helper()
	root, list := t.TempDir(), ""
	for path, folder := range mounts {
		if err := os.MkdirAll(filepath.Join(root, path), 0o755); err != nil {
			t.Fatal(err)
		}
		list += folder + " " + path + "\n"
	}
	cmd := exec.Command(harness.Absolute(t, "container"), append([]string{root, fmt.Sprintf("%d:%d", user, group)}, command...)...)
	cmd.Stdin = strings.NewReader(list)
	cmd.Env = append([]string{"PATH=/image:/usr/sbin:/usr/bin:/sbin:/bin"}, env...)
	return cmd
}
