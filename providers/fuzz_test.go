// SPDX-License-Identifier: MPL-2.0

package providers

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"vault-plugin-secrets-messaging/internal/token"
)

func FuzzEnableXWhatsApp(f *testing.F)   { fuzzAnswers(f, "enablex-whatsapp") }
func FuzzEnableXRCS(f *testing.F)        { fuzzAnswers(f, "enablex-rcs") }
func FuzzEnableXSMS(f *testing.F)        { fuzzAnswers(f, "enablex-sms") }
func FuzzOAuth2(f *testing.F)            { fuzzAnswers(f, "oauth2") }
func FuzzSinchConversation(f *testing.F) { fuzzAnswers(f, "sinch-conversation") }
func FuzzSinchIndia(f *testing.F)        { fuzzAnswers(f, "sinch-india") }

// fuzzAnswers gives a provider any answer. The result is a token as [token.Token] documents
// it, or an error that shows no secret.
func fuzzAnswers(f *testing.F, name string) {
	c := contractOf(f, name)
	p := c.lookup(f)
	date := noon.Format(http.TimeFormat)
	f.Add(200, date, "", c.wire.body("tok", "3600"))
	f.Add(200, "none", "", c.wire.body(jwt(`{"exp":1}`), `"60"`))
	f.Add(401, date, "", c.wire.refused("no: "+hidden))
	f.Add(400, date, "", c.wire.refused(writings(hidden)["query"]+writings(hidden)["JSON"]))
	f.Add(429, date, "7", "{}")
	f.Add(503, "x", date, "<p>")

	f.Fuzz(func(t *testing.T, status int, date, retry, body string) {
		client := testClient(t)
		client.http.Transport = transport{reply{status: 200 + (status%400+400)%400, body: body, retry: retry, date: date}}
		s := c.settings("https://auth.example.com")
		for _, s.DefaultTTL = range []time.Duration{0, time.Minute} {
			got, err := p.Mint(t.Context(), client, s)
			if err == nil {
				checkToken(t, got)
				continue
			}
			failure(t, err, "query-of-the-url")
			if got != (token.Token{}) {
				t.Errorf("got token %+v with error %v, want no token", got, err)
			}
		}
	})
}

// FuzzRedactor checks that a secret is found in each encoding, whatever is around it.
func FuzzRedactor(f *testing.F) {
	f.Add("", "")
	f.Add(`\`, `%`)
	f.Add("%2", "&amp;")
	f.Add(strings.Repeat("ü", 295), "x")
	r := redactor{[]string{hidden}}
	f.Fuzz(func(t *testing.T, before, after string) {
		for how, form := range writings(hidden) {
			if got := r.show(before+form+after, maxWords); got != withheld {
				t.Errorf("%s between %q and %q: got %q, want %q", how, before, after, got, withheld)
			}
		}
	})
}
