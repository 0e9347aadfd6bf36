// SPDX-License-Identifier: MPL-2.0

package messaging

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/vault/sdk/helper/jsonutil"
	"github.com/hashicorp/vault/sdk/logical"

	"vault-plugin-secrets-messaging/internal/simulator"

	"vault-plugin-secrets-messaging/internal/clock"
	"vault-plugin-secrets-messaging/providers"
)

// fields is the data of a request.
type fields = map[string]any

// secrets are the credentials that tests write: none may show anywhere. Wrong ones
// and those of fake providers have hunter2 in them.
var secrets = []string{"correct-horse", "battery-staple-app-key", "conversation-secret", "generic-secret", "wonderland", "hunter2"}

// mount is the engine as one mount of a server: a backend with its storage, its
// system view, and a simulator of the providers. Whatever it answers and logs is
// searched for secrets.
type mount struct {
	logical.Backend
	t       testing.TB
	clock   *fakeClock
	storage *storage
	system  *system
	sim     *simulator.Simulator
	url     string // of the simulator
	log     *logBuffer
	options Options

	mu     sync.Mutex
	tokens []string // that reads returned
}

// newMount makes a mount with the providers there are and these.
func newMount(t testing.TB, more ...providers.Provider) *mount {
	clock := &fakeClock{now: clock.Instant{Wall: time.Date(2026, 11, 22, 8, 0, 0, 0, time.UTC)}}
	sim := simulator.New(simulator.Options{Now: clock.wall})
	server := httptest.NewServer(sim)
	t.Cleanup(server.Close)
	m := &mount{
		t: t, clock: clock, storage: &storage{}, system: newSystem(), sim: sim, url: server.URL, log: &logBuffer{},
		options: Options{Version: "v1.2.3", Clock: clock.instant, Providers: append(providers.All(), more...)},
	}
	m.start()
	return m
}

// start sets the backend up, as after a start of the process.
func (m *mount) start() {
	m.t.Helper()
	log := hclog.New(&hclog.LoggerOptions{Name: "messaging", Level: hclog.Trace, Output: m.log})
	b, err := Factory(m.options)(m.t.Context(), &logical.BackendConfig{Logger: log, System: m.system, StorageView: m.storage})
	if err != nil {
		m.t.Fatal(err)
	}
	m.Backend = b
	m.t.Cleanup(func() {
		b.Cleanup(m.t.Context())
		m.noSecret("the log", m.log.String(), true)
	})
}

// again returns the mount as it is after a restart, on the same storage.
func (m *mount) again() *mount {
	n := &mount{t: m.t, clock: m.clock, storage: m.storage, system: m.system, sim: m.sim, url: m.url, log: m.log, options: m.options, tokens: m.tokens}
	n.start()
	return n
}

// answer is what a user gets.
type answer struct {
	status    int // of HTTP
	text      string
	data      fields
	warnings  []string
	secret    *logical.Secret
	forwarded bool // to a node that may write
}

// request makes a request as Vault does: its data have been JSON.
func (m *mount) request(op logical.Operation, path string, data fields) answer {
	m.t.Helper()
	req := &logical.Request{Operation: op, Path: path, MountPoint: "messaging/", Storage: m.storage, Data: m.asJSON(data)}
	resp, err := m.HandleRequest(m.t.Context(), req)
	return m.answer(req, resp, err)
}

func (m *mount) answer(req *logical.Request, resp *logical.Response, err error) answer {
	m.t.Helper()
	a := answer{forwarded: errors.Is(err, logical.ErrReadOnly)}
	status, respErr := logical.RespondErrorCommon(req, resp, err)
	switch {
	case status != 0:
		a.status = status
	case resp == nil:
		a.status = http.StatusNoContent
	default:
		a.status = http.StatusOK
	}
	if coded, ok := err.(logical.HTTPCodedError); ok { // bare: Vault makes a 500 of one that is wrapped
		a.status = coded.Code()
	}
	if respErr != nil {
		a.text = respErr.Error()
	}
	shown := a.text
	if resp != nil {
		a.data, a.warnings, a.secret = resp.Data, resp.Warnings, resp.Secret
		shown += fmt.Sprintf("%s %s", resp.Data, resp.Warnings)
	}
	read := req.Operation == logical.ReadOperation && strings.HasPrefix(req.Path, "creds/")
	if token, ok := a.data["access_token"].(string); ok && read {
		m.mu.Lock()
		m.tokens = append(m.tokens, token)
		m.mu.Unlock()
	}
	m.noSecret(fmt.Sprintf("the answer to %s %s", req.Operation, req.Path), shown, !read)
	return a
}

