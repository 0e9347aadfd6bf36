// SPDX-License-Identifier: MPL-2.0

package main

import (
	"context"
	"crypto/sha256"
	"debug/buildinfo"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/go-plugin"
	"github.com/hashicorp/vault/sdk/helper/pluginutil"
	"github.com/hashicorp/vault/sdk/logical"
	vaultplugin "github.com/hashicorp/vault/sdk/plugin"
	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"
)

// As in Vault, one plugin process serves two mounts over gRPC. Tokens survive a restart.
func TestPlugin(t *testing.T) {
	t.Setenv("TMPDIR", t.TempDir()) // a killed plugin leaves its sockets behind
	binary := build(t)
	endpoint, logins := tokenEndpoint(t)
	storage := map[string]logical.Storage{"first": &logical.InmemStorage{}, "second": &logical.InmemStorage{}}
	write := map[string]any{"provider": "oauth2", "token_url": endpoint, "client_id": "acme", "client_secret": "hunter2"}

	p := start(t, binary)
	first, second := p.mount("first", storage["first"]), p.mount("second", storage["second"])
	if got := first.PluginVersion().Version; got != "v1.2.3" {
		t.Errorf("plugin version: got %q, want %q", got, "v1.2.3")
	}

	first.request(logical.CreateOperation, "config/acme", write)
	if resp := second.request(logical.ReadOperation, "config/acme", nil); resp != nil {
		t.Errorf("config/acme, which only the first mount has: the second mount got %v, want no response", resp.Data)
	}
	second.request(logical.CreateOperation, "config/acme", write)
	tokens := map[string]string{"first": first.token(), "second": second.token()}
	if tokens["first"] == tokens["second"] {
		t.Errorf("both mounts got the token %q, want a token each", tokens["first"])
	}
	if got := logins.Load(); got != 2 {
		t.Errorf("logins before the kill: got %d, want 2", got)
	}

	p.kill()
	p = start(t, binary)
	restarted := map[string]string{}
	for name, s := range storage {
		restarted[name] = p.mount(name, s).token()
	}
	if !maps.Equal(restarted, tokens) {
		t.Errorf("tokens after the restart: got %v, want the stored tokens %v", restarted, tokens)
	}
	if got := logins.Load(); got != 2 {
		t.Errorf("logins after the restart: got %d, want still 2", got)
	}
}

// The plugin must not contain Vault's client library or its dependencies.
func TestModules(t *testing.T) {
	info, err := buildinfo.ReadFile(build(t))
	if err != nil {
		t.Fatal(err)
	}
	if len(info.Deps) == 0 {
		t.Fatal("got a binary without modules, want their list")
	}
	for _, module := range info.Deps {
		for _, unwanted := range []string{"github.com/hashicorp/vault/api", "github.com/hashicorp/go-retryablehttp", "github.com/hashicorp/hcl"} {
			if module.Path == unwanted {
				t.Errorf("got the module %s in the binary, want it to be left out", module.Path)
			}
		}
	}
}

// build builds the plugin as version v1.2.3, with the same flags as "make build".
func build(t *testing.T) (binary string) {
	t.Helper()
	binary = filepath.Join(t.TempDir(), "plugin")
	cmd := exec.CommandContext(t.Context(), "go", "build", "-trimpath", "-ldflags", "-X main.version=v1.2.3", "-o", binary, ".")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%s: %v\n%s", cmd, err, out)
	}
	return binary
}

// tokenEndpoint serves an OAuth 2 token endpoint that numbers its tokens.
func tokenEndpoint(t *testing.T) (url string, logins *atomic.Int64) {
	logins = new(atomic.Int64)
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		fmt.Fprintf(w, `{"access_token": "token-%d", "token_type": "Bearer", "expires_in": 3600}`, logins.Add(1))
	}))
	t.Cleanup(s.Close)
	return s.URL, logins
}

// process is a running plugin.
type process struct {
	t      *testing.T
	system *logical.StaticSystemView
	log    hclog.Logger
	client *plugin.Client
	rpc    *plugin.GRPCClient
}

