// SPDX-License-Identifier: MPL-2.0

package providers

import (
	"encoding/pem"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"vault-plugin-secrets-messaging/internal/secret"
)

// BenchmarkMint requests tokens over TLS on one connection. BenchmarkExchange measures only the
// HTTP exchange.
func BenchmarkMint(b *testing.B) {
	server := benchmarkServer(b)
	ca := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw})
	c, err := NewClients(ClientOptions{Version: "v0.0.0"}).For(TLS{CACert: string(ca)})
	if err != nil {
		b.Fatal(err)
	}
	s := Settings{TokenURL: server.URL, Values: map[string]secret.String{"client_id": "id", "client_secret": "secret"}}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := Renew(b.Context(), mustLookup(b, "sinch-conversation"), c, s, ""); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkExchange(b *testing.B) {
	server := benchmarkServer(b)
	c := server.Client()
	b.ReportAllocs()
	for b.Loop() {
		resp, err := c.Post(server.URL, "application/x-www-form-urlencoded", strings.NewReader("grant_type=client_credentials"))
		if err != nil {
			b.Fatal(err)
		}
		_, _ = io.ReadAll(resp.Body)
		resp.Body.Close()
	}
}

// benchmarkServer returns a token endpoint.
func benchmarkServer(b *testing.B) *httptest.Server {
	body := fmt.Sprintf(`{"access_token":%q,"expires_in":3600,"token_type":"Bearer"}`, strings.Repeat("x", 800))
	server := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		w.Header().Set("Content-Type", "application/json")
		_, _ = io.WriteString(w, body)
	}))
	b.Cleanup(server.Close)
	return server
}
