// SPDX-License-Identifier: MPL-2.0

package messaging

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/vault/sdk/helper/jsonutil"
	"github.com/hashicorp/vault/sdk/logical"

	"vault-plugin-secrets-messaging/internal/clock"
	"vault-plugin-secrets-messaging/internal/simulator"
	"vault-plugin-secrets-messaging/providers"
)

// fields is the data of a request.
type fields = map[string]any

// secrets are in the credentials that tests write. Answers and logs must contain none of them.
// hunter2 is in wrong credentials and in credentials for fake providers.
var secrets = []string{"correct-horse", "battery-staple-app-key", "conversation-secret", "generic-secret", "wonderland", "hunter2"}

// mount is a backend with storage, system view and simulated providers. It searches all answers and
// logs for secrets.
type mount struct {
	logical.Backend
	t       testing.TB
	clock   *fakeClock
	storage *storage
	system  *system
	events  logical.EventSender // nil: the server has no events
	sim     *simulator.Simulator
	url     string // of the simulator
	log     *logBuffer
	options Options

	mu     sync.Mutex
	tokens []string      // that reads returned
	held   chan struct{} // see hold; may be nil
}

// newMount makes a mount with a simulator. The mount has the built-in providers and the given
// providers.
func newMount(t testing.TB, more ...providers.Provider) *mount {
	m := newBareMount(t, append(providers.All(), more...))
	m.sim = simulator.New(simulator.Options{Now: m.clock.wall, Sleep: m.delay})
	server := httptest.NewServer(m.sim)
	t.Cleanup(server.Close)
	m.url = server.URL
	return m
}

// newBareMount makes a mount with the given providers and without a simulator.
func newBareMount(t testing.TB, ps []providers.Provider) *mount {
	clock := &fakeClock{now: clock.Instant{Wall: time.Date(2026, 11, 22, 8, 0, 0, 0, time.UTC)}}
	m := &mount{t: t, clock: clock, storage: &storage{}, system: &system{}, log: &logBuffer{},
		options: Options{Version: "v1.2.3", Clock: clock.instant, Providers: ps}}
	m.start()
	return m
}

// start makes the backend, as a start of the process does.
func (m *mount) start() {
	m.t.Helper()
	log := hclog.New(&hclog.LoggerOptions{Name: "messaging", Level: hclog.Trace, Output: m.log})
	b, err := Factory(m.options)(m.t.Context(), &logical.BackendConfig{Logger: log, System: m.system, StorageView: m.storage, EventsSender: m.events})
	if err != nil {
		m.t.Fatal(err)
	}
	m.Backend = b
	m.t.Cleanup(func() {
		b.Cleanup(m.t.Context())
		m.noSecret("the log", m.log.String(), true)
	})
}

// restart returns a new mount on the same storage.
func (m *mount) restart() *mount { return m.beside(m.storage) }

// neighbor returns another mount in the same process, with its own storage.
func (m *mount) neighbor() *mount { return m.beside(&storage{}) }

func (m *mount) beside(s *storage) *mount {
	n := &mount{t: m.t, clock: m.clock, storage: s, system: m.system, sim: m.sim, url: m.url, log: m.log, options: m.options, tokens: m.tokens}
	n.start()
	return n
}

// answer is what a user gets.
type answer struct {
	request   string // such as "read creds/a"
	status    int    // of HTTP
	text      string
	data      fields
	warnings  []string
	secret    *logical.Secret
	forwarded bool // to a node that may write
}

// token returns the access token of an answer, or "" if the answer has none.
func (a answer) token() string {
	token, _ := a.data["access_token"].(string)
	return token
}

// request makes a request. The data passes through JSON first, as in Vault.
func (m *mount) request(op logical.Operation, path string, data fields) answer {
	m.t.Helper()
	return m.requestWith(m.t.Context(), op, path, data)
}

// requestWith is request with a context.
func (m *mount) requestWith(ctx context.Context, op logical.Operation, path string, data fields) answer {
	m.t.Helper()
	req := &logical.Request{Operation: op, Path: path, MountPoint: "messaging/", Storage: m.storage, Data: m.asJSON(data)}
	resp, err := m.HandleRequest(ctx, req)
	return m.answer(req, resp, err)
}

