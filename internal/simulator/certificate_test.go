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

func TestNewCertificate(t *testing.T) {
	ca, cert, err := simulator.NewCertificate(time.Now())
	if err != nil {
		t.Fatal(err)
	}
	srv := httptest.NewUnstartedServer(simulator.New(simulator.Options{}))
	srv.TLS = &tls.Config{Certificates: []tls.Certificate{cert}}
	srv.EnableHTTP2 = true
	srv.StartTLS()
	t.Cleanup(srv.Close)
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(ca) {
		t.Fatal("the CA is not PEM")
	}
	transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool}, ForceAttemptHTTP2: true}
	t.Cleanup(transport.CloseIdleConnections)
	client := simulator.Client{URL: srv.URL, HTTP: &http.Client{Transport: transport}}
	if _, err := client.State(t.Context()); err != nil {
		t.Fatal(err)
	}
	err = client.SetFaults(t.Context(), simulator.EnableXRCS, simulator.Fault{Kind: simulator.FaultCloseBefore})
	if err != nil {
		t.Fatal(err)
	}
	if resp, err := client.HTTP.Post(srv.URL+"/rcs/v1/token", "application/json", nil); err == nil {
		_ = resp.Body.Close()
		t.Error("an answer over HTTP/2 from a connection that is to be closed before any")
	}
	if _, err := (simulator.Client{URL: srv.URL}).State(t.Context()); err == nil {
		t.Error("trusted without the CA")
	}
}
