// SPDX-License-Identifier: MPL-2.0

package simulator

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
)

// Client calls the control API of a running simulator.
type Client struct {
	// URL is the address of the simulator, such as http://127.0.0.1:8299.
	URL string
	// HTTP is the client to use; nil means http.DefaultClient.
	HTTP *http.Client
}

// State returns the current settings and counts.
func (c Client) State(ctx context.Context) (State, error) {
	var st State
	err := c.do(ctx, http.MethodGet, "/sim/state", "", nil, &st)
	return st, err
}

// Set changes the settings that are not nil. A new list replaces the old list, even if the new list
// is empty.
func (c Client) Set(ctx context.Context, s Settings) error {
	return c.Patch(ctx, string(s.encode()))
}

// Patch calls Simulator.Patch.
func (c Client) Patch(ctx context.Context, patch string) error {
	return c.do(ctx, http.MethodPatch, "/sim/settings", jsonType, strings.NewReader(patch), nil)
}

// Introspect calls Simulator.Introspect.
func (c Client) Introspect(ctx context.Context, token string) (Introspection, error) {
	var in Introspection
	form := url.Values{"token": {token}}.Encode()
	err := c.do(ctx, http.MethodPost, "/sim/introspect", formType, strings.NewReader(form), &in)
	return in, err
}

// RevokeSessions calls Simulator.RevokeSessions.
func (c Client) RevokeSessions(ctx context.Context, provider, account string) (int, error) {
	return c.end(ctx, "/sim/revoke-sessions", provider, account)
}

// EndTokens calls Simulator.EndTokens.
func (c Client) EndTokens(ctx context.Context, provider, account string) (int, error) {
	return c.end(ctx, "/sim/end-tokens", provider, account)
}

func (c Client) end(ctx context.Context, path, provider, account string) (int, error) {
	var out struct{ Ended int }
	form := url.Values{"provider": {provider}, "account": {account}}.Encode()
	err := c.do(ctx, http.MethodPost, path, formType, strings.NewReader(form), &out)
	return out.Ended, err
}

// do sends a request and decodes the response into out. If out is nil, the response is ignored.
func (c Client) do(ctx context.Context, method, path, contentType string, body io.Reader, out any) error {
	req, err := http.NewRequestWithContext(ctx, method, strings.TrimSuffix(c.URL, "/")+path, body)
	if err != nil {
		return err
	}
	if contentType != "" {
		req.Header.Set("Content-Type", contentType)
	}
	client := c.HTTP
	if client == nil {
		client = http.DefaultClient
	}
	resp, err := client.Do(req)
	if err != nil {
		return err
	}
	defer func() { _ = resp.Body.Close() }()
	data, err := io.ReadAll(resp.Body)
	if err != nil {
		return fmt.Errorf("reading the response of the simulator: %w", err)
	}
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("simulator: %s %s: %s: %s", method, path, resp.Status, bytes.TrimSpace(data))
	}
	if out == nil {
		return nil
	}
	return json.Unmarshal(data, out)
}
