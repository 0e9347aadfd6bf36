// SPDX-License-Identifier: MPL-2.0

package simulator_test

import (
	"crypto/tls"
	"crypto/x509"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"vault-plugin-secrets-messaging/internal/simulator"
)

func TestCA(t *testing.T) {
	ca, err := simulator.NewCA(time.Now())
	if err != nil {
		t.Fatal(err)
	}
	cert, err := ca.Server()
	if err != nil {
		t.Fatal(err)
	}
	srv := httptest.NewUnstartedServer(simulator.New(simulator.Options{}))
	srv.TLS = &tls.Config{Certificates: []tls.Certificate{cert}}
	srv.EnableHTTP2 = true
	srv.StartTLS()
	t.Cleanup(srv.Close)
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(ca.PEM) {
		t.Fatalf("got a CA %q, want PEM", ca.PEM)
	}
	transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool}, ForceAttemptHTTP2: true}
	t.Cleanup(transport.CloseIdleConnections)
	client := simulator.Client{URL: srv.URL, HTTP: &http.Client{Transport: transport}}
	if err := client.Patch(t.Context(), `{"faults": [{"kind": "close-before"}]}`); err != nil {
		t.Fatal(err)
	}
	if resp, err := client.HTTP.Post(srv.URL+"/rcs/v1/token", jsonType, nil); err == nil {
		_ = resp.Body.Close()
		t.Errorf("got status %d over HTTP/2, want a closed connection", resp.StatusCode)
	}
	if _, err := (simulator.Client{URL: srv.URL}).State(t.Context()); err == nil {
		t.Error("got a response without trusting the CA, want an error")
	}
}
