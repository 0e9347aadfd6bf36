// SPDX-License-Identifier: MPL-2.0

package main

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"vault-plugin-secrets-messaging/internal/simulator"
)

// If the environment variable asCommand is set, the test binary runs main.
const asCommand = "MESSAGING_SIMULATOR_TEST_AS_COMMAND"

func TestMain(m *testing.M) {
	if os.Getenv(asCommand) != "" {
		main()
	}
	os.Exit(m.Run())
}

func ok(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// start runs the command in this process until the test ends, and returns its URL.
func start(t *testing.T, args ...string) string {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	r, w := io.Pipe()
	code := make(chan int, 1)
	var stderr bytes.Buffer
	go func() {
		code <- run(ctx, append([]string{"-listen", "127.0.0.1:0"}, args...), w, &stderr)
		_ = w.Close()
	}()
	t.Cleanup(func() {
		cancel()
		if c := <-code; c != 0 {
			t.Errorf("%q: got exit code %d, want 0: %s", args, c, stderr.String())
		}
	})
	return readURL(t, r)
}

// readURL returns the URL at the end of the first line.
func readURL(t *testing.T, r io.Reader) string {
	t.Helper()
	line, err := bufio.NewReader(r).ReadString('\n')
	ok(t, err)
	_, url, _ := strings.Cut(strings.TrimSpace(line), " is ready at ")
	return url
}

func TestServes(t *testing.T) {
	client := simulator.Client{URL: start(t)}
	ok(t, client.Patch(t.Context(), `{"access_ttl": 7}`))
	st, err := client.State(t.Context())
	ok(t, err)
	if st.Settings.AccessTTL == nil || *st.Settings.AccessTTL != simulator.Duration(7*time.Second) {
		t.Errorf("got settings %+v, want access_ttl 7", st.Settings)
	}
	http.DefaultClient.CloseIdleConnections()
}

// With -client-ca, each client needs a certificate from the given CA.
func TestServesTLS(t *testing.T) {
	dir := t.TempDir()
	caFile, clientCAFile := filepath.Join(dir, "ca.pem"), filepath.Join(dir, "client-ca.pem")
	clientCA, err := simulator.NewCA(time.Now())
	ok(t, err)
	ok(t, os.WriteFile(clientCAFile, clientCA.PEM, 0o600))
	cert, key, err := clientCA.Client("acme", time.Now().Add(-time.Hour), time.Now().Add(time.Hour))
	ok(t, err)
	pair, err := tls.X509KeyPair(cert, key)
	ok(t, err)
	for _, tt := range []struct {
		name string
		args []string
		cert []tls.Certificate
		ok   bool
	}{
		{"-tls", nil, nil, true},
		{"-client-ca, with a certificate", []string{"-client-ca", clientCAFile}, []tls.Certificate{pair}, true},
		{"-client-ca, without a certificate", []string{"-client-ca", clientCAFile}, nil, false},
	} {
		url := start(t, append([]string{"-tls", "-ca-out", caFile}, tt.args...)...)
		ca, err := os.ReadFile(caFile)
		ok(t, err)
		pool := x509.NewCertPool()
		pool.AppendCertsFromPEM(ca)
		transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool, Certificates: tt.cert}}
		_, err = simulator.Client{URL: url, HTTP: &http.Client{Transport: transport}}.State(t.Context())
		if (err == nil) != tt.ok || !strings.HasPrefix(url, "https://") {
			t.Errorf("%s: got URL %s, error %v, want https and success=%t", tt.name, url, err, tt.ok)
		}
		transport.CloseIdleConnections()
	}
}

func TestStopsOnASignal(t *testing.T) {
	for _, sig := range []os.Signal{syscall.SIGTERM, os.Interrupt} {
		cmd := exec.Command(os.Args[0], "-listen", "127.0.0.1:0")
		cmd.Env = append(os.Environ(), asCommand+"=1", "GORACE=atexit_sleep_ms=0")
		var stderr bytes.Buffer
		cmd.Stderr = &stderr
		stdout, err := cmd.StdoutPipe()
		ok(t, err)
		ok(t, cmd.Start())
		readURL(t, stdout)
		ok(t, cmd.Process.Signal(sig))
		if err := cmd.Wait(); err != nil || stderr.Len() > 0 {
			t.Errorf("%v: got error %v, stderr %q, want neither", sig, err, stderr.String())
		}
	}
}

func TestErrors(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	ok(t, err)
	defer func() { _ = taken.Close() }()
	dir := t.TempDir()
	bad := filepath.Join(dir, "bad.pem")
	ok(t, os.WriteFile(bad, []byte("not PEM"), 0o600))
	for _, tt := range []struct {
		args   string
		code   int
		stderr string
	}{
		{"-listen 0.0.0.0:8299", 2, "not a loopback address"},
		{"-listen :8299", 2, "not a loopback address"},
		{"-listen [::]:0", 2, "not a loopback address"},
		{"-listen example.com:80", 2, "not a loopback address"},
		{"-listen 8299", 2, "host:port"},
		{"-listen " + taken.Addr().String(), 1, "in use"},
		{"-listen 127.0.0.1:99999", 1, "invalid port"},
		{"-tls", 2, "set together"},
		{"-ca-out x", 2, "set together"},
		{"-client-ca x", 2, "requires -tls"},
		{"-listen 127.0.0.1:0 -tls -ca-out " + filepath.Join(dir, "ca.pem") + " -client-ca " + filepath.Join(dir, "none.pem"), 1, "reading the CA of clients"},
		{"-listen 127.0.0.1:0 -tls -ca-out " + filepath.Join(dir, "ca.pem") + " -client-ca " + bad, 1, "contains no certificate"},
		{"-listen 127.0.0.1:0 -tls -ca-out " + dir, 1, "writing the CA certificate"},
		{"-nonsense", 2, "-nonsense"},
		{"extra", 2, `unexpected argument "extra"`},
	} {
		var stdout, stderr bytes.Buffer
		code := run(t.Context(), strings.Fields(tt.args), &stdout, &stderr)
		if code != tt.code || !strings.Contains(stderr.String(), tt.stderr) || stdout.Len() > 0 {
			t.Errorf("%s: got exit code %d, stderr %q, stdout %q, want %d, %q and no stdout",
				tt.args, code, stderr.String(), stdout.String(), tt.code, tt.stderr)
		}
	}
}

func TestHelp(t *testing.T) {
	var stdout, stderr bytes.Buffer
	if code := run(t.Context(), []string{"-h"}, &stdout, &stderr); code != 0 {
		t.Errorf("got exit code %d, want 0", code)
	}
	for _, want := range []string{"-listen address", "curl -X PATCH", "PATCH /sim/settings", "revoke_refresh_token"} {
		if !strings.Contains(stderr.String(), want) {
			t.Errorf("got %s, want %q in it", stderr.String(), want)
		}
	}
}
