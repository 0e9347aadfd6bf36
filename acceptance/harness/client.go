// SPDX-License-Identifier: MPL-2.0

package harness

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// Client calls one server with one Vault token. Its methods are safe for concurrent use.
type Client struct {
	Addr  string // such as "http://127.0.0.1:8200"
	Token string
	http  *http.Client
	home  string // the user's home folder for the vault command
}

// NewClient returns a client of a server that the harness did not start.
func NewClient(t testing.TB, addr, token string) *Client {
	return &Client{Addr: addr, Token: token, http: newHTTPClient(), home: t.TempDir()}
}

// As returns a client of the same server with another token.
func (c *Client) As(token string) *Client {
	as := *c
	as.Token = token
	return &as
}

// Response is a server's response.
type Response struct {
	Status int         `json:"-"`
	Raw    string      `json:"-"` // the body
	Header http.Header `json:"-"`
	Sent   time.Time   `json:"-"` // when the request was sent

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

	request string // method and path, for failure messages
}

// Do sends a request to /v1/<path>, with the body as JSON. For a nil body, Do sends no body. The
// parameter header alternates names and values. Do returns an error only if there is no response.
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
	sent := time.Now()
	res, err := c.http.Do(req)
	if err != nil {
		return Response{}, err
	}
	defer res.Body.Close()
	raw, err := io.ReadAll(res.Body)
	if err != nil {
		return Response{}, err
	}
	r := Response{Status: res.StatusCode, Header: res.Header, Raw: string(raw), Sent: sent, request: method + " " + path}
	_ = json.Unmarshal(raw, &r) // a body that is not JSON is in Raw
	return r, nil
}

func (c *Client) must(t testing.TB, method, path string, body any, header ...string) Response {
	t.Helper()
	r, err := c.Do(method, path, body, header...)
	if err != nil {
		t.Fatalf("%s %s: got no response: %v", method, path, err)
	}
	return r
}

// Fields is the body of a write.
type Fields = map[string]any

// Read, List, Write, Patch and Delete return the response, even an error response. Without a
// response, the test fails.
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

// OK requires a status of 2xx, and returns the response.
func (r Response) OK(t testing.TB) Response {
	t.Helper()
	if r.Status < 200 || r.Status > 299 {
		t.Fatalf("%s: got status %d, want 2xx: %s", r.request, r.Status, r.Raw)
	}
	return r
}

// Refused checks the status. The response's errors must contain all the words.
func (r Response) Refused(t testing.TB, status int, words ...string) {
	t.Helper()
	if r.Status != status {
		t.Errorf("%s: got status %d, want %d: %s", r.request, r.Status, status, r.Raw)
	}
	text := strings.Join(r.Errors, "\n")
	for _, w := range words {
		if !strings.Contains(text, w) {
			t.Errorf("%s: got errors %q, want %q in them", r.request, r.Errors, w)
		}
	}
}

// Text returns a field of the response's data as a string. A missing field is "".
func (r Response) Text(field string) string {
	if v := r.Data[field]; v != nil {
		return fmt.Sprint(v)
	}
	return ""
}

// Keys returns the keys in the response to a list request.
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
		// Vault closes a connection that gets no request in its first 10 s. A PUT that is sent at
		// that moment fails, so the client closes idle connections earlier.
		Transport: &http.Transport{MaxIdleConnsPerHost: 64, IdleConnTimeout: 5 * time.Second},
		Timeout:   2 * time.Minute,
	}
}

// Result is the result of a command.
type Result struct {
	Stdout, Stderr string
	Code           int

	command string // for failure messages
}

// OK requires exit code 0, and returns the result.
func (r Result) OK(t testing.TB) Result {
	t.Helper()
	if r.Code != 0 {
		t.Fatalf("%s: got exit code %d, want 0\n%s%s", r.command, r.Code, r.Stdout, r.Stderr)
	}
	return r
}

// CLI runs the vault command.
func (c *Client) CLI(t testing.TB, args ...string) Result {
	t.Helper()
	return c.run(t, c.home, programs.vault, args...)
}

// Shell runs a script in the folder dir. In the script, "vault" is the server's program, which may
// be OpenBao.
func (c *Client) Shell(t testing.TB, dir, script string) Result {
	t.Helper()
	return c.run(t, dir, "sh", "-euc", script)
}

func (c *Client) run(t testing.TB, dir, program string, args ...string) Result {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), Timeout)
	defer cancel()
	cmd := exec.CommandContext(ctx, program, args...)
	cmd.Dir = dir
	cmd.Env = c.Env(t)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	err := cmd.Run()
	command := fmt.Sprintf("%s %q", filepath.Base(program), args)
	var exit *exec.ExitError
	if err != nil && (!errors.As(err, &exit) || ctx.Err() != nil) {
		t.Fatalf("%s: %v\n%s", command, err, stderr.String())
	}
	return Result{stdout.String(), stderr.String(), cmd.ProcessState.ExitCode(), command}
}

// Env returns the environment for a user of this server. Only PATH comes from the test's
// environment.
func (c *Client) Env(t testing.TB) []string {
	t.Helper()
	bin := filepath.Join(c.home, "bin")
	if err := os.MkdirAll(bin, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(programs.vault, filepath.Join(bin, "vault")); err != nil && !errors.Is(err, os.ErrExist) {
		t.Fatal(err)
	}
	return []string{
		"PATH=" + bin + string(os.PathListSeparator) + os.Getenv("PATH"),
		"HOME=" + c.home,
		"NO_COLOR=1",
		"VAULT_ADDR=" + c.Addr, "VAULT_TOKEN=" + c.Token,
		"BAO_ADDR=" + c.Addr, "BAO_TOKEN=" + c.Token,
	}
}
