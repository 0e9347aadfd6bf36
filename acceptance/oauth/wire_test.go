// SPDX-License-Identifier: MPL-2.0

package oauth

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
)

// response is what an authorization server answers.
type response struct {
	Status int
	Header http.Header
	Body   string

	AccessToken      string `json:"access_token"`
	ExpiresIn        int    `json:"expires_in"` // seconds
	RefreshToken     string `json:"refresh_token"`
	RefreshExpiresIn *int   `json:"refresh_expires_in"`
	Error            string `json:"error"`
	Description      string `json:"error_description"`
	Active           bool   `json:"active"`
}

// post sends a form. Each name in pairs is followed by its value.
func post(t *testing.T, c *http.Client, address string, pairs ...string) response {
	t.Helper()
	r, err := send(c, address, pairs...)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// send is post for goroutines, which may not end the test.
func send(c *http.Client, address string, pairs ...string) (r response, err error) {
	var form []string
	for pair := range slices.Chunk(pairs, 2) {
		form = append(form, url.QueryEscape(pair[0])+"="+url.QueryEscape(pair[1]))
	}
	res, err := c.Post(address, "application/x-www-form-urlencoded", strings.NewReader(strings.Join(form, "&")))
	if err != nil {
		return response{}, err
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		return response{}, err
	}
	r = response{Status: res.StatusCode, Header: res.Header, Body: string(body)}
	_ = json.Unmarshal(body, &r) // a body that is not JSON is in Body
	return r, nil
}

// ok fails the test unless the response is a success.
func (r response) ok(t *testing.T) response {
	t.Helper()
	return r.want(t, 200, "", "")
}

// want checks the status, error and description of the response.
func (r response) want(t *testing.T, status int, code, description string) response {
	t.Helper()
	if r.Status != status || r.Error != code || r.Description != description {
		t.Fatalf("got status %d %s, want %d %q %q", r.Status, r.Body, status, code, description)
	}
	return r
}

// sendJSON sends a JSON document. Any status except 2xx fails the test. If token is "", the request
// has no token. If result is nil, sendJSON ignores the response's body.
func sendJSON(t *testing.T, c *http.Client, method, address, token string, body, result any) {
	t.Helper()
	content, err := json.Marshal(body)
	if err != nil {
		t.Fatal(err)
	}
	req, err := http.NewRequest(method, address, bytes.NewReader(content))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/json")
	if token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	res, err := c.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	got, err := io.ReadAll(res.Body)
	if err == nil && res.StatusCode > 299 {
		err = fmt.Errorf("got status %s, want 2xx: %s", res.Status, got)
	}
	if err == nil && result != nil {
		err = json.Unmarshal(got, result)
	}
	if err != nil {
		t.Fatalf("%s %s of %s: %v", method, address, content, err)
	}
}
