// SPDX-License-Identifier: MPL-2.0

package simulator_test

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"vault-plugin-secrets-messaging/internal/simulator"
)

func TestMessages(t *testing.T) {
	now := time.Unix(1_900_000_000, 0)
	s := simulator.New(simulator.Options{Now: func() time.Time { return now }})
	server := httptest.NewServer(s)
	defer server.Close()
	client := simulator.Client{URL: server.URL}

	post := func(path, contentType, body, token string) (int, string) {
		t.Helper()
		req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, server.URL+path, strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Content-Type", contentType)
		if token != "" {
			req.Header.Set("Authorization", "Bearer "+token)
		}
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		var b strings.Builder
		if err := resp.Write(&b); err != nil {
			t.Fatal(err)
		}
		return resp.StatusCode, b.String()
	}
	token := func() string {
		t.Helper()
		_, body := post("/rcs/v1/token", "application/json", `{"app_id": "5f0c0ffee0ddba11acce55ed", "app_key": "battery-staple-app-key"}`, "")
		_, rest, _ := strings.Cut(body, `"token":"`)
		text, _, found := strings.Cut(rest, `"`)
		if !found {
			t.Fatalf("token request: got %s, want a token", body)
		}
		return text
	}
	live := token()
	if status, body := post("/messages/enablex-rcs", "application/json", "{}", live); status != http.StatusAccepted {
		t.Errorf("a message with a live token: got %d %s, want 202", status, body)
	}
	if n, err := client.EndTokens(t.Context(), simulator.EnableXRCS, ""); n != 1 || err != nil {
		t.Errorf("EndTokens: got %d, %v, want 1 token", n, err)
	}
	for _, tt := range []struct {
		provider string
		status   int
		words    string
	}{
		{simulator.EnableXRCS, 200, `"code": 1002`},
		{simulator.EnableXWhatsApp, 401, `"status": "Unauthorized"`},
		{simulator.EnableXSMS, 200, `"result": "1"`},
		{simulator.SinchIndia, 401, `"error": "invalid_token"`},
	} {
		if status, body := post("/messages/"+tt.provider, "application/json", "{}", live); status != tt.status || !strings.Contains(body, tt.words) {
			t.Errorf("a message to %s with an ended token: got %d %s, want %d with %s", tt.provider, status, body, tt.status, tt.words)
		}
	}
}
