// SPDX-License-Identifier: MPL-2.0

package messaging

import (
	"maps"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"
)

// badAnswers are answers without a usable token, with the resulting errors. In an error, "%" stands
// for host and path of the token endpoint.
var badAnswers = []struct {
	base     func(*mount) fields
	settings string // of the simulator
	status   int
	text     string
}{
	// Answers of a proxy in front of a provider.
	{sinchAt, `{"faults":[{"kind":"status","status":429}]}`, 502, "rate-limited: % answered 429 Too Many Requests"},
	{sinchAt, `{"faults":[{"kind":"status","status":429,"retry_after":"7"}]}`, 502, "rate-limited: % answered 429 Too Many Requests, asking to wait 7s"},
	{sinchAt, `{"faults":[{"kind":"status","status":429,"retry_after":"86400"}]}`, 502, "rate-limited: % answered 429 Too Many Requests, asking to wait 15m0s"},
	{sinchAt, `{"faults":[{"kind":"status","status":429,"retry_after":"soon"}]}`, 502, "rate-limited: % answered 429 Too Many Requests"},
	{sinchAt, `{"faults":[{"kind":"status","status":500}]}`, 502, "unavailable: % answered 500 Internal Server Error"},
	{sinchAt, `{"faults":[{"kind":"status","status":502}]}`, 502, "unavailable: % answered 502 Bad Gateway"},
	{sinchAt, `{"faults":[{"kind":"status","status":503,"retry_after":"30"}]}`, 502, "unavailable: % answered 503 Service Unavailable, asking to wait 30s"},
	{sinchAt, `{"faults":[{"kind":"status","status":504}]}`, 502, "unavailable: % answered 504 Gateway Timeout"},
	{sinchAt, `{"faults":[{"kind":"status","status":401}]}`, 400, "credentials refused: % answered 401 Unauthorized"},
	{sinchAt, `{"faults":[{"kind":"status","status":403}]}`, 502, "unavailable: % answered 403 Forbidden: the body must be a JSON object, not an HTML page; a proxy or firewall has probably blocked the request"},
	{sinchAt, `{"faults":[{"kind":"status","status":404}]}`, 502, "malformed answer: % answered 404 Not Found: nothing exists at this address; token_url is probably wrong"},
	{sinchAt, `{"faults":[{"kind":"status","status":405}]}`, 502, "malformed answer: % answered 405 Method Not Allowed: this address does not accept POST; token_url is probably wrong"},
	{sinchAt, `{"faults":[{"kind":"status","status":200}]}`, 502, "malformed answer: % answered 200 OK: the body must be a JSON object, not an HTML page"},
	{sinchAt, `{"faults":[{"kind":"redirect"}]}`, 502, "malformed answer: % answered 302 Found: redirects are not followed, and this redirect leads to elsewhere.invalid; change token_url only if the provider has moved, because proxies and login pages redirect too"},
	{sinchAt, `{"faults":[{"kind":"close-before"}]}`, 502, "unavailable: %: the connection was closed before the answer was complete"},

	// Refusals.
	{sinchAt, `{"faults":[{"kind":"refuse"}]}`, 400, `credentials refused: % answered 401 Unauthorized: invalid_grant "Invalid user credentials"`},
	{sinchAt, `{"faults":[{"kind":"account-disabled"}]}`, 400, `credentials refused: % answered 400 Bad Request: invalid_grant "Account disabled"`},
	{sinchAt, `{"faults":[{"kind":"account-not-set-up"}]}`, 400, `credentials refused: % answered 400 Bad Request: invalid_grant "Account is not fully set up"`},
	{sinchAt, `{"faults":[{"kind":"invalid-client"}]}`, 400, `credentials refused: % answered 401 Unauthorized: invalid_client "Invalid client or Invalid client credentials"`},
	{sinchAt, `{"faults":[{"kind":"unauthorized-client"}]}`, 400, `credentials refused: % answered 400 Bad Request: unauthorized_client "Client not allowed for this grant"`},
	{sinchAt, `{"faults":[{"kind":"refuse","description":"no\r\nX: y\u001b[31m <b>"}]}`, 400, `credentials refused: % answered 401 Unauthorized: invalid_grant "no X: y[31m <b>"`},
	{sinchAt, `{"faults":[{"kind":"refuse","description":"why "}],"echo_secrets":["raw","url"]}`, 400, `credentials refused: % answered 401 Unauthorized: invalid_grant "(text withheld because it contains a secret)"`},
	{whatsappAt, `{"faults":[{"kind":"refuse"}]}`, 400, `credentials refused: % answered 200 OK: "Authentication failed: invalid credentials or the account has been deactivated"`},
	{rcsAt, `{"faults":[{"kind":"refuse"}]}`, 400, `credentials refused: % answered 200 OK: 1003 "Authentication failed: invalid credentials or the account has been deactivated"`},
	{smsAt, `{"faults":[{"kind":"refuse"}]}`, 400, `credentials refused: % answered 200 OK: 1 "Authentication failed"`},
	{rcsAt, `{"faults":[{"kind":"refuse"}],"failure_status":401}`, 400, `credentials refused: % answered 401 Unauthorized: 1003 "Authentication failed: invalid credentials or the account has been deactivated"`},

	// Malformed answers.
	{sinchAt, `{"faults":[{"kind":"not-json"}]}`, 502, "malformed answer: % answered 200 OK: the body must be a JSON object, not plain text"},
	{sinchAt, `{"faults":[{"kind":"truncated"}]}`, 502, "malformed answer: % answered 200 OK: the body must be a JSON object, but the JSON is damaged or cut short"},
	{sinchAt, `{"faults":[{"kind":"empty"}]}`, 502, "malformed answer: % answered 200 OK: the body is empty"},
	{sinchAt, `{"faults":[{"kind":"oversized"}]}`, 502, "malformed answer: % answered 200 OK: the body is larger than 64 KiB"},
	{sinchAt, `{"faults":[{"kind":"close-mid-body"}]}`, 502, "unavailable: % answered 200 OK: the connection was closed before the answer was complete"},
	{sinchAt, `{"faults":[{"kind":"no-token"}]}`, 502, "malformed answer: % answered 200 OK: the answer contains no token"},
	{sinchAt, `{"faults":[{"kind":"token-empty"}]}`, 502, "malformed answer: % answered 200 OK: the answer contains no token"},
	{sinchAt, `{"faults":[{"kind":"token-wrong-type"}]}`, 502, "malformed answer: % answered 200 OK: the answer contains no token"},
	{sinchAt, `{"faults":[{"kind":"token-control"}]}`, 502, "malformed answer: % answered 200 OK: the token contains bytes that cannot be sent in a header"},
	{sinchAt, `{"faults":[{"kind":"expiry-negative"}]}`, 502, "malformed answer: % answered 200 OK: expires_in gives a lifetime that has already ended"},
	{sinchAt, `{"faults":[{"kind":"expiry-past"}]}`, 502, "malformed answer: % answered 200 OK: expires_in gives a lifetime that has already ended"},
	{sinchAt, `{"faults":[{"kind":"expiry-huge"}]}`, 502, "malformed answer: % answered 200 OK: expires_in gives a lifetime of more than 10 years; it may be in milliseconds"},
	{sinchAt, `{"faults":[{"kind":"expiry-wrong-type"}]}`, 502, "malformed answer: % answered 200 OK: expires_in must be a number"},
	{oauth2At, `{"expiry_format":"absent"}`, 502, "malformed answer: % answered 200 OK: the answer has no expires_in, so default_ttl must be set"},
	{whatsappAt, `{"faults":[{"kind":"expiry-past"}]}`, 502, "malformed answer: % answered 200 OK: expiry gives a lifetime that has already ended"},
	{whatsappAt, `{"faults":[{"kind":"expiry-negative"}]}`, 502, "malformed answer: % answered 200 OK: expiry gives a lifetime that has already ended"},
	{rcsAt, `{"faults":[{"kind":"expiry-huge"}]}`, 502, "malformed answer: % answered 200 OK: expiry gives a lifetime of more than 10 years; it may be in milliseconds"},
	{smsAt, `{"faults":[{"kind":"expiry-wrong-type"}]}`, 502, "malformed answer: % answered 200 OK: expiry must be a number"},
	{smsAt, `{"faults":[{"kind":"token-control"}]}`, 502, "malformed answer: % answered 200 OK: the token contains bytes that cannot be sent in a header"},
	{rcsAt, `{"expiry_format":"absent"}`, 502, "malformed answer: % answered 200 OK: the answer has no expiry, so default_ttl must be set"},
	{conversationAt, `{"faults":[{"kind":"no-token"}]}`, 502, "malformed answer: % answered 200 OK: the answer contains no token"},
}

