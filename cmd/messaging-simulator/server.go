// SPDX-License-Identifier: MPL-2.0

package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log"
	"net"
	"net/http"
	"os"
	"syscall"
	"time"

	"vault-plugin-secrets-messaging/internal/simulator"
)

// server is a listening simulator.
type server struct {
	url      string
	listener net.Listener
	http     *http.Server
}

// open listens on the address in cfg. Call serve to answer requests.
func open(cfg config) (*server, error) {
	listener, err := net.Listen("tcp", cfg.listen)
	if errors.Is(err, syscall.EADDRINUSE) {
		return nil, fmt.Errorf("address %s is in use; choose another with -listen (port 0 picks a free port)", cfg.listen)
	} else if err != nil {
		return nil, err
	}
	srv := &server{url: "http://" + listener.Addr().String(), listener: listener, http: &http.Server{
		Handler: simulator.New(simulator.Options{}),
		// The limit also closes connections that got no request yet. A request that is sent at the
		// moment of the closing fails, so the limit is longer than clients keep idle connections.
		ReadHeaderTimeout: 2 * time.Minute,
		ErrorLog:          log.New(os.Stderr, "messaging-simulator: ", 0),
	}}
	if !cfg.tls {
		return srv, nil
	}
	srv.url = "https://" + listener.Addr().String()
	if err := srv.secure(cfg.caOut, cfg.clientCA); err != nil {
		_ = listener.Close()
		return nil, err
	}
	return srv, nil
}

// secure makes the server use TLS with a new CA, and writes the CA's certificate to the file caOut.
// If clientCA is not "", each client needs a certificate from the CA in the file clientCA.
func (s *server) secure(caOut, clientCA string) error {
	ca, err := simulator.NewCA(time.Now())
	if err != nil {
		return err
	}
	cert, err := ca.Server()
	if err != nil {
		return err
	}
	if err := os.WriteFile(caOut, ca.PEM, 0o644); err != nil {
		return fmt.Errorf("writing the CA certificate: %w", err)
	}
	s.http.TLSConfig = &tls.Config{Certificates: []tls.Certificate{cert}, MinVersion: tls.VersionTLS12}
	if clientCA == "" {
		return nil
	}
	data, err := os.ReadFile(clientCA)
	if err != nil {
		return fmt.Errorf("reading the CA of clients: %w", err)
	}
	s.http.TLSConfig.ClientCAs = x509.NewCertPool()
	if !s.http.TLSConfig.ClientCAs.AppendCertsFromPEM(data) {
		return fmt.Errorf("%s contains no certificate in PEM", clientCA)
	}
	s.http.TLSConfig.ClientAuth = tls.RequireAndVerifyClientCert
	return nil
}

// serve answers requests until ctx ends. Requests in progress then have one second to finish.
func (s *server) serve(ctx context.Context) error {
	failed := make(chan error, 1)
	go func() {
		if s.http.TLSConfig != nil {
			failed <- s.http.ServeTLS(s.listener, "", "")
		} else {
			failed <- s.http.Serve(s.listener)
		}
	}()
	select {
	case err := <-failed:
		return err
	case <-ctx.Done():
	}
	grace, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	_ = s.http.Shutdown(grace)
	_ = s.http.Close() // ends the remaining requests
	<-failed           //nolint:errcheck // always http.ErrServerClosed
	return nil
}
