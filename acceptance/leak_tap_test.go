// SPDX-License-Identifier: MPL-2.0

package acceptance

import (
	"bytes"
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

// tap stands between the plugin and the simulator, and learns of every token that
// any answer holds: also of those that no reader ever gets.
type tap struct {
	mu      sync.Mutex
	answers []*bytes.Buffer
}

// tapped returns the simulator at the address of a tap before it.
func tapped(t *testing.T, sim *harness.Simulator) (*harness.Simulator, *tap) {
	t.Helper()
	to, err := url.Parse(sim.URL)
	if err != nil {
		t.Fatal(err)
	}
	p := &tap{}
	proxy := httputil.NewSingleHostReverseProxy(to)
	proxy.ModifyResponse = func(r *http.Response) error {
		seen := new(bytes.Buffer)
		p.mu.Lock()
		p.answers = append(p.answers, seen)
		p.mu.Unlock()
		r.Body = struct {
			io.Reader
			io.Closer
		}{io.TeeReader(r.Body, &lockedWriter{&p.mu, seen}), r.Body}
		return nil
	}
	// what ends the connection to it ends that to us
	proxy.ErrorHandler = func(http.ResponseWriter, *http.Request, error) { panic(http.ErrAbortHandler) }
	proxy.ErrorLog = log.New(io.Discard, "", 0) // of the answers that are cut
	server := httptest.NewServer(proxy)
	t.Cleanup(server.Close)
	at := *sim
	at.URL = server.URL
	return &at, p
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

// tokenLike is what tokens of the simulator look like. Of a JWT it is the signature:
// what is before that is much the same in all.
var tokenLike = regexp.MustCompile(`("refresh_token":")?(?:eyJ[\w-]{10,}\.[\w-]{10,}\.([\w-]{32,})|\b([0-9a-f]{64})\b)`)

// tokens returns the tokens that were in the answers, numbered, and what every JWT
// begins with.
func (p *tap) tokens() map[string]string {
	p.mu.Lock()
	defer p.mu.Unlock()
	byText := map[string]string{}
	for _, a := range p.answers {
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