// If the provider's answer is bad, a config write stores nothing. A read of creds says when the
// next attempt is. A malformed answer fails the write with a 400, because Vault's clients would
// repeat a 5xx.
func TestBadAnswers(t *testing.T) {
	for _, test := range badAnswers {
		m := newMount(t)
		m.simulate(test.settings)
		data := test.base(m)
		endpoint, err := url.Parse(data["token_url"].(string))
		if err != nil {
			t.Fatal(err)
		}
		text := `config "a": ` + strings.Replace(test.text, "%", endpoint.Host+endpoint.Path, 1)
		status := test.status
		if strings.HasPrefix(test.text, "malformed answer: ") {
			status = http.StatusBadRequest
		}
		if a, want := m.write("config/a", data), "nothing was stored: "+text; a.status != status || a.text != want {
			t.Errorf("%s: write: got %d %q, want %d %q", test.settings, a.status, a.text, status, want)
		}
		m.wantStored()
		m.write("config/a", with(maps.Clone(data), fields{"verify_connection": false})).want(t, http.StatusNoContent)
		if a, want := m.read("creds/a"), text+"; the next attempt is at the first read after 2026-11-22T08:"; a.status != test.status || !strings.HasPrefix(a.text, want) {
			t.Errorf("%s: read: got %d %q, want %d %q", test.settings, a.status, a.text, test.status, want)
		}
		m.wantStored("config/a")
		m.sim.Reset()
		m.clock.advance(15 * time.Minute)
		m.token("a")
	}
}
