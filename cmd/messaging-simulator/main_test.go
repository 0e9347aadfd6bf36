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

	"vault-plugin-secrets-messaging/internal/simulator"
)

// The test binary is the command when this is set.
const asCommand = "MESSAGING_SIMULATOR_TEST_AS_COMMAND"

func TestMain(m *testing.M) {
	if os.Getenv(asCommand) != "" {
		main()
	}
	os.Exit(m.Run())
}

// start runs the command in this process on a free port until the test ends, and returns its URL.
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
			t.Errorf("exit code %d: %s", c, stderr.String())
		}
	})
	return readURL(t, r)
}

// readURL returns the last word of the line that says that the command is ready.
func readURL(t *testing.T, r io.Reader) string {
	t.Helper()
	line, err := bufio.NewReader(r).ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	words := strings.Fields(line)
	return words[len(words)-1]
}

func TestServesWithSettingsAndLog(t *testing.T) {
	dir := t.TempDir()
	settings, log := filepath.Join(dir, "settings.json"), filepath.Join(dir, "access.log")
	if err := os.WriteFile(settings, []byte(`{"access_ttl": 7}`), 0o600); err != nil {
		t.Fatal(err)
	}
	url := start(t, "-settings", settings, "-access-log", log)
	resp, err := http.Post(url+"/rcs/v1/token", "application/json", strings.NewReader("{}"))
	if err != nil {
		t.Fatal(err)
	}
	_ = resp.Body.Close()
	st, err := simulator.Client{URL: url}.State(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if st.Settings.AccessTTL == nil || st.Connections.Used != 1 {
		t.Errorf("state: %+v", st)
	}
	if data, err := os.ReadFile(log); err != nil || bytes.Count(data, []byte("\n")) != 1 {
		t.Errorf("access log: %s, %v", data, err)
	}
	http.DefaultClient.CloseIdleConnections()
}

func TestServesTLS(t *testing.T) {
	caFile := filepath.Join(t.TempDir(), "ca.pem")
	url := start(t, "-tls", "-ca-out", caFile)
	ca, err := os.ReadFile(caFile)
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(ca)
	transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool}}
	defer transport.CloseIdleConnections()
	client := simulator.Client{URL: url, HTTP: &http.Client{Transport: transport}}
	if _, err := client.State(t.Context()); err != nil || !strings.HasPrefix(url, "https://") {
		t.Errorf("%s: %v", url, err)
	}
}

func TestEndsOnASignal(t *testing.T) {
	for _, sig := range []os.Signal{syscall.SIGTERM, os.Interrupt} {
		cmd := exec.Command(os.Args[0], "-listen", "127.0.0.1:0")
		cmd.Env = append(os.Environ(), asCommand+"=1", "GORACE=atexit_sleep_ms=0")
		var stderr bytes.Buffer
		cmd.Stderr = &stderr
		stdout, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		readURL(t, stdout)
		if err := cmd.Process.Signal(sig); err != nil {
			t.Error(err)
		}
		if err := cmd.Wait(); err != nil || stderr.Len() > 0 {
			t.Errorf("after %v: %v %s", sig, err, stderr.String())
		}
	}
}

func TestRefuses(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = taken.Close() }()
	dir := t.TempDir()
	bad := filepath.Join(dir, "bad.json")
	if err := os.WriteFile(bad, []byte(`{"acess_ttl": 7}`), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		args string
		code int
		says string
	}{
		{"-listen 0.0.0.0:8299", 2, "not a loopback address"},
		{"-listen :8299", 2, "not a loopback address"},
		{"-listen [::]:0", 2, "not a loopback address"},
		{"-listen example.com:80", 2, "not a loopback address"},
		{"-listen 8299", 2, "host:port"},
		{"-listen " + taken.Addr().String(), 1, "in use"},
		{"-tls", 2, "set together"},
		{"-ca-out x", 2, "set together"},
		{"-listen 127.0.0.1:0 -tls -ca-out " + dir, 1, "writing the certificate"},
		{"-nonsense", 2, "-nonsense"},
		{"extra", 2, `unexpected argument "extra"`},
		{"-settings " + bad, 1, "acess_ttl"},
		{"-settings " + filepath.Join(dir, "none.json"), 1, "reading settings"},
		{"-access-log " + dir, 1, "access log"},
	} {
		var stdout, stderr bytes.Buffer
		code := run(t.Context(), strings.Fields(tt.args), &stdout, &stderr)
		if code != tt.code || !strings.Contains(stderr.String(), tt.says) || stdout.Len() > 0 {
			t.Errorf("%s: code %d, stderr %q, stdout %q", tt.args, code, stderr.String(), stdout.String())
		}
	}
}

func TestHelp(t *testing.T) {
	var stdout, stderr bytes.Buffer
	if code := run(t.Context(), []string{"-h"}, &stdout, &stderr); code != 0 {
		t.Errorf("code %d", code)
	}
	for _, want := range []string{"-listen", "curl -X PATCH", "/sim/settings", "correct-horse"} {
		if !strings.Contains(stderr.String(), want) {
			t.Errorf("the usage does not mention %s", want)
		}
	}
}
