// SPDX-License-Identifier: MPL-2.0

package providers

import (
	"crypto/tls"
	"errors"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"vault-plugin-secrets-messaging/internal/token"
)

func TestClientTrustsOnlyTheGivenCA(t *testing.T) {
	server := tlsServer(t, nil)
	pool := NewClients(ClientOptions{})
	t.Cleanup(pool.CloseIdle)
	for name, test := range map[string]struct {
		caPEM   string
		trusted bool
	}{
		"its CA":     {"# the provider's CA\n" + caOf(server) + "\n", true},
		"system CAs": {"", false},
		"another CA": {string(newCA().PEM), false},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := must(pool.For(TLS{CACert: test.caPEM})).send(t.Context(), request{url: server.URL})
			if !test.trusted {
				wantFailure(t, err, token.Unavailable, "set ca_cert to trust this authority")
			} else if err != nil {
				t.Errorf("got error %v, want none", err)
			}
		})
	}
}

func TestClientRequiresTLS12(t *testing.T) {
	server := tlsServer(t, func(c *tls.Config) { c.MinVersion, c.MaxVersion = tls.VersionTLS10, tls.VersionTLS11 })
	_, err := must(NewClients(ClientOptions{}).For(TLS{CACert: caOf(server)})).send(t.Context(), request{url: server.URL})
	wantFailure(t, err, token.Unavailable, "protocol version")
}

func TestClientsShareAndReuse(t *testing.T) {
	e := serve(t, reply{body: "{}"})
	pool := NewClients(ClientOptions{})
	ca := string(newCA().PEM)
	var wg sync.WaitGroup
	var got [8]*Client
	for i := range got {
		wg.Go(func() {
			c, err := pool.For(TLS{CACert: []string{"", ca}[i%2]})
			if err != nil {
				t.Error(err)
				return
			}
			got[i] = c
			if _, err := c.send(t.Context(), request{url: e.url}); err != nil {
				t.Error(err)
			}
			pool.CloseIdle()
		})
	}
	wg.Wait()
	for i, c := range got {
		if c != got[i%2] || got[0] == got[1] {
			t.Errorf("call %d: got client %p, want one client for each CA", i, c)
		}
	}
}

func TestClientsBoundConnections(t *testing.T) {
	for bound, want := range map[int]int{0: 32, 7: 7} {
		c := must(NewClients(ClientOptions{MaxConnsPerHost: bound}).For(TLS{}))
		if got := c.http.Transport.(*http.Transport).MaxConnsPerHost; got != want {
			t.Errorf("MaxConnsPerHost %d: got %d, want %d", bound, got, want)
		}
	}
}

func TestClientsForgetUnusedClients(t *testing.T) {
	pool := NewClients(ClientOptions{})
	used, ca := must(pool.For(TLS{})), string(newCA().PEM)
	for i := range 1000 {
		must(pool.For(TLS{CACert: strings.Repeat("#", i+1) + "\n" + ca}))
	}
	left := func() int {
		runtime.GC()
		pool.mu.Lock()
		defer pool.mu.Unlock()
		return len(pool.byTLS)
	}
	for deadline := time.Now().Add(10 * time.Second); left() > 1; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("got %d clients after 10 s, want 1", left())
		}
	}
	if again, err := pool.For(TLS{}); err != nil || again != used {
		t.Errorf("got client %p, error %v; want the used client %p", again, err, used)
	}
}

func TestClientsRejectInvalidPEM(t *testing.T) {
	good, key := string(newCA().PEM), block("EC PRIVATE KEY", []byte("unshown"))
	tests := map[string]struct{ pem, problem string }{
		"white space":          {" \n", "must contain at least one PEM certificate"},
		"a path":               {"/etc/ca.pem", "must contain at least one PEM certificate"},
		"a key":                {key, "must contain only certificates, but contains a private key"},
		"a key beside it":      {good + key, "must contain only certificates, but contains a private key"},
		"a request":            {strings.ReplaceAll(good, "CERTIFICATE", "CERTIFICATE REQUEST"), "must contain only certificates, but PEM block 1 is not a certificate"},
		"no certificate in it": {block("CERTIFICATE", []byte("unshown")), "PEM block 1 must be a valid certificate"},
		"cut short":            {good[:len(good)/2], "contains a damaged PEM block; each block must be complete, with its BEGIN and END on lines of their own"},
		"a damaged one first":  {strings.Replace(good, "\n", "\n!", 1) + good, "contains a damaged PEM block; each block must be complete, with its BEGIN and END on lines of their own"},
		"more after it":        {good + "unshown", "cannot contain text after the last PEM block"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			c, err := NewClients(ClientOptions{}).For(TLS{CACert: test.pem})
			var field *FieldError
			if c != nil || !errors.As(err, &field) || err.Error() != "ca_cert: "+test.problem {
				t.Errorf("For(%q): got %v, error %v; want the FieldError %q", test.pem, c, err, "ca_cert: "+test.problem)
			}
		})
	}
	if _, err := NewClients(ClientOptions{}).For(TLS{CACert: good + good + "\n\n"}); err != nil {
		t.Errorf("two certificates: got error %v, want none", err)
	}
}

// tlsServer starts a TLS server that answers every request with {}.
func tlsServer(t *testing.T, configure func(*tls.Config)) *httptest.Server {
	t.Helper()
	server := httptest.NewUnstartedServer(reply{body: "{}"})
	server.Config.ErrorLog = log.New(io.Discard, "", 0) // failed handshakes
	server.TLS = &tls.Config{}
	if configure != nil {
		configure(server.TLS)
	}
	server.StartTLS()
	t.Cleanup(server.Close)
	return server
}

// caOf returns the CA of a TLS server in PEM.
func caOf(server *httptest.Server) string { return block("CERTIFICATE", server.Certificate().Raw) }
