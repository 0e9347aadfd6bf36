// SPDX-License-Identifier: MPL-2.0

package simulator_test

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"vault-plugin-secrets-messaging/internal/simulator"
)

const (
	realm    = "/realms/ipmessaging/protocol/openid-connect/"
	formType = "application/x-www-form-urlencoded"
	appID    = "5f0c0ffee0ddba11acce55ed"
	appKey   = "battery-staple-app-key"
)

// rig is a simulator on a real server, with a clock that stands still until it is moved.
type rig struct {
	*testing.T
	sim    *simulator.Simulator
	client simulator.Client
	url    string

	mu  sync.Mutex
	now time.Time
}

func newRig(t *testing.T, opts simulator.Options) *rig {
	t.Helper()
	r := &rig{T: t, now: time.Date(2026, 11, 22, 8, 0, 0, 900e6, time.UTC)}
	opts.Now = func() time.Time {
		r.mu.Lock()
		defer r.mu.Unlock()
		return r.now
	}
	r.sim = simulator.New(opts)
	srv := httptest.NewUnstartedServer(r.sim)
	srv.Config.ConnState = r.sim.ConnState
	srv.Start()
	t.Cleanup(srv.Close)
	r.url, r.client = srv.URL, simulator.Client{URL: srv.URL}
	return r
}

func (r *rig) advance(d time.Duration) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.now = r.now.Add(d)
}

// result is an answer, read.
type result struct {
	status int
	header http.Header
	text   string
	json   map[string]any // nil if it is not a JSON object
	err    error          // of the connection
}

func (r *rig) send(method, path, contentType, body string, header ...string) result {
	r.Helper()
	req, err := http.NewRequestWithContext(r.Context(), method, r.url+path, strings.NewReader(body))
	if err != nil {
		r.Fatal(err)
	}
	if contentType != "" {
		req.Header.Set("Content-Type", contentType)
	}
	for i := 0; i < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	resp, err := http.DefaultTransport.RoundTrip(req) // which follows no redirect
	if err != nil {
		return result{err: err}
	}
	defer func() { _ = resp.Body.Close() }()
	data, err := io.ReadAll(resp.Body)
	got := result{status: resp.StatusCode, header: resp.Header, text: string(data), err: err}
	_ = json.Unmarshal(data, &got.json)
	return got
}

// post sends a form made of name, value, name, value…, as documented for the realm.
func (r *rig) post(path string, params ...string) result {
	r.Helper()
	return r.send("POST", path, formType, form(params...), "Cache-Control", "no-cache")
}

func form(params ...string) string {
	v := url.Values{}
	for i := 0; i < len(params); i += 2 {
		v.Add(params[i], params[i+1])
	}
	return v.Encode()
}

// login makes the documented password grant of Sinch India.
func (r *rig) login(user, password string) result {
	r.Helper()
	return r.post(realm+"token", "grant_type", "password", "client_id", "ipmessaging-client",
		"username", user, "password", password)
}

func (r *rig) refresh(token string) result {
	r.Helper()
	return r.post(realm+"token", "grant_type", "refresh_token", "client_id", "ipmessaging-client",
		"refresh_token", token)
}

func (r *rig) enablex(api, id, key string) result {
	r.Helper()
	body, _ := json.Marshal(map[string]string{"app_id": id, "app_key": key})
	return r.send("POST", "/"+api+"/v1/token", "application/json", string(body))
}

func (r *rig) patch(doc string) {
	r.Helper()
	if err := r.client.Patch(r.Context(), doc); err != nil {
		r.Fatal(err)
	}
}

func (r *rig) state() simulator.State {
	r.Helper()
	st, err := r.client.State(r.Context())
	if err != nil {
		r.Fatal(err)
	}
	return st
}

func (r *rig) introspect(token string) simulator.Introspection {
	r.Helper()
	in, err := r.client.Introspect(r.Context(), token)
	if err != nil {
		r.Fatal(err)
	}
	return in
}

func (got result) str(name string) string {
	s, _ := got.json[name].(string)
	return s
}

// want fails the test unless the status is this and the body has all these fields with these values.
func (r *rig) want(got result, status int, fields map[string]any) {
	r.Helper()
	if got.err != nil || got.status != status {
		r.Fatalf("got status %d, error %v, want %d: %.200s", got.status, got.err, status, got.text)
	}
	for name, value := range fields {
		if got.json[name] != value {
			r.Errorf("%s is %#v, want %#v: %.200s", name, got.json[name], value, got.text)
		}
	}
}

func (r *rig) noViolations() {
	r.Helper()
	if v := r.state().Violations; len(v) > 0 {
		r.Errorf("violations: %+v", v)
	}
}

func TestLatencyComesAfterTheTokenIsIssued(t *testing.T) {
	slept := make(chan time.Duration, 1)
	r := newRig(t, simulator.Options{
		Settings: simulator.Settings{ProviderSettings: simulator.ProviderSettings{Latency: simulator.Ptr(simulator.Duration(250 * time.Millisecond))}},
		Sleep:    func(_ context.Context, d time.Duration) { slept <- d },
	})
	r.want(r.login("acme", "correct-horse"), 200, nil)
	if d := <-slept; d != 250*time.Millisecond {
		t.Errorf("slept %v", d)
	}
}

func TestLatencyEndsWithTheRequest(t *testing.T) {
	sim := simulator.New(simulator.Options{
		Settings: simulator.Settings{ProviderSettings: simulator.ProviderSettings{Latency: simulator.Ptr(simulator.Duration(10 * time.Minute))}},
	})
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	body := strings.NewReader(form("grant_type", "password", "client_id", "ipmessaging-client",
		"username", "acme", "password", "correct-horse"))
	req := httptest.NewRequestWithContext(ctx, "POST", realm+"token", body)
	req.Header.Set("Content-Type", formType)
	sim.ServeHTTP(httptest.NewRecorder(), req)
	if n := sim.State().Total.LoginsSucceeded; n != 1 {
		t.Errorf("%d logins, want 1: the provider acted, though nobody waited for its answer", n)
	}
}

func TestUnknownPathIsAViolation(t *testing.T) {
	r := newRig(t, simulator.Options{})
	r.want(r.post("/oauth/token"), 404, nil)
	if v := r.state().Violations; len(v) != 1 || v[0].Path != "/oauth/token" {
		t.Errorf("violations: %+v", v)
	}
}

func TestNewPanicsOnBadSettings(t *testing.T) {
	defer func() {
		if recover() == nil {
			t.Error("no panic")
		}
	}()
	simulator.New(simulator.Options{Settings: simulator.Settings{Providers: map[string]simulator.ProviderSettings{"sinch": {}}}})
}
