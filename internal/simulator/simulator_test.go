// SPDX-License-Identifier: MPL-2.0

package simulator_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"reflect"
	"strings"
	"sync"
	"testing"
	"time"

	"vault-plugin-secrets-messaging/internal/simulator"
)

const (
	realm    = "/realms/ipmessaging/protocol/openid-connect/"
	formType = "application/x-www-form-urlencoded"
	jsonType = "application/json"
	appID    = "5f0c0ffee0ddba11acce55ed"
	appKey   = "battery-staple-app-key"
)

// rig is a simulator on an HTTP server. The simulator's clock moves only when a test calls advance.
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
	srv := httptest.NewServer(r.sim)
	t.Cleanup(srv.Close)
	r.url, r.client = srv.URL, simulator.Client{URL: srv.URL}
	return r
}

func (r *rig) advance(d time.Duration) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.now = r.now.Add(d)
}

// result is a response with its body.
type result struct {
	request string
	status  int
	header  http.Header
	text    string
	json    map[string]any // nil if the body is not a JSON object
	err     error          // of the connection
}

// send sends a request. The parameter header alternates names and values.
func (r *rig) send(method, path, contentType, body string, header ...string) result {
	r.Helper()
	req, err := http.NewRequestWithContext(r.Context(), method, r.url+path, strings.NewReader(body))
	r.ok(err)
	if contentType != "" {
		req.Header.Set("Content-Type", contentType)
	}
	for i := 0; i < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	got := result{request: fmt.Sprintf("%s %s %q %q", method, path, body, header)}
	resp, err := http.DefaultTransport.RoundTrip(req) // follows no redirects
	if err != nil {
		got.err = err
		return got
	}
	defer func() { _ = resp.Body.Close() }()
	data, err := io.ReadAll(resp.Body)
	got.status, got.header, got.text, got.err = resp.StatusCode, resp.Header, string(data), err
	_ = json.Unmarshal(data, &got.json)
	return got
}

// post sends a form as Sinch India documents it. The params alternate names and values.
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

func passwordGrant(user, password string) []string {
	return []string{"grant_type", "password", "client_id", "ipmessaging-client", "username", user, "password", password}
}

// login sends the password grant of Sinch India.
func (r *rig) login(user, password string) result {
	r.Helper()
	return r.post(realm+"token", passwordGrant(user, password)...)
}

// loginRequest returns a valid login for a direct call of ServeHTTP.
func loginRequest(ctx context.Context) *http.Request {
	body := strings.NewReader(form(passwordGrant("acme", "correct-horse")...))
	req := httptest.NewRequestWithContext(ctx, "POST", realm+"token", body)
	req.Header.Set("Content-Type", formType)
	return req
}

func (r *rig) refresh(token string) result {
	r.Helper()
	return r.post(realm+"token", "grant_type", "refresh_token", "client_id", "ipmessaging-client",
		"refresh_token", token)
}

func (r *rig) enablex(api, id, key string) result {
	r.Helper()
	body, err := json.Marshal(map[string]string{"app_id": id, "app_key": key})
	r.ok(err)
	return r.send("POST", "/"+api+"/v1/token", jsonType, string(body))
}

func (r *rig) patch(settings string) {
	r.Helper()
	r.ok(r.client.Patch(r.Context(), settings))
}

func (r *rig) state() simulator.State {
	r.Helper()
	st, err := r.client.State(r.Context())
	r.ok(err)
	return st
}

func (r *rig) introspect(token string) simulator.Introspection {
	r.Helper()
	in, err := r.client.Introspect(r.Context(), token)
	r.ok(err)
	return in
}

func (got result) str(name string) string {
	s, _ := got.json[name].(string)
	return s
}

func (r *rig) ok(err error) {
	r.Helper()
	if err != nil {
		r.Fatal(err)
	}
}

// want fails the test unless the response has the given status and JSON fields.
func (r *rig) want(got result, status int, fields map[string]any) {
	r.Helper()
	if got.err != nil || got.status != status {
		r.Fatalf("%s: got status %d, error %v, want status %d: %.200s", got.request, got.status, got.err, status, got.text)
	}
	for name, value := range fields {
		r.equal(got.request+": "+name, got.json[name], value)
	}
}

func (r *rig) equal(what string, got, want any) {
	r.Helper()
	if !reflect.DeepEqual(got, want) {
		gotJSON, _ := json.Marshal(got)
		wantJSON, _ := json.Marshal(want)
		r.Errorf("%s: got %s, want %s", what, gotJSON, wantJSON)
	}
}

// wantCounts compares the counts of logins, refreshes and revocations.
func (r *rig) wantCounts(got, want simulator.Counts) {
	r.Helper()
	want.Requests, want.Faults, want.Violations, want.MaxConcurrent =
		got.Requests, got.Faults, got.Violations, got.MaxConcurrent
	r.equal("counts", got, want)
}

func (r *rig) wantActive(what, token string, want bool) {
	r.Helper()
	if in := r.introspect(token); in.Active != want {
		r.Errorf("%s: got %+v, want active %v", what, in, want)
	}
}

func (r *rig) noViolations() {
	r.Helper()
	r.equal("violations", r.state().Violations, []simulator.Violation{})
}

func TestLatencyFollowsTheAction(t *testing.T) {
	slept := make(chan time.Duration, 1)
	r := newRig(t, simulator.Options{Sleep: func(_ context.Context, d time.Duration) { slept <- d }})
	r.patch(`{"latency": "10m"}`)
	r.want(r.login("acme", "correct-horse"), 200, nil)
	r.equal("latency", <-slept, 10*time.Minute)
}

func TestReset(t *testing.T) {
	r := newRig(t, simulator.Options{})
	r.patch(`{"access_ttl": 5, "lockout_after": 1, "faults": [{"kind": "status", "count": 1}]}`)
	r.want(r.login("acme", "correct-horse"), 503, nil)
	got := r.login("acme", "correct-horse")
	r.want(got, 200, map[string]any{"expires_in": 5.0})
	r.want(r.login("acme", "wrong"), 401, nil)
	r.want(r.send("POST", "/sim/reset", "", ""), 200, nil)
	r.equal("state", r.state(), simulator.State{Providers: map[string]simulator.ProviderCounts{}, Violations: []simulator.Violation{}})
	r.wantActive("token after the reset", got.str("access_token"), true)
	r.want(r.login("acme", "correct-horse"), 200, map[string]any{"expires_in": 3600.0}) // the lockout has ended
}

func TestConcurrentAccounts(t *testing.T) {
	const workers, each = 4, 12
	r := newRig(t, simulator.Options{})
	r.patch(`{"any_account": true}`)
	var wg sync.WaitGroup
	for w := range workers {
		wg.Go(func() {
			for i := range each {
				user := fmt.Sprintf("u%d-%d", w, i)
				got := r.refresh(r.login(user, user+"-secret").str("refresh_token"))
				r.equal("status of the refresh of "+user, got.status, 200)
			}
		})
	}
	wg.Go(func() {
		for i := range each {
			r.patch(fmt.Sprintf(`{"access_ttl": %d}`, i+1))
			r.state()
		}
	})
	wg.Wait()
	st := r.state()
	const n = workers * each
	r.wantCounts(st.Total, simulator.Counts{LoginsSucceeded: n, RefreshesSucceeded: n})
	r.equal("accounts", len(st.Providers[simulator.SinchIndia].Accounts), n)
}
