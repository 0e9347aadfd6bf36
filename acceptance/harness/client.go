// SPDX-License-Identifier: MPL-2.0

package harness

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"
)

// Client speaks to one server with one Vault token. Its methods may be called
// from any number of goroutines.
type Client struct {
	Addr  string // "http://127.0.0.1:8200"
	Token string
	http  *http.Client
	home  string // what the vault command is to think the user's home is
}

// As returns a client of the same server with another token.
func (c *Client) As(token string) *Client {
	as := *c
	as.Token = token
	return &as
}

// Response is what a server answered.
type Response struct {
	Status int         `json:"-"`
	Raw    string      `json:"-"` // the body
	Header http.Header `json:"-"`

	LeaseID       string         `json:"lease_id"`
	LeaseDuration int            `json:"lease_duration"` // seconds
	Renewable     bool           `json:"renewable"`
	Data          map[string]any `json:"data"`
	Warnings      []string       `json:"warnings"`
	Errors        []string       `json:"errors"`
	Auth          struct {
		ClientToken string `json:"client_token"`
	} `json:"auth"`
	WrapInfo struct {
		Token string `json:"token"`
	} `json:"wrap_info"`
}

// Do makes one request to /v1/<path>, body as JSON unless it is nil. The header
// lines are pairs of name and value. An answer of any status is no error.
func (c *Client) Do(method, path string, body any, header ...string) (Response, error) {
	var content io.Reader
	if body != nil {
		b, err := json.Marshal(body)
		if err != nil {
			return Response{}, err
		}
		content = bytes.NewReader(b)
	}
	req, err := http.NewRequest(method, c.Addr+"/v1/"+path, content)
	if err != nil {
		return Response{}, err
	}
	req.Header.Set("X-Vault-Token", c.Token)
	req.Header.Set("X-Vault-Request", "true")
	if method == http.MethodPatch {
		req.Header.Set("Content-Type", "application/merge-patch+json")
	}
	for pair := range slices.Chunk(header, 2) {
		req.Header.Set(pair[0], pair[1])
	}
	res, err := c.http.Do(req)
	if err != nil {
		return Response{}, err
	}
	defer res.Body.Close()
	raw, err := io.ReadAll(res.Body)
	if err != nil {
		return Response{}, err
	}
	r := Response{Status: res.StatusCode, Header: res.Header, Raw: string(raw)}
	_ = json.Unmarshal(raw, &r) // where it is not JSON, Raw is all there is
	return r, nil
}

func (c *Client) must(t testing.TB, method, path string, body any, header ...string) Response {
	t.Helper()
	r, err := c.Do(method, path, body, header...)
	if err != nil {
		t.Fatalf("%s %s: %v", method, path, err)
	}
	return r
}

// Fields is the body of a write.
type Fields = map[string]any

// Read, List, Write, Patch and Delete make one request and return the answer,
// whatever its status; no answer at all fails the test.
func (c *Client) Read(t testing.TB, path string, header ...string) Response {
	t.Helper()
	return c.must(t, http.MethodGet, path, nil, header...)
}

func (c *Client) List(t testing.TB, path string) Response {
	t.Helper()
	return c.must(t, "LIST", path, nil)
}

func (c *Client) Write(t testing.TB, path string, body Fields) Response {
	t.Helper()
	return c.must(t, http.MethodPut, path, body)
}

func (c *Client) Patch(t testing.TB, path string, body Fields) Response {
	t.Helper()
	return c.must(t, http.MethodPatch, path, body)
}

func (c *Client) Delete(t testing.TB, path string) Response {
	t.Helper()
	return c.must(t, http.MethodDelete, path, nil)
}

// OK fails the test unless the server answered with success, and returns the
// answer.
func (r Response) OK(t testing.TB) Response {
	t.Helper()
	if r.Status < 200 || r.Status > 299 {
		t.Fatalf("status %d: %s", r.Status, r.Raw)
	}
	return r
}

// Refused fails the test unless the server answered with this status and with
// errors that hold all these words.
func (r Response) Refused(t testing.TB, status int, words ...string) {
	t.Helper()
	text := strings.Join(r.Errors, "\n")
	if r.Status != status {
		t.Errorf("status %d, want %d: %s", r.Status, status, r.Raw)
	}
	for _, w := range words {
		if !strings.Contains(text, w) {
			t.Errorf("the error does not say %q: %s", w, r.Raw)
		}
	}
}

// Text returns a field of the answer's data as text, "" if it is not there.
func (r Response) Text(field string) string {
	if v, ok := r.Data[field]; ok && v != nil {
		return fmt.Sprint(v)
	}
	return ""
}

// Keys returns the keys of a list.
func (r Response) Keys() []string {
	var keys []string
	list, _ := r.Data["keys"].([]any)
	for _, k := range list {
		keys = append(keys, fmt.Sprint(k))
	}
	return keys
}

func newHTTPClient() *http.Client {
	return &http.Client{
		Transport: &http.Transport{MaxIdleConnsPerHost: 64},
		Timeout:   2 * time.Minute,
	}
}
