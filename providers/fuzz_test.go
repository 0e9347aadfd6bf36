// SPDX-License-Identifier: MPL-2.0

package providers

import (
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"vault-plugin-secrets-messaging/internal/clock"
	"vault-plugin-secrets-messaging/internal/token"
)

func FuzzEnableXWhatsApp(f *testing.F)   { fuzzAnswers(f, "enablex-whatsapp") }
func FuzzEnableXRCS(f *testing.F)        { fuzzAnswers(f, "enablex-rcs") }
func FuzzEnableXSMS(f *testing.F)        { fuzzAnswers(f, "enablex-sms") }
func FuzzOAuth2(f *testing.F)            { fuzzAnswers(f, "oauth2") }
func FuzzSinchConversation(f *testing.F) { fuzzAnswers(f, "sinch-conversation") }
func FuzzSinchIndia(f *testing.F)        { fuzzAnswers(f, "sinch-india") }

// fuzzAnswers gives a provider any answer: what comes of it is a token as the
// doc comment of Token has it, or an error that shows no secret.
func fuzzAnswers(f *testing.F, name string) {
	var c contract
	for _, each := range contracts {
		if each.provider == name {
			c = each
		}
	}
	p := c.lookup(f)
	date := noon.Format(http.TimeFormat)
	f.Add(200, date, "", c.wire.body("tok", "3600"))
	f.Add(200, "", "", c.wire.body(jwt(`{"exp":1}`), `"60"`))
	f.Add(401, date, "", c.wire.refused("no: "+hidden))
	f.Add(400, date, "", c.wire.refused(writings(hidden)["query"]+writings(hidden)["JSON"]))
	f.Add(429, date, "7", "{}")
	f.Add(503, "x", date, "<p>")

	f.Fuzz(func(t *testing.T, status int, date, retry, body string) {
		client := &Client{clock: clock.System(), http: &http.Client{Transport: roundTrip(func(r *http.Request) (*http.Response, error) {
			return &http.Response{
				StatusCode: 200 + (status%400+400)%400,
				Header:     http.Header{"Date": {date}, "Retry-After": {retry}},
				Body:       io.NopCloser(strings.NewReader(body)),
				Request:    r,
			}, nil
		}), CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}}
		s := c.settings("https://auth.example.com")
		for _, s.DefaultTTL = range []time.Duration{0, time.Minute} {
			got, err := p.Mint(t.Context(), client, s)
			if err == nil {
				goodToken(t, got)
				continue
			}
			failure(t, err, "query-of-the-url")
			if got != (token.Token{}) {
				t.Errorf("a token beside an error: %+v", got)
			}
		}
	})
}

type roundTrip func(*http.Request) (*http.Response, error)

func (f roundTrip) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// FuzzRedactor: no writing of a secret is left, whatever is around it.
func FuzzRedactor(f *testing.F) {
	f.Add("", "")
	f.Add(`\`, `%`)
	f.Add("%2", "&amp;")
	f.Add(strings.Repeat("ü", 295), "x")
	r := newRedactor(sinchIndia{}.Spec(), Settings{Values: values("username", "acme", "password", hidden)})
	f.Fuzz(func(t *testing.T, before, after string) {
		for how, form := range writings(hidden) {
			if got := r.words(before+form+after, maxWords); strings.Contains(got, form) || got != printable(got) {
				t.Errorf("%s: %q", how, got)
			}
		}
	})
}