// asJSON returns data as they are after their way through JSON.
func (m *mount) asJSON(data fields) fields {
	if data == nil {
		return nil
	}
	text, err := json.Marshal(data)
	if err != nil {
		m.t.Fatal(err)
	}
	var decoded fields
	if err := jsonutil.DecodeJSON(text, &decoded); err != nil {
		m.t.Fatal(err)
	}
	return decoded
}

// noSecret fails the test if a credential, or a token if they count, is in text.
func (m *mount) noSecret(where, text string, tokens bool) {
	m.t.Helper()
	hidden := secrets
	if tokens {
		m.mu.Lock()
		hidden = append(hidden[:len(hidden):len(hidden)], m.tokens...)
		m.mu.Unlock()
	}
	for _, s := range hidden {
		for _, form := range []string{s, url.QueryEscape(s), base64.StdEncoding.EncodeToString([]byte(s))} {
			if strings.Contains(text, form) {
				m.t.Errorf("%s shows %q: %s", where, form, text)
			}
		}
	}
}

// write creates or updates, as an existence check says.
func (m *mount) write(path string, data fields) answer {
	m.t.Helper()
	req := &logical.Request{Operation: logical.CreateOperation, Path: path, Storage: m.storage, Data: m.asJSON(data)}
	found, exists, err := m.HandleExistenceCheck(m.t.Context(), req)
	if err != nil {
		return m.answer(req, nil, err)
	}
	if found && !exists {
		return m.request(logical.CreateOperation, path, data)
	}
	return m.request(logical.UpdateOperation, path, data)
}

func (m *mount) patch(path string, data fields) answer {
	m.t.Helper()
	return m.request(logical.PatchOperation, path, data)
}
func (m *mount) delete(path string) answer {
	m.t.Helper()
	return m.request(logical.DeleteOperation, path, nil)
}
func (m *mount) read(path string) answer {
	m.t.Helper()
	return m.request(logical.ReadOperation, path, nil)
}
func (m *mount) list(path string) answer {
	m.t.Helper()
	return m.request(logical.ListOperation, path, nil)
}
func (m *mount) tick() answer {
	m.t.Helper()
	return m.request(logical.RollbackOperation, "", nil)
}

// token returns the token of the named account, which must have one.
func (m *mount) token(name string) string {
	m.t.Helper()
	a := m.read("creds/" + name)
	a.want(m.t, http.StatusOK)
	return a.data["access_token"].(string)
}

// logins is how many times the simulator was sent a credential.
func (m *mount) logins() int { return m.sim.State().Total.Logins() }

// set turns the simulator's knobs.
func (m *mount) set(settings string) {
	m.t.Helper()
	if err := m.sim.Patch([]byte(settings)); err != nil {
		m.t.Fatal(err)
	}
}

// want fails the test unless the answer has this status and all of these texts.
func (a answer) want(t testing.TB, status int, texts ...string) {
	t.Helper()
	if a.status != status {
		t.Fatalf("got %d %s, want %d", a.status, a.text, status)
	}
	for _, text := range texts {
		if !strings.Contains(a.text, text) {
			t.Fatalf("got %d %q, want in it %q", a.status, a.text, text)
		}
	}
}

// sinch returns the data of a config of sinch-india at the simulator, with more.
func (m *mount) sinch(more fields) fields {
	return also(fields{"provider": "sinch-india", "username": "acme", "password": "correct-horse",
		"token_url": m.url + "/realms/ipmessaging/protocol/openid-connect/token"}, more)
}

// oauth2 returns the data of a config of oauth2 at the simulator, with more.
func (m *mount) oauth2(more fields) fields {
	return also(fields{"provider": "oauth2", "client_id": "generic-client", "client_secret": "generic-secret",
		"token_url": m.url + "/generic/token"}, more)
}

// enablex returns the data of a config of an EnableX API at the simulator, with more.
func (m *mount) enablex(channel string, more fields) fields {
	return also(fields{"provider": "enablex-" + channel, "app_id": "5f0c0ffee0ddba11acce55ed", "app_key": "battery-staple-app-key",
		"token_url": m.url + "/" + channel + "/v1/token"}, more)
}

// conversation returns the data of a config of sinch-conversation, with more.
func (m *mount) conversation(more fields) fields {
	return also(fields{"provider": "sinch-conversation", "client_id": "conversation-key", "client_secret": "conversation-secret",
		"token_url": m.url + "/oauth2/token"}, more)
}

func also(data, more fields) fields {
	maps.Copy(data, more)
	return data
}

// eventually waits for what goes on in the background.
func eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	deadline := time.After(20 * time.Second)
	poll := time.NewTicker(time.Millisecond)
	defer poll.Stop()
	for !ok() {
		select {
		case <-deadline:
			t.Fatalf("waited in vain: %s", what)
		case <-poll.C:
		}
	}
}