// start starts the plugin, which the end of the test stops.
func start(t *testing.T, binary string) *process {
	t.Helper()
	content, err := os.ReadFile(binary)
	if err != nil {
		t.Fatal(err)
	}
	sum := sha256.Sum256(content)
	p := &process{
		t:      t,
		system: &logical.StaticSystemView{DefaultLeaseTTLVal: time.Hour, MaxLeaseTTLVal: time.Hour, VersionString: "1.21.1"},
		log:    hclog.New(&hclog.LoggerOptions{Name: "vault", Level: hclog.Info, Output: t.Output()}),
	}
	runner := &pluginutil.PluginRunner{Name: "messaging", Command: binary, Sha256: sum[:]}
	p.client, err = runner.RunConfig(t.Context(), pluginutil.Runner(p.system), pluginutil.PluginSets(vaultplugin.PluginSet),
		pluginutil.HandshakeConfig(vaultplugin.HandshakeConfig), pluginutil.AutoMTLS(true), pluginutil.Logger(p.log))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.client.Kill)
	protocol, err := p.client.Client()
	if err != nil {
		t.Fatalf("starting the plugin: %v", err)
	}
	p.rpc = protocol.(*plugin.GRPCClient)
	if ok, err := pluginutil.MultiplexingSupported(t.Context(), p.rpc.Conn, "messaging"); !ok || err != nil {
		t.Fatalf("multiplexing: got %t, %v, want true, no error", ok, err)
	}
	return p
}

// kill kills the process and waits until it has ended.
func (p *process) kill() {
	p.t.Helper()
	running, err := os.FindProcess(p.client.ReattachConfig().Pid)
	if err == nil {
		err = running.Kill()
	}
	if err != nil {
		p.t.Fatalf("killing the plugin: %v", err)
	}
	p.client.Kill()
}

// mount is one mount of a process.
type mount struct {
	*vaultplugin.BackendPluginClientV5
	t    *testing.T
	name string
}

// mount mounts the engine on storage.
func (p *process) mount(name string, storage logical.Storage) *mount {
	p.t.Helper()
	backend, err := vaultplugin.Dispense(p.rpc, &multiplexed{p.rpc, name})
	if err != nil {
		p.t.Fatalf("mount %s: %v", name, err)
	}
	m := &mount{backend.(*vaultplugin.BackendPluginClientV5), p.t, name}
	ctx, cancel := context.WithTimeout(p.t.Context(), time.Minute)
	defer cancel()
	if err := m.Setup(ctx, &logical.BackendConfig{StorageView: storage, System: p.system, Logger: p.log}); err != nil {
		p.t.Fatalf("mount %s: setup: %v", name, err)
	}
	if err := m.Initialize(ctx, &logical.InitializationRequest{Storage: storage}); err != nil {
		p.t.Fatalf("mount %s: initialize: %v", name, err)
	}
	return m
}

// request makes a request that must succeed.
func (m *mount) request(op logical.Operation, path string, data map[string]any) *logical.Response {
	m.t.Helper()
	ctx, cancel := context.WithTimeout(m.t.Context(), time.Minute)
	defer cancel()
	resp, err := m.HandleRequest(ctx, &logical.Request{Operation: op, Path: path, MountPoint: m.name + "/", Data: data})
	if err != nil || resp.IsError() {
		m.t.Fatalf("mount %s: %s %s: got %v, %v, want success", m.name, op, path, resp, err)
	}
	return resp
}

// token reads the token of the config acme.
func (m *mount) token() string {
	m.t.Helper()
	resp := m.request(logical.ReadOperation, "creds/acme", nil)
	token, _ := resp.Data["access_token"].(string)
	if token == "" {
		m.t.Fatalf("mount %s: creds/acme: got %v, want an access_token", m.name, resp.Data)
	}
	return token
}

// multiplexed is one mount's connection to the plugin process. Each call names the mount.
type multiplexed struct {
	*plugin.GRPCClient
	id string
}

// Conn implements [pluginutil.PluginClient].
func (m *multiplexed) Conn() grpc.ClientConnInterface { return m }

// Reload does nothing, because the test restarts the process itself.
func (m *multiplexed) Reload() error { return nil }

// Close does nothing, because the other mount still needs the process.
func (m *multiplexed) Close() error { return nil }

// Invoke implements [grpc.ClientConnInterface].
func (m *multiplexed) Invoke(ctx context.Context, method string, args, reply any, opts ...grpc.CallOption) error {
	return m.GRPCClient.Conn.Invoke(m.withID(ctx), method, args, reply, opts...)
}

// NewStream implements [grpc.ClientConnInterface].
func (m *multiplexed) NewStream(ctx context.Context, desc *grpc.StreamDesc, method string, opts ...grpc.CallOption) (grpc.ClientStream, error) {
	return m.GRPCClient.Conn.NewStream(m.withID(ctx), desc, method, opts...)
}

func (m *multiplexed) withID(ctx context.Context) context.Context {
	return metadata.AppendToOutgoingContext(ctx, pluginutil.MultiplexingCtxKey, m.id)
}
