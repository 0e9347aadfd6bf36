// SPDX-License-Identifier: MPL-2.0

package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log"
	"log/slog"
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
	log      *os.File // nil without an access log
}

// open returns a server that accepts connections. Its serve method answers them.
func open(cfg config) (_ *server, err error) {
	srv := &server{}
	defer func() {
		if err != nil {
			srv.close()
		}
	}()
	var opts simulator.Options
	if cfg.settings != "" {
		data, err := os.ReadFile(cfg.settings)
		if err != nil {
			return nil, fmt.Errorf("reading settings: %w", err)
		}
		if opts.Settings, err = simulator.ParseSettings(data); err != nil {
			return nil, fmt.Errorf("settings in %s: %w", cfg.settings, err)
		}
	}
	if cfg.accessLog != "" {
		if srv.log, err = os.OpenFile(cfg.accessLog, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600); err != nil {
			return nil, fmt.Errorf("opening the access log: %w", err)
		}
		opts.Log = slog.New(slog.NewJSONHandler(srv.log, nil))
	}
	sim := simulator.New(opts)
	srv.http = &http.Server{
		Handler:           sim,
		ConnState:         sim.ConnState,
		ReadHeaderTimeout: 10 * time.Second,
		ErrorLog:          log.New(os.Stderr, "messaging-simulator: ", 0),
	}
	srv.listener, err = net.Listen("tcp", cfg.listen)
	if errors.Is(err, syscall.EADDRINUSE) {
		return nil, fmt.Errorf("address %s is in use, choose another one with -listen (port 0 picks a free port)", cfg.listen)
	} else if err != nil {
		return nil, err
	}
	srv.url = "http://" + srv.listener.Addr().String()
	if cfg.tls {
		return srv, srv.secure(cfg.caOut, cfg.clientCA)
	}
	return srv, nil
}

// secure switches the server to https, and writes the certificate of the CA to a file. If there is
// a file with a CA of clients, clients need a certificate of that CA.
func (s *server) secure(caOut, clientCA string) error {
	ca, cert, err := simulator.NewCertificate(time.Now())
	if err != nil {
		return err
	}
	if err := os.WriteFile(caOut, ca, 0o644); err != nil {
		return fmt.Errorf("writing the certificate of the CA: %w", err)
	}
	s.http.TLSConfig = &tls.Config{Certificates: []tls.Certificate{cert}, MinVersion: tls.VersionTLS12}
	if clientCA != "" {
		data, err := os.ReadFile(clientCA)
		if err != nil {
			return fmt.Errorf("reading the CA of clients: %w", err)
		}
		s.http.TLSConfig.ClientCAs = x509.NewCertPool()
		if !s.http.TLSConfig.ClientCAs.AppendCertsFromPEM(data) {
			return fmt.Errorf("%s contains no certificate in PEM", clientCA)
		}
		s.http.TLSConfig.ClientAuth = tls.RequireAndVerifyClientCert
	}
	s.url = "https://" + s.listener.Addr().String()
	return nil
}

// serve serves until ctx ends, then gives open requests a second to finish.
func (s *server) serve(ctx context.Context) error {
	defer s.close()
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
	if s.http.Shutdown(grace) != nil {
		_ = s.http.Close() // ends the remaining requests
	}
	<-failed //nolint:errcheck // always http.ErrServerClosed
	return nil
}

func (s *server) close() {
	if s.listener != nil {
		_ = s.listener.Close() // Serve may have closed it
	}
	if s.log != nil {
		_ = s.log.Close()
	}
}
