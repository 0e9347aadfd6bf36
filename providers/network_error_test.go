// SPDX-License-Identifier: MPL-2.0

package providers

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"strings"
	"testing"

	"vault-plugin-secrets-messaging/internal/token"
)

// A broken HTTP answer may repeat secrets from the request, so errors do not quote the answer.
func TestBrokenHTTPIsNotQuoted(t *testing.T) {
	c := contractOf(t, "sinch-india")
	_, err := c.mint(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		conn, buffered, err := w.(http.Hijacker).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		defer conn.Close()
		io.WriteString(buffered, "HTTP/1.1 "+hidden+"\r\n\r\n")
		buffered.Flush()
	}))
	wantFailure(t, err, token.Unavailable, "the answer is not valid HTTP")
}

func TestNetworkErrorsNameTheProblem(t *testing.T) {
	secure := tlsServer(t, nil)
	c := must(NewClients(ClientOptions{}).For(TLS{CACert: caOf(secure)}))
	plain, mail := serve(t, reply{}), must(net.Listen("tcp", "127.0.0.1:0"))
	t.Cleanup(func() { mail.Close() })
	go func() {
		for {
			conn, err := mail.Accept()
			if err != nil {
				return
			}
			io.WriteString(conn, "220 mail.example.com ESMTP\r\n")
			conn.Close()
		}
	}()
	_, port, _ := net.SplitHostPort(secure.Listener.Addr().String())
	for address, want := range map[string]string{
		strings.Replace(plain.url, "http:", "https:", 1): "the server speaks HTTP instead of HTTPS",
		"https://" + mail.Addr().String():                "first record does not look like a TLS handshake",
		"https://localhost:" + port:                      "the certificate is not valid: x509: certificate is valid for",
	} {
		_, err := c.send(t.Context(), request{url: address + "/?unshown"})
		wantFailure(t, err, token.Unavailable, want, "unshown")
	}
}

// Errors name the host even if the host name contains the password.
func TestNetworkErrorsNameTheHost(t *testing.T) {
	secure := tlsServer(t, nil)
	_, port, _ := net.SplitHostPort(secure.Listener.Addr().String())
	redact := redactor{[]string{"local", "1", "com"}}
	for address, want := range map[string]string{
		"https://localhost:" + port: "unavailable: localhost:" + port + "/token: the certificate is not valid: " + withheld,
		"http://127.0.0.1:1":        "unavailable: 127.0.0.1:1/token: dial tcp 127.0.0.1:1: connect: connection refused",
	} {
		_, err := testClient(t).send(t.Context(), request{url: address + "/token", redact: redact})
		if got := failure(t, err).Error(); got != want {
			t.Errorf("%s:\ngot  %s\nwant %s", address, got, want)
		}
	}
}

func TestNetworkProblem(t *testing.T) {
	for want, err := range map[string]error{
		"lookup auth.example.com: no such host": &net.DNSError{Err: "no such host", Name: "auth.example.com"},
		"timed out while connecting":            &url.Error{Op: "Post", URL: "unshown", Err: os.ErrDeadlineExceeded},
		"the answer is not valid HTTP":          &url.Error{Op: "Post", URL: "unshown", Err: errors.New("unshown")},
	} {
		if got := networkProblem(fmt.Errorf("unshown: %w", err)); got != want {
			t.Errorf("%v: got %q, want %q", err, got, want)
		}
	}
}
