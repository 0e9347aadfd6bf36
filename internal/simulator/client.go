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

// Client turns a running simulator and asks it what happened.
type Client struct {
	// URL is the simulator's, such as http://127.0.0.1:8299.
	URL string
	// HTTP is the client to use, for a CA of one's own; nil means http.DefaultClient.
	HTTP *http.Client
}

// State returns the settings as they are and the counts so far.
func (c Client) State(ctx context.Context) (State, error) {
	var st State
	err := c.do(ctx, http.MethodGet, "/sim/state", "", nil, &st)
	return st, err
}

// Set turns the knobs that are not nil; the others stay. A list (Faults, EchoSecrets) is replaced: an empty one that is
// not nil clears it.
func (c Client) Set(ctx context.Context, s Settings) error {
	return c.Patch(ctx, string(s.encode()))
}

// Patch merges a JSON document into the settings (RFC 7396); null puts a knob back to its default.
func (c Client) Patch(ctx context.Context, patch string) error {
	return c.do(ctx, http.MethodPatch, "/sim/settings", jsonType, strings.NewReader(patch), nil)
}

// SetFaults replaces a provider's faults, or with provider "" those of all providers; none clears them.
func (c Client) SetFaults(ctx context.Context, provider string, faults ...Fault) error {
	knobs := Knobs{Faults: append([]Fault{}, faults...)}
	if provider == "" {
		return c.Set(ctx, Settings{Knobs: knobs})
	}
	return c.Set(ctx, Settings{Providers: map[string]Knobs{provider: knobs}})
}

// Reset puts counts, faults and settings back to the start.
func (c Client) Reset(ctx context.Context) error {
	return c.do(ctx, http.MethodPost, "/sim/reset", "", nil, nil)
}

// Introspect says all that is known about a token.
func (c Client) Introspect(ctx context.Context, token string) (Introspection, error) {
	var in Introspection
	form := url.Values{"token": {token}}.Encode()
	err := c.do(ctx, http.MethodPost, "/sim/introspect", formType, strings.NewReader(form), &in)
	return in, err
}

// RevokeSessions ends every session that has a live refresh token, or only those of one provider or account where these
// are not empty. Access tokens live on. It returns how many it ended.
func (c Client) RevokeSessions(ctx context.Context, provider, account string) (int, error) {
	var out struct{ Revoked int }
	form := url.Values{"provider": {provider}, "account": {account}}.Encode()
	err := c.do(ctx, http.MethodPost, "/sim/revoke-sessions", formType, strings.NewReader(form), &out)
	return out.Revoked, err
}

// do makes one request and decodes the answer into out, unless out is nil.
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
		return fmt.Errorf("reading the simulator's answer: %w", err)
	}
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("simulator: %s: %s", resp.Status, bytes.TrimSpace(data))
	}
	if out == nil {
		return nil
	}
	return json.Unmarshal(data, out)
}
