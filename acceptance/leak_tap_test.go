// SPDX-License-Identifier: MPL-2.0

package acceptance

import (
	"bytes"
	"crypto/tls"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"regexp"
	"sync"
	"testing"

	"vault-plugin-secrets-messaging/acceptance/harness"
)

// tap is a proxy that records the simulator's answers, including tokens that the engine gives to no
// reader.
type tap struct {
	sim     *harness.Simulator // the simulator at the address of the tap
	mutual  *httptest.Server   // another address of the tap, which requires a client certificate
	mu      sync.Mutex
	answers []*bytes.Buffer
}

func startTap(t *testing.T, sim *harness.Simulator) *tap {
	t.Helper()
	to, err := url.Parse(sim.URL)
	if err != nil {
		t.Fatal(err)
	}
	at := *sim
	tp := &tap{sim: &at}
	proxy := httputil.NewSingleHostReverseProxy(to)
	proxy.ModifyResponse = func(r *http.Response) error {
		seen := new(bytes.Buffer)
		tp.mu.Lock()
		tp.answers = append(tp.answers, seen)
		tp.mu.Unlock()
		r.Body = struct {
			io.Reader
			io.Closer
		}{io.TeeReader(r.Body, &lockedWriter{&tp.mu, seen}), r.Body}
		return nil
	}
	// When the simulator cuts a connection, the proxy does the same.
	proxy.ErrorHandler = func(http.ResponseWriter, *http.Request, error) { panic(http.ErrAbortHandler) }
	proxy.ErrorLog = log.New(io.Discard, "", 0) // otherwise it logs each answer that is cut
	server := httptest.NewServer(proxy)
	t.Cleanup(server.Close)
	at.URL = server.URL
	tp.mutual = httptest.NewUnstartedServer(proxy)
	tp.mutual.TLS = &tls.Config{ClientAuth: tls.RequireAnyClientCert}
	tp.mutual.Config.ErrorLog = proxy.ErrorLog
	tp.mutual.StartTLS()
	t.Cleanup(tp.mutual.Close)
	return tp
}

type lockedWriter struct {
	mu *sync.Mutex
	to *bytes.Buffer
}

func (w *lockedWriter) Write(b []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.to.Write(b)
}

// tokenLike matches tokens. It captures only the signature of a JWT, because the rest is similar in
// all JWTs.
var tokenLike = regexp.MustCompile(`("refresh_token":")?(?:eyJ[\w-]{10,}\.[\w-]{10,}\.([\w-]{32,})|\b([0-9a-f]{64})\b)`)

// tokens returns the recorded tokens by name. The entry "a JWT" is the header that all recorded
// JWTs share.
func (tp *tap) tokens() map[string]string {
	tp.mu.Lock()
	defer tp.mu.Unlock()
	byText := map[string]string{}
	for _, a := range tp.answers {
		for _, match := range tokenLike.FindAllStringSubmatch(a.String(), -1) {
			kind := "token"
			if match[1] != "" {
				kind = "refresh token"
			}
			if token := match[2] + match[3]; byText[token] == "" {
				byText[token] = fmt.Sprintf("%s %d", kind, len(byText)+1)
			}
		}
	}
	named := map[string]string{"a JWT": "eyJhbGciOiJFUzUxMiIsInR5cCI6IkpXVCJ9"}
	for token, name := range byText {
		named[name] = token
	}
	return named
}