func (m *mount) answer(req *logical.Request, resp *logical.Response, err error) answer {
	m.t.Helper()
	a := answer{request: fmt.Sprint(req.Operation, " ", req.Path), forwarded: errors.Is(err, logical.ErrReadOnly)}
	status, respErr := logical.RespondErrorCommon(req, resp, err)
	switch {
	case status != 0:
		a.status = status
	case resp == nil:
		a.status = http.StatusNoContent
	default:
		a.status = http.StatusOK
	}
	if coded, ok := err.(logical.HTTPCodedError); ok { // Vault turns a wrapped coded error into a 500
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
	if read && a.token() != "" {
		m.mu.Lock()
		m.tokens = append(m.tokens, a.token())
		m.mu.Unlock()
	}
	m.noSecret("the answer to "+a.request, shown, !read)
	return a
}

// asJSON encodes data as JSON and returns the decoded result.
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

// noSecret fails the test if text contains a credential. With tokens=true, a token in text also
// fails the test.
func (m *mount) noSecret(where, text string, tokens bool) {
	m.t.Helper()
	hidden := secrets
	if tokens {
		m.mu.Lock()
		hidden = slices.Concat(secrets, m.tokens)
		m.mu.Unlock()
	}
	for _, s := range hidden {
		for _, form := range []string{s, url.QueryEscape(s), base64.StdEncoding.EncodeToString([]byte(s))} {
			if strings.Contains(text, form) {
				m.t.Errorf("%s: got %s, want it without %q", where, text, form)
			}
		}
	}
}

// write creates or updates, as the existence check decides.
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

func (m *mount) rotate(name string) answer {
	m.t.Helper()
	return m.write("rotate/"+name, nil)
}

func (m *mount) tick() answer {
	m.t.Helper()
	return m.request(logical.RollbackOperation, "", nil)
}

// token returns the token of the named account. The read must succeed.
func (m *mount) token(name string) string {
	m.t.Helper()
	a := m.read("creds/" + name)
	a.want(m.t, http.StatusOK)
	return a.token()
}

// status returns one field of status/a.
func (m *mount) status(field string) any {
	m.t.Helper()
	return m.read("status/a").data[field]
}

// logins returns how many logins the simulator got.
func (m *mount) logins() int { return m.sim.State().Total.Logins() }

// wantLogins fails the test unless the simulator got this many logins.
func (m *mount) wantLogins(want int) {
	m.t.Helper()
	equal(m.t, "logins", m.logins(), want)
}

// requests returns how many requests the simulator got.
func (m *mount) requests() int { return m.sim.State().Total.Requests }

// wantStored fails the test unless exactly these configs and tokens are stored.
func (m *mount) wantStored(want ...string) {
	m.t.Helper()
	if got := m.storage.keys(); !slices.Equal(got, want) {
		m.t.Errorf("got %q in storage, want %q", got, want)
	}
}

// wantCalls fails the test unless storage got exactly these calls since the previous takeCalls.
func (m *mount) wantCalls(want ...string) {
	m.t.Helper()
	equal(m.t, "calls of storage", m.storage.takeCalls(), want)
}

// wantLogged waits until the log contains text.
func (m *mount) wantLogged(text string) {
	m.t.Helper()
	eventually(m.t, text+" in the log", func() bool { return strings.Contains(m.log.String(), text) })
}

// wantNotLogged fails the test if the log contains text.
func (m *mount) wantNotLogged(text string) {
	m.t.Helper()
	if got := m.log.String(); strings.Contains(got, text) {
		m.t.Errorf("got the log %s, want no %q in it", got, text)
	}
}

// want ends the test unless the answer has this status and all of these texts.
func (a answer) want(t testing.TB, status int, texts ...string) answer {
	t.Helper()
	if a.status != status {
		t.Fatalf("%s: got %d %s, want %d", a.request, a.status, a.text, status)
	}
	for _, text := range texts {
		if !strings.Contains(a.text, text) {
			t.Fatalf("%s: got %d %q, want %q in it", a.request, a.status, a.text, text)
		}
	}
	return a
}

// succeeded fails the test if the answer is an error.
func (a answer) succeeded(t testing.TB, when string) answer {
	t.Helper()
	if a.status >= 300 {
		t.Errorf("%s: %s: got %d %s, want success", when, a.request, a.status, a.text)
	}
	return a
}

// wantData fails the test unless the answer has these fields. A nil value means that the field must
// be absent.
func (a answer) wantData(t testing.TB, want fields) {
	t.Helper()
	for _, name := range slices.Sorted(maps.Keys(want)) {
		equal(t, a.request+": "+name, a.data[name], want[name])
	}
}

// wantWarning fails the test unless the answer has exactly one warning, with these texts.
func (a answer) wantWarning(t testing.TB, texts ...string) {
	t.Helper()
	if len(a.warnings) != 1 {
		t.Errorf("%s: got the warnings %q, want one", a.request, a.warnings)
		return
	}
	for _, text := range texts {
		if !strings.Contains(a.warnings[0], text) {
			t.Errorf("%s: got the warning %q, want %q in it", a.request, a.warnings[0], text)
		}
	}
}

// equal fails the test unless got is deeply equal to want.
func equal(t testing.TB, what string, got, want any) {
	t.Helper()
	if !reflect.DeepEqual(got, want) {
		t.Errorf("%s: got %v, want %v", what, got, want)
	}
}

// differ fails the test if got is deeply equal to other.
func differ(t testing.TB, what string, got, other any) {
	t.Helper()
	if reflect.DeepEqual(got, other) {
		t.Errorf("%s: got %v, want anything else", what, got)
	}
}

// took fails the test if an action took longer than limit. The parameter began is the start of the
// action.
func took(t testing.TB, began time.Time, limit time.Duration) {
	t.Helper()
	if got := time.Since(began); got > limit {
		t.Errorf("got an answer after %s, want it within %s", got, limit)
	}
}

// async makes a request in another goroutine. The channel receives the answer.
func async(request func() answer) <-chan answer {
	done := make(chan answer, 1)
	go func() { done <- request() }()
	return done
}

// eventually waits until a goroutine has made ok return true.
func eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	deadline := time.After(20 * time.Second)
	poll := time.NewTicker(time.Millisecond)
	defer poll.Stop()
	for !ok() {
		select {
		case <-deadline:
			t.Fatalf("waited 20 s in vain for: %s", what)
		case <-poll.C:
		}
	}
}
